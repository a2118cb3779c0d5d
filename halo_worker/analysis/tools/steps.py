"""A trace as numbered steps for a model to read: each said once, in order of time, as much of it as fits."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from halo_worker.analysis.tools.shared import Desk
from halo_worker.display import one_line

CAPS = (6_000, 2_500, 1_000, 500, 250, 120, 60)  # characters of one text: the first under which the trace fits
TAIL_SHARE = 0.3  # of a shortened text, for its end
MAX_STEPS = 5_000  # read at once
READ_BYTES = 16 * 2**20  # of the rows of one trace, and of its messages
TEXT = max(CAPS)
LEAST_TEXT = 400  # characters of a text that are read, however many steps there are
SHARED_TEXT = 1_000  # characters of a system prompt or a tool list, at the least
ERRORS_NAMED = 20  # steps with an error, of those that a page leaves out
NAMES_SHOWN = 40  # tools of a list
SLOW_SECONDS = 5  # from which a step says how long it took
REPEATING = ("calls", "→", "given")  # labels of texts that are told once where they are long
REPEATED, BEGINNING = 150, 60  # characters from which they are, and that stay
WRAPPED = 40  # characters around the arguments of a call in what its tool was given
ENDED_EARLY = ("length", "content_filter", "error")  # finish reasons that a step names

ORDER = "start_time, end_time DESC, parent_span_id IS NOT NULL, span_id"  # of the steps: a root before what it holds
_TEXTS = ("input_text", "output_text", "error_message", "status_message")
_PARTS = ", ".join(
    f"left({name}, {{chars}}) AS {name}, right({name}, {{chars}}) AS {name}_end, length({name}) AS {name}_length"
    for name in _TEXTS
)
ROWS = f"""
SELECT span_id, name, span_type, status_code, agent_name, model, tool_name, tools_offered, duration_ns, finish_reason,
  output_messages->'$[*].tool_calls[*]' AS tool_calls, {_PARTS}
FROM spans WHERE trace_id = ? ORDER BY {ORDER} LIMIT {{count}} OFFSET {{skip}}
"""
_COUNT = "SELECT count(*) AS n, min(start_time) AS began FROM spans WHERE trace_id = ?"
_ERRORS = f"""
SELECT step FROM (SELECT status_code, row_number() OVER (ORDER BY {ORDER}) AS step FROM spans WHERE trace_id = ?)
WHERE status_code = 'ERROR' AND step > ? ORDER BY step
"""
MESSAGES = (
    "SELECT span_id, input_messages FROM spans WHERE trace_id = ? AND list_contains(?, span_id) ORDER BY start_time"
)


@dataclass(slots=True)
class Step:
    """One span as a step: `parts` are labelled texts, (label, beginning, end, length)."""

    span_id: str
    head: str
    parts: list[tuple[str, str, str, int]] = field(default_factory=list)
    shared: list[str] = field(default_factory=list)  # names of what it shares with other steps

    def line(self, number: int, cap: int, *, ids: bool) -> str:
        """Write it."""
        said = [f"{label} {_shortened(text, end, length, cap)}" for label, text, end, length in self.parts]
        head = " ".join((self.head, *self.shared))
        return " | ".join((f"S{number} {f'{self.span_id} ' if ids else ''}{head}", *said))


@dataclass(frozen=True, slots=True)
class Page:
    """Steps `first` to `last` of a trace that has `total`, as text, and the span of each."""

    text: str
    spans: dict[str, str]
    first: int
    last: int
    total: int


async def pages(
    desk: Desk, trace_id: str, max_bytes: int, *, ids: bool = False, first: int = 1, last: int | None = None
) -> list[Page]:
    """Write a trace as steps, whole on one page where shorter texts allow it, else on several.

    `ids`: with span ids. `first`, `last`: of these steps alone. Beyond MAX_STEPS steps nothing is read: the last page
    then ends before its `total`.
    """
    [counted] = (await desk.questions.rows(_COUNT, [trace_id])).rows
    total = int(counted["n"])
    count = max(1, min(MAX_STEPS, (min(last, total) if last else total) - first + 1))
    chars = min(TEXT, max(LEAST_TEXT, READ_BYTES // (8 * count)))
    sql = ROWS.format(chars=chars, count=count, skip=first - 1)
    rows = (await desk.questions.rows(sql, [trace_id], max_rows=MAX_STEPS, max_bytes=READ_BYTES)).rows
    models = [row["span_id"] for row in rows if row["span_type"] == "llm"]
    asked = await desk.questions.rows(MESSAGES, [trace_id, models], max_rows=MAX_STEPS, max_bytes=READ_BYTES)
    shared, steps = steps_of(rows, {row["span_id"]: row["input_messages"] for row in asked.rows})
    fitting = (cap for cap in CAPS if cap <= chars)
    once = _told_once(steps, first)
    lines = next(
        (lines for cap in fitting if _size(lines := _lines(shared, once, cap, first, ids=ids)) <= max_bytes),
        _lines(shared, steps, CAPS[-1], first, ids=ids),  # a page names no step of another
    )
    began = f" of {counted['began'][:16]}Z" if counted["began"] else ""
    made = []
    for start, end in _cut(lines, max_bytes):
        low, high = first + max(0, start - len(shared)), first + end - len(shared) - 1
        more = f" steps={low}..{high} of {total}" if high - low + 1 < total else ""
        spans = {f"S{number}": steps[number - first].span_id for number in range(low, high + 1)}
        made.append(Page("\n".join((f"trace {trace_id}{began}{more}", *lines[start:end])), spans, low, high, total))
    return made


def _lines(shared: Sequence[tuple[str, str]], steps: Sequence[Step], cap: int, first: int, *, ids: bool) -> list[str]:
    lines = [f"{name} {_shortened(text, text, len(text), max(cap, SHARED_TEXT))}" for name, text in shared]
    return lines + [step.line(number, cap, ids=ids) for number, step in enumerate(steps, first)]


def _size(lines: Sequence[str]) -> int:
    return sum(len(line.encode()) + 1 for line in lines)


async def errors_after(desk: Desk, trace_id: str, step: int) -> str:
    """Name the steps with an error behind one; empty without any."""
    found = await desk.questions.rows(_ERRORS, [trace_id, step], max_rows=ERRORS_NAMED, count=True)
    more = (found.total or 0) - len(found.rows)
    return " ".join([*(f"S{row['step']}" for row in found.rows), *([f"and {more} more"] if more > 0 else [])])


def _cut(lines: Sequence[str], max_bytes: int) -> list[tuple[int, int]]:
    """Cut lines into runs of at most so many bytes."""
    runs, first, used = [], 0, 0
    for number, line in enumerate(lines):
        size = len(line.encode()) + 1
        if used + size > max_bytes and number > first:
            runs.append((first, number))
            first, used = number, 0
        used += size
    return [*runs, (first, len(lines))]


def steps_of(rows: Sequence[dict[str, Any]], messages: dict[str, Any]) -> tuple[list[tuple[str, str]], list[Step]]:
    """Return what several steps share (system prompts, tool lists) with its names, and the steps."""
    shared: dict[str, str] = {}
    seen: set[str] = set()
    called: set[str] = set()  # the arguments of calls
    steps = []
    for row in rows:
        step = Step(row["span_id"], _head(row))
        if row["span_type"] == "llm":
            offered = ", ".join((row["tools_offered"] or [])[:NAMES_SHOWN])
            for kind, text in (*_system(messages.get(row["span_id"])), ("tools", offered)):
                if text:
                    name = shared.setdefault(f"{kind}: {text}", f"P{len(shared) + 1}")
                    step.shared.append(name)
            step.parts += [_part(role, text) for role, text in _new(messages.get(row["span_id"]), seen)]
            if not messages.get(row["span_id"]) and (row["input_text"] or "")[:200].strip() not in seen:
                seen.add((row["input_text"] or "")[:200].strip())
                step.parts += _texts(row, "input_text", "asked")
            step.parts += _texts(row, "output_text", "says")
            calls = _calls(row["tool_calls"])
            called.update(_key(given) for _, given in calls)
            step.parts += [_part("calls", f"{name}({given})") for name, given in calls]
        elif row["span_type"] in ("tool", "retriever"):
            if not _called_with(_key(row["input_text"] or ""), called):  # else the call has shown it
                step.parts += _texts(row, "input_text", "given")
            step.parts += _texts(row, "output_text", "→")
        else:
            step.parts += _texts(row, "input_text", "given") + _texts(row, "output_text", "returns")
        for role, text, *_ in step.parts:
            if role in ("→", "says"):
                seen.add(text[:200].strip())
        error = "error_message" if row["error_message"] else "status_message"
        steps.append(step)
        step.parts += _texts(row, error, "error")
    for step in steps:
        step.parts = [_without_prompts(part, shared) for part in step.parts]
    return [(name, text) for text, name in shared.items()], steps


def _without_prompts(part: tuple[str, str, str, int], shared: Mapping[str, str]) -> tuple[str, str, str, int]:
    """Name the long system prompts that a span around model calls was given, which stand once."""
    label, text, _, length = part
    if label != "given" or length > TEXT:
        return part
    for kind, name in shared.items():
        prompt = kind.removeprefix("system: ")
        if prompt != kind and len(prompt) >= REPEATED:
            for written in {
                prompt,
                *(json.dumps(prompt, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)),
            }:
                text = text.replace(written, f"…[{name}]")
    return _part(label, text)


def _head(row: dict[str, Any]) -> str:
    kind = row["span_type"] or "span"
    about = row["model"] if kind == "llm" else row["tool_name"] or row["name"]
    agent = f" ({one_line(row['agent_name'], 60)})" if row["agent_name"] else ""
    seconds = (row["duration_ns"] or 0) / 1e9
    took = f" {seconds:.0f}s" if seconds >= SLOW_SECONDS else ""
    ended = f" ended by {row['finish_reason']}" if row["finish_reason"] in ENDED_EARLY else ""
    status = " ERROR" if row["status_code"] == "ERROR" else ""
    return f"{kind} {one_line(str(about or row['name']), 80)}{agent}{took}{ended}{status}"


def _part(label: str, text: str) -> tuple[str, str, str, int]:
    return label, text[:TEXT], text[-TEXT:], len(text)


def _texts(row: dict[str, Any], name: str, label: str) -> list[tuple[str, str, str, int]]:
    return [(label, row[name], row[f"{name}_end"], row[f"{name}_length"])] if (row[name] or "").strip() else []


def _parsed(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return []
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _content(message: dict[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        content = "\n".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else orjson.dumps(content).decode() if content else ""


def _system(messages: Any) -> list[tuple[str, str]]:
    return [("system", _content(one)) for one in _parsed(messages) if one.get("role") in ("system", "developer")]


def _new(messages: Any, seen: set[str]) -> list[tuple[str, str]]:
    """Return the messages that no earlier step has shown: not what the model itself said, nor results of tool spans."""
    found = []
    for message in _parsed(messages):
        role, text = str(message.get("role") or "user"), _content(message)
        key = text[:200].strip()
        if role in ("system", "developer", "assistant") or not key or key in seen:
            continue
        seen.add(key)
        found.append((role, text))
    return found


def _key(text: str) -> str:
    """Return what equal texts begin with, however their JSON is spaced."""
    return "".join(text[:TEXT].split())[:LEAST_TEXT]


def _called_with(given: str, called: Collection[str]) -> bool:
    """Say whether a tool's input is the arguments of a call, as they are or wrapped ({"args": [], "kwargs": {…}})."""
    return given in called or any(len(one) > 2 and one in given and len(given) - len(one) < WRAPPED for one in called)


def _told_once(steps: Sequence[Step], first: int) -> list[Step]:
    """Return the steps with long texts that an earlier one has word for word, as retries have, by its number."""
    at: dict[tuple[str, str, str, int], int] = {}
    shorter = []
    for number, step in enumerate(steps, first):
        parts = []
        for part in step.parts:
            known = at.setdefault(part, number)
            again = known != number and part[0] in REPEATING and part[3] >= REPEATED
            parts.append(_part(part[0], f"{part[1][:BEGINNING]}…[as in S{known}]") if again else part)
        shorter.append(replace(step, parts=parts))
    return shorter


def _calls(value: Any) -> list[tuple[str, str]]:
    """Return the calls that a model asked for: (name, arguments)."""
    found = []
    for call in _parsed(value):
        given = call.get("arguments")
        text = given if isinstance(given, str) else orjson.dumps(given).decode() if given is not None else ""
        found.append((str(call.get("name") or "?"), text))
    return found


def _shortened(text: str, end: str, length: int, cap: int) -> str:
    """Write a text on one line; of a longer one the beginning and the end, saying what is left out between."""
    if length <= cap:
        return text.replace("\n", "\\n")
    tail = int(cap * TAIL_SHARE)
    return f"{text[: cap - tail]}…[cut: {length - cap}]…{end[-tail:]}".replace("\n", "\\n")

"""Examples of a detector: tiny traces on which it must fire, and on which it must not; and the run of them.

After the SQL of a detector's file, in TOML. Each `[[example]]` is a trace under an agent span:

    [[example]]
    fires = true
    why = "the same search three times, with the same result"
    spans = [
      { tool = "search", input = '{"q": 1}', output = "[]", times = 3 },
      { llm = "gpt-5", output = "Nothing found." },
    ]

Spans lie one after another. A span's kind is the key with its name: `llm` (the model), `tool`, `retriever`, `agent`,
`span` (plain code). Others: `input`, `output`; `system` (the prompt); `calls` (names of tools that a model call asks
for, or tables of name, arguments and id); `tools` (on offer: names, or tables of name and parameters); `error` (a
message; the status is then ERROR), `error_type`; `finish`; `tokens` (input, output); `id` (of the call, on a tool);
`seconds` (1, and up to a microsecond as clocks have it); `times` (1); `attributes` (raw ones); `spans` (those below
it, instead of `seconds`). An example may have `times`, for detectors that compare: that many traces alike; and `root`:
"open" (it has no end), "missing", or "failed" (a request around the agent ends in ERROR, with 404); and `returns`, what
the agent span around all returns.
"""

from __future__ import annotations

import itertools
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from halo_receiver import conventions
from halo_receiver.span import Scope, Span, SpanEvent
from halo_receiver.store import columns
from halo_receiver.store.segment import SegmentName
from halo_receiver.store.writer import SegmentWriter
from halo_worker.analysis.detectors.detector import Unit
from halo_worker.errors import InputError

START = 1_790_000_000 * 10**9
SECOND = 10**9
APART = 60 * SECOND  # between the beginnings of two traces
REQUEST = "f" * 16  # the id of a request around the agent
KINDS = ("llm", "tool", "retriever", "agent", "span")
_OPERATIONS = {"llm": "chat", "tool": "execute_tool", "retriever": "retrieval", "agent": "invoke_agent"}
KEYS = frozenset(
    {
        *KINDS, "input", "output", "system", "calls", "tools", "error", "error_type", "finish", "tokens", "id",
        "seconds", "times", "attributes", "spans",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Case:
    """An example of a detector, and the traces that it became."""

    detector: str
    number: int  # from 1 on
    fires: bool
    why: str
    trace_ids: frozenset[str]


def stored(units: Sequence[Unit], folder: Path) -> tuple[Path, list[Case]]:
    """Write the examples of several detectors into one segment, each detector's as a service of its own.

    Raises InputError, which names the detector, the example and the key that is wrong.
    """
    folder.mkdir(parents=True, exist_ok=True)
    writer = SegmentWriter(folder, SegmentName.at(START, 1))
    spans: list[Span] = []
    cases, numbers = [], itertools.count(1)
    for unit in units:
        for number, example in enumerate(unit.examples, 1):
            made = list(_traces(unit, number, example, numbers))
            cases.append(
                Case(
                    unit.name, number, bool(example.get("fires")), str(example.get("why", "")),
                    frozenset(span.trace_id for span in made),
                )
            )  # fmt: skip
            spans += made
    rows = [(span, conventions.canonical(span), span.end_unix_nano or START) for span in spans]
    writer.append(spans=columns.span_table(rows), logs=None)
    return writer.seal(), cases


def _traces(unit: Unit, number: int, example: Mapping[str, Any], numbers: Iterator[int]) -> Iterator[Span]:
    spans = example.get("spans")
    if not isinstance(spans, list) or not spans or "fires" not in example:
        raise InputError(f"{unit.path}: example {number} needs 'fires' and 'spans', a list of tables")
    for _ in range(int(example.get("times", 1))):
        yield from _trace(unit, number, spans, next(numbers), example)


def _trace(
    unit: Unit, number: int, spans: Sequence[Mapping[str, Any]], nth: int, example: Mapping[str, Any]
) -> Iterator[Span]:
    root_is = example.get("root", "whole")
    agent = {"agent": unit.name, **({"output": example["returns"]} if "returns" in example else {})}
    trace_id, begun, root = f"{nth:032x}", START + nth * APART, f"{1:016x}"
    children, at = _laid(unit, number, trace_id, root, spans, begun, itertools.count(2))
    if root_is != "missing":
        whole = _span(unit, trace_id, root, "", "agent", agent, begun, at - begun)
        if root_is == "failed":
            request = _span(unit, trace_id, REQUEST, "", "span", {"span": "POST /chat"}, begun, at - begun)
            yield replace(request, status_code="ERROR", status_message="404 Not Found")
            whole = replace(whole, parent_span_id=REQUEST)
        yield replace(whole, end_unix_nano=0) if root_is == "open" else whole
    yield from children


def _laid(
    unit: Unit, number: int, trace_id: str, parent: str, spans: Sequence[Mapping[str, Any]], at: int, ids: Iterator[int]
) -> tuple[list[Span], int]:
    """Lay spans one after another below a parent; return them with those below, and when the last ends."""
    made: list[Span] = []
    for about in spans:
        if unknown := set(about) - KEYS:
            raise InputError(
                f"{unit.path}: example {number}: a span has no '{min(unknown)}'", hint=f"known: {sorted(KEYS)}"
            )
        kind = next((kind for kind in KINDS if kind in about), None)
        if kind is None:
            raise InputError(f"{unit.path}: example {number}: a span needs one of {', '.join(KINDS)}")
        for _ in range(int(about.get("times", 1))):
            span_id = f"{next(ids):016x}"
            if "spans" in about:
                below, ends = _laid(unit, number, trace_id, span_id, about["spans"], at, ids)
            else:
                below, ends = [], at + round(float(about.get("seconds", 1)) * SECOND) + jitter(trace_id, span_id)
            made += [_span(unit, trace_id, span_id, parent, kind, about, at, ends - at), *below]
            at = ends
    return made, at


def jitter(trace_id: str, span_id: str) -> int:
    """Return up to a microsecond: a clock never measures the same twice."""
    return zlib.crc32(f"{trace_id}{span_id}".encode()) % 1000


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _span(
    unit: Unit, trace_id: str, span_id: str, parent: str, kind: str, about: Mapping[str, Any], at: int, lasts: int
) -> Span:
    name = str(about[kind])
    operation = _OPERATIONS.get(kind)
    attributes = {**_attributes(kind, name, about, span_id), **about.get("attributes", {})}
    events = []
    if about.get("error_type"):
        said = {"exception.type": about["error_type"], "exception.message": about.get("error", "")}
        events.append(SpanEvent(at + lasts, "exception", said))
    return Span(
        trace_id, span_id, parent, f"{operation} {name}" if operation else name,
        Scope(resource_attributes={"service.name": unit.name}, name="example"), kind="INTERNAL", start_unix_nano=at,
        end_unix_nano=at + lasts, status_code="ERROR" if "error" in about else "UNSET",
        status_message=str(about.get("error", "")), attributes=attributes, events=events,
    )  # fmt: skip


def _attributes(kind: str, name: str, about: Mapping[str, Any], span_id: str) -> dict[str, Any]:
    """Return the attributes of OpenTelemetry's GenAI conventions."""
    found: dict[str, Any] = {}
    if kind in _OPERATIONS:
        found |= {"gen_ai.operation.name": _OPERATIONS[kind], "gen_ai.provider.name": "openai"}
    if kind == "tool":
        found |= {"gen_ai.tool.name": name, "gen_ai.tool.call.id": str(about.get("id", ""))}
        texts = {"gen_ai.tool.call.arguments": about.get("input"), "gen_ai.tool.call.result": about.get("output")}
        return found | {key: _text(value) for key, value in texts.items() if value is not None}
    if kind in ("agent", "llm"):
        found["gen_ai.agent.name" if kind == "agent" else "gen_ai.request.model"] = name
        asked = [(role, about[key]) for role, key in (("system", "system"), ("user", "input")) if key in about]
        if asked:
            said = [{"role": role, "parts": [{"type": "text", "content": _text(text)}]} for role, text in asked]
            found["gen_ai.input.messages"] = json.dumps(said)
        parts = [{"type": "text", "content": _text(about["output"])}] if "output" in about else []
        parts += [_call(call, span_id, number) for number, call in enumerate(about.get("calls", ()))]
        if parts or "finish" in about:
            reason = about.get("finish", "tool_call" if about.get("calls") else "stop")
            message = {"role": "assistant", "parts": parts, "finish_reason": reason}
            found["gen_ai.output.messages"] = json.dumps([message])
            found["gen_ai.response.finish_reasons"] = [reason]
        if "tools" in about:
            offered = [
                {"type": "function", **(tool if isinstance(tool, dict) else {"name": tool})} for tool in about["tools"]
            ]
            found["gen_ai.tool.definitions"] = json.dumps(offered)
        for key, number in zip(("input_tokens", "output_tokens"), about.get("tokens", ()), strict=False):
            found[f"gen_ai.usage.{key}"] = number
        return found
    if kind == "retriever":
        found["gen_ai.data_source.id"] = name
    for key in ("input", "output"):
        if key in about:
            found[f"{key}.value"] = _text(about[key])
    return found


def _call(call: Any, span_id: str, number: int) -> dict[str, Any]:
    given = call if isinstance(call, dict) else {"name": call}
    return {"type": "tool_call", "id": f"{span_id}-{number}", "arguments": {}, **given}

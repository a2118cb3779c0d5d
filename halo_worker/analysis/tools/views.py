"""view_trace, view_spans: a trace as steps, single spans at length; texts shortened until the budget holds."""

from __future__ import annotations

import re
from typing import Any

from halo_worker.analysis.tools.fit import CUT, NOTE_BYTES, VIEW_BYTES, compact, cut, for_model, size, take
from halo_worker.analysis.tools.shared import Desk, tool
from halo_worker.analysis.tools.steps import ORDER, errors_after, pages
from halo_worker.rlm.tool import MODEL_BYTES, Tool, ToolError

MAX_SPANS = 200  # of one view_spans
READ_BYTES = 2 * 2**20  # of the rows that a view is made of
SPAN_CAPS = (16_384, 8_000, 4_000, 1_500, 600, 250, 100)  # characters of one text of a span: the first that fits
TEXT_SHARE = 4  # of a result for code, one part of so many is the trace as text, the rest its spans
_STEPS = re.compile(r"\s*S?(\d{1,9})(?:\s*(?:\.\.|-|:|to)\s*S?(\d{1,9}))?\s*", re.IGNORECASE)

_TEXTS = ("input_text", "output_text", "status_message", "error_message")

_SKELETON = """
  span_id, parent_span_id, name, span_type, CASE WHEN status_code = 'ERROR' THEN 'ERROR' END AS status_code,
  ((epoch_ns(start_time) - epoch_ns(min(start_time) OVER ())) / 1e6)::BIGINT AS at_ms,
  (duration_ns / 1e6)::BIGINT AS duration_ms, agent_name, model, tool_name, finish_reason,
  input_tokens, output_tokens, error_type
"""


def _texts(cap: int) -> str:
    return ", ".join(f"left({name}, {cap}) AS {name}, length({name}) AS _{name}" for name in _TEXTS)


def _shown(row: dict[str, Any], cap: int) -> dict[str, Any]:
    texts = {name: cut((row[name] or "")[:cap], cap, row[f"_{name}"]) for name in _TEXTS if row[name]}
    if texts.get("error_message") == texts.get("status_message"):
        texts.pop("status_message", None)
    plain = {name: value for name, value in row.items() if name.lstrip("_") not in _TEXTS}
    return compact(plain | texts)


def view_tools(desk: Desk) -> list[Tool]:
    """Return the two."""

    async def trace(arguments: dict[str, Any], max_bytes: int) -> Any:
        trace_id = await desk.trace_id(arguments.get("trace_id"), max_bytes)
        first, last = _range(arguments.get("steps"))
        if max_bytes > MODEL_BYTES:
            return await trace_for_code(desk, trace_id, first, last, max_bytes)
        return await trace_as_steps(desk, trace_id, first, last, for_model(max_bytes, VIEW_BYTES))

    async def spans(arguments: dict[str, Any], max_bytes: int) -> Any:
        trace_id = await desk.trace_id(arguments.get("trace_id"), max_bytes)
        return await view_spans(desk, trace_id, arguments.get("span_ids"), for_model(max_bytes, VIEW_BYTES))

    trace_id = {"trace_id": {"type": "string"}}
    return [
        tool(
            "view_trace",
            "A trace as numbered steps in order of time, `S7 SPAN_ID llm … | says …`: says, returns and → are the span's "
            "output_text, asked and given its input_text; long texts shortened. A large one comes in pages (steps). In code: {steps: this text, spans: [{…}]}.",
            {**trace_id, "steps": {"type": "string", "description": "such as 41..90"}},
            trace,
            required=["trace_id"],
        ),
        tool(
            "view_spans",
            "Some spans of a trace at length, with all their attributes and events.",
            {**trace_id, "span_ids": {"type": "array", "items": {"type": "string"}, "maxItems": MAX_SPANS}},
            spans,
            required=["trace_id", "span_ids"],
        ),
    ]


def _range(steps: Any) -> tuple[int, int | None]:
    """Read `steps`: "41..90", "S41", a pair of numbers; all without it. Raises ToolError."""
    if steps in (None, "", []):
        return 1, None
    text = "..".join(str(one) for one in steps) if isinstance(steps, list) else str(steps)
    found = _STEPS.fullmatch(text)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if first < 1 or last < first:
        raise ToolError(f"steps {text[:40]!r} is no range of steps, such as 41..90")
    return first, last


async def trace_as_steps(desk: Desk, trace_id: str, first: int, last: int | None, max_bytes: int) -> str:
    """Return a trace as a model reads it: all its steps at the length that fits, or a page of them and where to go on."""
    room = max_bytes - NOTE_BYTES
    while True:  # a result is measured as JSON, in which quotes and line ends are longer
        page = (await pages(desk, trace_id, room, ids=True, first=first, last=last))[0]
        if first > page.total:
            raise ToolError(f"the trace has {page.total} steps, and no step {first}")
        text = page.text if page.spans else f"{page.text}\n{CUT} the steps]"
        if size(text) <= max_bytes - NOTE_BYTES or room < NOTE_BYTES:
            break
        room = room * 3 // 4
    if size(text) > max_bytes - NOTE_BYTES:
        text = cut(text, (max_bytes - NOTE_BYTES) // 6) or ""
    if page.last >= min(last or page.total, page.total):
        return text
    errors = await errors_after(desk, trace_id, page.last)
    return (
        f"{text}\nleft_out: steps {page.last + 1} to {page.total}"
        f"{f' (with an error: {errors})' if errors else ''}; steps='{page.last + 1}..{page.total}' goes on"
    )


async def trace_for_code(desk: Desk, trace_id: str, first: int, last: int | None, max_bytes: int) -> dict[str, Any]:
    """Return a trace as code works with it: its steps as text, and its spans as data, as many as fit."""
    text = await trace_as_steps(desk, trace_id, first, last, max_bytes // TEXT_SHARE)
    limit = f"LIMIT {last - first + 1} " if last else ""
    found = await desk.questions.rows(
        f"SELECT {_SKELETON}, {_texts(SPAN_CAPS[0])} FROM spans WHERE trace_id = ? ORDER BY {ORDER} {limit}"
        f"OFFSET {first - 1}",
        [trace_id],
        max_bytes=max_bytes * 4,
    )
    head: dict[str, Any] = {"trace_id": trace_id, "steps": text}
    room = max_bytes - size(head)
    for cap in SPAN_CAPS:
        spans = [_shown(row, cap) for row in found.rows]
        if size(spans) <= room - NOTE_BYTES:
            break
    result: dict[str, Any] = {**head, "spans": take(spans, room - NOTE_BYTES)}
    result["has_more"] = found.more or len(result["spans"]) < len(spans)
    if result["has_more"]:
        result["left_out"] = f"spans after step {first + len(result['spans']) - 1}: steps='A..B' shows some"
    elif any(CUT in str(span) for span in spans):
        result["left_out"] = f"texts after {cap} characters: query_sql reads them whole"
    return result


async def view_spans(desk: Desk, trace_id: str, span_ids: Any, max_bytes: int) -> dict[str, Any]:
    """Return some spans with everything they hold, as long as the budget allows."""
    wanted = [span_ids] if isinstance(span_ids, str) else span_ids
    if not isinstance(wanted, list) or not wanted or not all(isinstance(item, str) for item in wanted):
        raise ToolError("span_ids is a list of 1 to 200 ids; view_trace and search_trace return them")
    if len(wanted) > MAX_SPANS:
        raise ToolError(f"span_ids takes at most {MAX_SPANS} ids, {len(wanted)} were given")
    cap = SPAN_CAPS[0]
    found = await desk.questions.rows(
        f"SELECT * EXCLUDE (_rank) FROM (SELECT {_SKELETON}, {_texts(cap)}, attributes, events, kind, row_number() OVER "
        f"(ORDER BY {ORDER}) AS _rank FROM spans WHERE trace_id = ?) WHERE list_contains(?, span_id) ORDER BY _rank",
        [trace_id, wanted],
        max_bytes=max(max_bytes * 20, 2**20),
    )
    unknown = sorted(set(wanted) - {row["span_id"] for row in found.rows})
    if len(unknown) == len(set(wanted)) and not found.more:
        raise ToolError(f"the trace has no span {', '.join(unknown)[:200]}: view_trace and search_trace return its ids")
    head: dict[str, Any] = {"trace_id": trace_id}
    if unknown and not found.more:
        head["unknown_span_ids"] = unknown[:20]
    for cap in SPAN_CAPS:
        spans = [_whole_span(row, cap) for row in found.rows]
        result = {**head, "spans": spans}
        if any(CUT in str(span) for span in spans):
            result["left_out"] = (
                f"texts after {cap} characters: ask for fewer spans at once, or search_span for the place"
            )
        if size(result) <= max_bytes and not found.more:
            return result
    note = "their attributes (search_span finds in them, query_sql reads one)"
    spans = [{name: value for name, value in span.items() if name not in ("attributes", "events")} for span in spans]
    shown = take(spans, max_bytes - size(head) - NOTE_BYTES)
    if len(shown) < len(wanted) - len(unknown):
        note += f", and {len(wanted) - len(unknown) - len(shown)} spans: ask for them in further calls"
    return {**head, "spans": shown, "left_out": note}


def _whole_span(row: dict[str, Any], cap: int) -> dict[str, Any]:
    shown = _shown({name: value for name, value in row.items() if name not in ("attributes", "events")}, cap)
    texts = [row[name] for name in _TEXTS if row[name]]
    attributes = {}
    for key, value in (row["attributes"] or {}).items():
        if isinstance(value, str) and any(value in text for text in texts if value):
            continue  # shown already, under its one meaning
        text = value if isinstance(value, str) else None
        attributes[key] = cut(text, cap) if text is not None else value
    events = [
        compact({"name": event.get("name"), "attributes": event.get("attributes")}) for event in row["events"] or []
    ]
    shown["attributes"] = attributes
    if events:
        shown["events"] = [_cut_event(event, cap) for event in events[:50]]
    return compact(shown)


def _cut_event(event: dict[str, Any], cap: int) -> dict[str, Any]:
    attributes = {
        key: cut(value, cap) if isinstance(value, str) else value
        for key, value in (event.get("attributes") or {}).items()
    }
    return compact({**event, "attributes": attributes})

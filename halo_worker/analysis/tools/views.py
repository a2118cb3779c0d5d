"""view_trace, view_spans: a trace as its spans in order, texts shortened until the budget holds."""

from __future__ import annotations

from typing import Any

from halo_worker.analysis.tools.fit import CUT, NOTE_BYTES, VIEW_BYTES, compact, cut, for_model, hoisted, size, take
from halo_worker.analysis.tools.shared import Desk, tool
from halo_worker.rlm.tool import Tool, ToolError

MAX_SPANS = 200  # of one view_spans
READ_BYTES = 2 * 2**20  # of the rows that a view is made of
MAX_ROWS = 5000  # of one view_trace, before it is only summed up
CAPS = (4096, 1500, 600, 400, 250, 160, 100, 60)  # characters of one text of view_trace: the first that fits
SPAN_CAPS = (16_384, 8_000, 4_000, 1_500, 600, 250)  # of view_spans: the reader asked for these
SKELETON_BYTES = 60  # of a span without its texts, at the least: more spans than this leaves room for are not fetched
TOP_NAMES = 10

_TEXTS = ("input_text", "output_text", "status_message", "error_message")

_SKELETON = """
  span_id, parent_span_id AS parent, name, span_type AS type, CASE WHEN status_code = 'ERROR' THEN 'ERROR' END AS status,
  ((epoch_ns(start_time) - epoch_ns(min(start_time) OVER ())) / 1e6)::BIGINT AS at_ms,
  (duration_ns / 1e6)::BIGINT AS duration_ms, agent_name AS agent, model, tool_name AS tool, finish_reason,
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
        return await view_trace(desk, trace_id, for_model(max_bytes, VIEW_BYTES))

    async def spans(arguments: dict[str, Any], max_bytes: int) -> Any:
        trace_id = await desk.trace_id(arguments.get("trace_id"), max_bytes)
        return await view_spans(desk, trace_id, arguments.get("span_ids"), for_model(max_bytes, VIEW_BYTES))

    trace_id = {"trace_id": {"type": "string"}}
    return [
        tool(
            "view_trace",
            "All spans of a trace in order, long texts shortened. A trace too large for that is summed up.",
            trace_id,
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


async def view_trace(desk: Desk, trace_id: str, max_bytes: int) -> dict[str, Any]:
    """Return every span, with the longest texts that fit; where not even their names do, what the trace consists of."""
    [facts] = (await desk.questions.rows("SELECT span_count FROM traces WHERE trace_id = ?", [trace_id])).rows
    if facts["span_count"] * SKELETON_BYTES <= max_bytes:
        found = await desk.questions.rows(
            f"SELECT {_SKELETON}, {_texts(CAPS[0])} FROM spans WHERE trace_id = ? ORDER BY start_time, span_id",
            [trace_id],
            max_rows=MAX_ROWS,
            max_bytes=max(READ_BYTES, max_bytes * 4),
        )
        if not found.more:
            for cap in CAPS:
                same, spans = hoisted([_shown(row, cap) for row in found.rows], ("agent", "model"))
                result: dict[str, Any] = {"trace_id": trace_id, **({"all_spans": same} if same else {}), "spans": spans}
                if any(CUT in str(span) for span in result["spans"]):
                    result["left_out"] = (
                        f"texts after {cap} characters: view_spans shows more of a span, search_trace finds"
                    )
                if size(result) <= max_bytes:
                    return result
    return await _summary(desk, trace_id, max_bytes)


async def _summary(desk: Desk, trace_id: str, max_bytes: int) -> dict[str, Any]:
    names = await desk.questions.rows(
        "SELECT name, count(*) AS spans, count(*) FILTER (status_code = 'ERROR') AS errors FROM spans "
        "WHERE trace_id = ? GROUP BY name ORDER BY spans DESC, name",
        [trace_id],
    )
    sizes = await desk.questions.rows(
        "SELECT count(*) AS spans, sum(n)::BIGINT AS total, min(n) AS min, median(n)::BIGINT AS median, max(n) AS max FROM "
        "(SELECT coalesce(length(input_text), 0) + coalesce(length(output_text), 0) AS n FROM spans WHERE trace_id = ?)",
        [trace_id],
    )
    errors = await desk.questions.rows(
        "SELECT span_id, left(name, 80) AS name, left(coalesce(error_message, status_message), 120) AS error FROM spans "
        "WHERE trace_id = ? AND (status_code = 'ERROR' OR error_message IS NOT NULL) ORDER BY start_time",
        [trace_id],
        max_rows=20,
        count=True,
    )
    [characters] = sizes.rows
    oversized: dict[str, Any] = {
        "span_count": characters.pop("spans"),
        "text_characters": characters,
        "top_span_names": take(
            [{**row, "name": cut(row["name"], 80)} for row in names.rows[:TOP_NAMES]], max_bytes // 3
        ),
        "error_span_count": errors.total if errors.total is not None else len(errors.rows),
        "first_error_spans": take([compact(row) for row in errors.rows], max_bytes // 3),
        "recommendation": "search_trace(trace_id, regex_pattern) for what matters, view_spans for single spans, "
        "or query_sql with WHERE trace_id = …; do not call view_trace on it again",
    }
    return {"trace_id": trace_id, "spans": [], "oversized": oversized}


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
        "(ORDER BY start_time, span_id) AS _rank FROM spans WHERE trace_id = ?) WHERE list_contains(?, span_id) ORDER BY _rank",
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

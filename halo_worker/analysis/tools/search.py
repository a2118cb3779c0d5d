"""search_trace, search_span, search_spans: regular expressions in linear time (RE2), with the field each match is in."""

from __future__ import annotations

from typing import Any

from halo_worker.analysis.tools.filters import (
    FILTERS_SCHEMA,
    MATCHING,
    MATCHING_PARAMETERS,
    TEXT_COLUMNS,
    condition,
    spans_of,
)
from halo_worker.analysis.tools.fit import LIST_BYTES, compact, cut, fitted, for_model
from halo_worker.analysis.tools.shared import Desk, tool, whole
from halo_worker.analysis.tools.steps import ORDER
from halo_worker.rlm.tool import Tool, ToolError

MATCH_CHARACTERS = 300  # of one match, however much it takes in
MAX_LISTED_SPANS = 200

# Every text of the spans `s`, with the name of the field that a quote of it would cite.
_FIELDS = ", ".join(f"{{'f': '{name}', 't': {name}}}" for name in TEXT_COLUMNS)
_TEXTS = f"""
texts AS (
  SELECT i, trace_id, span_id, x.f AS field, x.t AS text FROM (SELECT i, trace_id, span_id, unnest([{_FIELDS}]) AS x FROM s)
  UNION ALL
  SELECT i, trace_id, span_id, 'attributes["' || key || '"]', CASE WHEN type = 'VARCHAR' THEN value->>'$' ELSE value::VARCHAR END
  FROM (
    SELECT i, trace_id, span_id, e.key, e.value, e.type FROM s, json_each(s.attributes) e
    -- what a column shows under its one meaning is not found a second time
    WHERE NOT coalesce((e.value->>'$') IN (input_text, output_text, error_message), false)
  )
  UNION ALL
  SELECT i, trace_id, span_id, 'events[' || (n - 1) || '].attributes["' || key || '"]',
    CASE WHEN type = 'VARCHAR' THEN value->>'$' ELSE value::VARCHAR END
  FROM (
    SELECT i, trace_id, span_id, n, e.key, e.value, e.type FROM (
      SELECT i, trace_id, span_id, unnest(events) AS event, generate_subscripts(events, 1) AS n FROM s WHERE len(events) > 0
    ), json_each(event.attributes) e
  )
)
"""

# A text between matches and the matches themselves put the text together again, so lengths give each match its place.
_MATCHES = """
found AS (
  SELECT i, trace_id, span_id, field, text, regexp_extract_all(text, ?) AS hits, regexp_split_to_array(text, ?) AS between
  FROM texts WHERE regexp_matches(text, ?)
),
placed AS (
  SELECT i, trace_id, span_id, field, text, len(hits) AS n,
    list_transform(hits[:{most}], lambda h: length(h)) AS sizes, list_transform(between[:{most}], lambda b: length(b)) AS gaps
  FROM found
)
SELECT i, trace_id, span_id, field, n, list_transform(range(1, least(n, {most}) + 1), lambda k: {{
  'start': coalesce(list_sum(gaps[:k]), 0) + coalesce(list_sum(sizes[:k - 1]), 0), 'size': coalesce(sizes[k], 0),
  'context': substr(text, greatest(1, (coalesce(list_sum(gaps[:k]), 0) + coalesce(list_sum(sizes[:k - 1]), 0)
    - {context} + 1)::BIGINT), ({context} + least(sizes[k], {match}) + {context})::BIGINT)
}}) AS matches FROM placed ORDER BY i, contains(field, '['), field
"""


def search_tools(desk: Desk) -> list[Tool]:
    """Return the three."""

    async def one_trace(arguments: dict[str, Any], max_bytes: int) -> Any:
        return await search_trace(desk, arguments, for_model(max_bytes, LIST_BYTES))

    async def one_span(arguments: dict[str, Any], max_bytes: int) -> Any:
        return await search_trace(desk, arguments, for_model(max_bytes, LIST_BYTES), span=True)

    async def everywhere(arguments: dict[str, Any], max_bytes: int) -> Any:
        return await search_spans(desk, arguments, for_model(max_bytes, LIST_BYTES))

    pattern = {
        "trace_id": {"type": "string"},
        "regex_pattern": {"type": "string", "description": "RE2"},
        "context_buffer_chars": {"type": "integer", "minimum": 0, "maximum": 2000, "default": 100},
        "max_matches": {"type": "integer", "minimum": 1, "maximum": 500, "default": 50},
    }
    return [
        tool(
            "search_trace",
            "Find a pattern in every text of a trace: exact count, and matches with span, field and context.",
            pattern,
            one_trace,
            required=["trace_id", "regex_pattern"],
        ),
        tool(
            "search_span",
            "The same in one span.",
            {"trace_id": pattern["trace_id"], "span_id": {"type": "string"}, **pattern},
            one_span,
            required=["trace_id", "span_id", "regex_pattern"],
        ),
        tool(
            "search_spans",
            "Find a pattern in the spans of the whole window: exact counts of spans and traces, and a match of each span.",
            {
                "pattern": {"type": "string", "description": "RE2"},
                "filters": FILTERS_SCHEMA,
                "limit": {"type": "integer", "minimum": 1, "maximum": MAX_LISTED_SPANS, "default": 20},
            },
            everywhere,
            required=["pattern"],
        ),
    ]


async def search_trace(desk: Desk, arguments: dict[str, Any], max_bytes: int, *, span: bool = False) -> dict[str, Any]:
    """Search one trace, or one span of it."""
    trace_id = await desk.trace_id(arguments.get("trace_id"), max_bytes)
    pattern = await desk.check_pattern(arguments.get("regex_pattern"))
    context = whole(arguments, "context_buffer_chars", 100, 0, 2000)
    most = whole(arguments, "max_matches", 50, 1, 500)
    parameters: list[Any] = [trace_id]
    where = "trace_id = ?"
    if span:
        where += " AND span_id = ?"
        parameters.append(str(arguments.get("span_id") or ""))
        known = await desk.questions.rows(f"SELECT count(*) AS n FROM spans WHERE {where}", parameters)
        if not known.rows[0]["n"]:
            raise ToolError(f"the trace has no span {parameters[1][:80]}: view_trace and search_trace return its ids")
    rows = await _matches(desk, where, parameters, pattern, context=context, most=most, max_bytes=max_bytes)
    total = sum(row["n"] for row in rows)
    matches = [match for row in rows for match in _listed(row, context)][:most]
    head = {"trace_id": trace_id, "match_count": total, "spans_matched": len({row["span_id"] for row in rows})}
    result = fitted(
        head, "matches", matches, max_bytes,
        lambda left: f"{left} matches for size: sharpen the pattern, or take less context",
    )  # fmt: skip
    result["returned_match_count"] = len(result["matches"])
    result["has_more"] = len(result["matches"]) < total
    desk.saw(head)
    return result


async def _matches(
    desk: Desk, where: str, parameters: list[Any], pattern: str, *, context: int, most: int, max_bytes: int
) -> list[dict[str, Any]]:
    sql = (
        f"WITH s AS (SELECT *, row_number() OVER (ORDER BY {ORDER}) - 1 AS i FROM spans "
        f"WHERE {where}), {_TEXTS}, {_MATCHES.format(most=most, context=context, match=MATCH_CHARACTERS)}"
    )
    found = await desk.questions.rows(
        sql, [*parameters, pattern, pattern, pattern], max_bytes=max(max_bytes * 20, 2**22)
    )
    return found.rows


def _listed(row: dict[str, Any], context: int) -> list[dict[str, Any]]:
    listed = []
    for match in row["matches"]:
        before = min(context, match["start"])
        size = match["size"]
        text = match["context"][before : before + size]
        listed.append(
            {
                "span_id": row["span_id"],
                "span_index": row["i"],
                "field": row["field"],
                "match_text": cut(text[:MATCH_CHARACTERS], MATCH_CHARACTERS, size),
                "matched_context": match["context"],
                "match_start_char": match["start"],
                "match_end_char": match["start"] + size,
            }
        )
    return listed


async def search_spans(desk: Desk, arguments: dict[str, Any], max_bytes: int) -> dict[str, Any]:
    """Search the window: count all, list some."""
    pattern = await desk.check_pattern(arguments.get("pattern") or arguments.get("regex_pattern"))
    limit = whole(arguments, "limit", 20, 1, MAX_LISTED_SPANS)
    where, parameters = condition(arguments.get("filters"), desk.hypotheses)
    found = await desk.questions.rows(
        f"WITH m AS (SELECT trace_id, span_id FROM ({MATCHING}) WHERE {spans_of(where)}) "
        "SELECT (SELECT count(*) FROM m) AS spans, (SELECT count(DISTINCT trace_id) FROM m) AS traces, "
        # One of each trace before a second of any: breadth says more than one long trace.
        "(SELECT list({'t': trace_id, 's': span_id}) FROM (SELECT * FROM m QUALIFY true "
        f"ORDER BY row_number() OVER (PARTITION BY trace_id ORDER BY span_id), trace_id LIMIT {limit})) AS listed",
        [*[pattern] * MATCHING_PARAMETERS, *parameters],
    )
    facts = found.rows[0]
    listed = facts["listed"] or []
    rows = await _matches(
        desk, "list_contains(?, trace_id || '/' || span_id)",
        [[f"{one['t']}/{one['s']}" for one in listed]],
        pattern, context=80, most=1, max_bytes=max_bytes,
    ) if listed else []  # fmt: skip
    seen: set[tuple[str, str]] = set()
    shown = []
    for row in rows:
        if (row["trace_id"], row["span_id"]) in seen:
            continue
        seen.add((row["trace_id"], row["span_id"]))
        match = _listed(row, 80)[0]
        shown.append(
            compact(
                {
                    "trace_id": row["trace_id"],
                    "span_id": row["span_id"],
                    "field": row["field"],
                    "match_text": match["match_text"],
                    "context": match["matched_context"],
                }
            )
        )
    head = {"spans_total": facts["spans"], "traces_total": facts["traces"]}
    desk.saw(head)
    desk.show((row["trace_id"] for row in shown), max_bytes)
    result = fitted(head, "spans", shown, max_bytes, lambda left: f"{left} for size: narrow with filters")
    result["has_more"] = len(result["spans"]) < facts["spans"]
    return result

"""get_dataset_overview, query_traces, count_traces: what there is, before anything is read."""

from __future__ import annotations

from typing import Any

from halo_worker.analysis.tools.filters import FILTERS_SCHEMA, condition, spans_of
from halo_worker.analysis.tools.fit import LIST_BYTES, compact, cut, cut_values, fitted, for_model, size
from halo_worker.analysis.tools.shared import Desk, tool, whole
from halo_worker.rlm.tool import Tool, ToolError

MAX_NAMES = 15
MAX_ERROR_GROUPS = 12
MAX_SAMPLES = 20
MESSAGE_CHARACTERS = 160
SHORT = 12  # names of a list that is shown whole where it can be
_EXAMPLES = ("sample_trace_ids", "error_groups")
_NAME_LISTS = ("services", "models", "tools", "agents")  # in the order in which they are shortened
NAME_CHARACTERS = 120

SORTS = {
    "newest": "t.start_time DESC NULLS LAST",
    "oldest": "t.start_time ASC NULLS LAST",
    "slowest": "t.duration_ns DESC NULLS LAST",
    "errors": "t.error_count DESC",
    "tokens": "coalesce(t.input_tokens, 0) + coalesce(t.output_tokens, 0) DESC",
    "cost": "t.cost_usd DESC NULLS LAST",
    "spans": "t.span_count DESC",
}

_TOTALS = """
SELECT count(*) AS traces, coalesce(sum(span_count), 0)::BIGINT AS spans,
  count(*) FILTER (error_count > 0) AS error_traces, coalesce(sum(error_count), 0)::BIGINT AS error_spans,
  min(start_time) AS first, max(end_time) AS last, coalesce(sum(input_tokens), 0)::BIGINT AS input_tokens,
  coalesce(sum(output_tokens), 0)::BIGINT AS output_tokens, round(sum(cost_usd), 4) AS cost_usd,
  (quantile_cont(duration_ns, 0.5) / 1e6)::BIGINT AS duration_p50_ms,
  (quantile_cont(duration_ns, 0.95) / 1e6)::BIGINT AS duration_p95_ms,
  max(span_count) AS spans_of_largest_trace
FROM traces t WHERE {where}
"""

_NAMES = """
SELECT name, count(*) AS traces FROM (SELECT unnest({column}) AS name FROM traces t WHERE {where})
GROUP BY name ORDER BY traces DESC, name
"""

_TOOLS = """
SELECT tool_name AS name, count(*) AS calls, count(DISTINCT trace_id) AS traces, count(*) FILTER (failed) AS failed
FROM _tool_calls WHERE {chosen} GROUP BY tool_name ORDER BY calls DESC, tool_name
"""

# By signature, in which ids and numbers are masked: one cause is one group. Spans of status ERROR, so that the groups
# add up to `error_spans`.
_ERRORS = """
SELECT name, coalesce(error_signature, error_type, '') AS error_signature, count(*) AS spans,
  count(DISTINCT trace_id) AS traces, min(trace_id) AS example_trace_id
FROM spans WHERE status_code = 'ERROR' AND {chosen}
GROUP BY ALL ORDER BY traces DESC, spans DESC, name, error_signature
"""

# Spread over the window, those with errors first.
_SAMPLES = f"""
SELECT trace_id FROM (
  SELECT trace_id, ntile({MAX_SAMPLES}) OVER (ORDER BY start_time, trace_id) AS part, error_count FROM traces t
  WHERE {{where}}
) QUALIFY row_number() OVER (PARTITION BY part ORDER BY error_count > 0 DESC, trace_id) = 1 ORDER BY part
"""

_HEALTH = """
WITH s AS (
  SELECT trace_id, span_id, parent_span_id, agent_name, span_type FROM spans
  WHERE {chosen}
)
SELECT count(*) FILTER (agent_name IS NULL) AS spans_without_agent, count(*) FILTER (span_type IS NULL) AS
  spans_without_type, (SELECT count(*) FROM s c ANTI JOIN s p ON p.trace_id = c.trace_id AND p.span_id =
  c.parent_span_id WHERE c.parent_span_id IS NOT NULL) AS spans_with_missing_parent FROM s
"""


def overview_tools(desk: Desk) -> list[Tool]:
    """Return the three."""

    async def overview(arguments: dict[str, Any], max_bytes: int) -> Any:
        return await dataset_overview(desk, arguments.get("filters"), for_model(max_bytes, LIST_BYTES))

    async def count(arguments: dict[str, Any], max_bytes: int) -> Any:
        where, parameters = condition(arguments.get("filters"), desk.hypotheses)
        found = await desk.questions.rows(f"SELECT count(*) AS total FROM traces t WHERE {where}", parameters)
        desk.saw(found.rows[0])
        return {"total": found.rows[0]["total"]}

    async def query(arguments: dict[str, Any], max_bytes: int) -> Any:
        return await query_traces(desk, arguments, for_model(max_bytes, LIST_BYTES))

    filters = {"filters": FILTERS_SCHEMA}
    return [
        tool(
            "get_dataset_overview",
            "Totals, names, tools, error groups and sample ids of the window, or of what the filters leave. Call it first.",
            filters,
            overview,
        ),
        tool(
            "query_traces",
            "List traces: a summary each, the exact total, and a page at a time.",
            {
                **filters,
                "limit": {"type": "integer", "minimum": 1, "maximum": 500, "default": 50},
                "offset": {"type": "integer", "minimum": 0},
                "sort": {"enum": list(SORTS)},
            },
            query,
        ),
        tool("count_traces", "Count traces. Count before you claim.", filters, count),
    ]


async def dataset_overview(desk: Desk, filters: Any, max_bytes: int, *, aim: int | None = None) -> dict[str, Any]:
    """Say what there is, in a size that does not depend on how much there is.

    `aim`: bytes to come down to by leaving out examples; names are left out for `max_bytes` alone.
    """
    where, parameters = condition(filters, desk.hypotheses)
    chosen = spans_of(where)
    rows = desk.questions.rows
    columns = {"services": "service_names", "agents": "agent_names", "models": "models"}
    # One after the other: a second process would have to open the window first, and that takes longer.
    totals = await rows(_TOTALS.format(where=where), parameters)
    errors = await rows(_ERRORS.format(chosen=chosen), parameters, max_rows=MAX_ERROR_GROUPS, count=True)
    tools = await rows(_TOOLS.format(chosen=chosen), parameters, max_rows=MAX_NAMES, count=True)
    samples = await rows(_SAMPLES.format(where=where), parameters)
    health = await rows(_HEALTH.format(chosen=chosen), parameters)
    names = [
        await rows(_NAMES.format(column=column, where=where), parameters, max_rows=MAX_NAMES, count=True)
        for column in columns.values()
    ]
    result: dict[str, Any] = dict(totals.rows[0])
    for name, found in zip(columns, names, strict=True):
        result[name] = {cut(row["name"], NAME_CHARACTERS): row["traces"] for row in found.rows}
        if found.more:
            result[f"{name}_left_out"] = (found.total or 0) - len(found.rows)
    result["tools"] = [cut_values(row, NAME_CHARACTERS) for row in tools.rows]
    if tools.more:
        result["tools_left_out"] = (tools.total or 0) - len(tools.rows)
    result["error_groups"] = [cut_values(row, MESSAGE_CHARACTERS) for row in errors.rows]
    if errors.more:
        shown = sum(row["spans"] for row in errors.rows)
        result["error_groups_left_out"] = (
            f"{(errors.total or 0) - len(errors.rows)} rarer groups, {result['error_spans'] - shown} error spans; "
            "query_sql: GROUP BY error_signature"
        )
    result["health"] = health.rows[0]
    result["sample_trace_ids"] = [row["trace_id"] for row in samples.rows]
    desk.saw(result)
    return _shrunk(compact(result) | {"traces": result["traces"]}, max_bytes, aim or max_bytes)


def _shrunk(result: dict[str, Any], max_bytes: int, aim: int) -> dict[str, Any]:
    """Drop what is longest and least needed until the budget holds; a name that is a novel cannot break it.

    Of short lists of names (SHORT) nothing is dropped for `aim`: a reader who knows them all need not ask for them.
    """
    steps: list[tuple[int, tuple[str, ...], int]] = [(aim, _EXAMPLES, most) for most in (8, 4)]
    steps.append((aim, _NAME_LISTS, SHORT))
    steps += [(max_bytes, (*_EXAMPLES, *_NAME_LISTS), most) for most in (8, 4, 0)]
    first, dropped = result, dict[str, int]()
    for limit, names, most in steps:
        for name in names:
            if size(result) <= limit or len(result.get(name, ())) <= most:
                continue
            left = len(result[name]) - most
            values = result[name]
            kept = dict(list(values.items())[:most]) if isinstance(values, dict) else values[:most]
            result = {**result, name: kept}
            if name != "sample_trace_ids":
                dropped[name] = dropped.get(name, 0) + left
                before = first.get(f"{name}_left_out")
                left = dropped[name] + (before if isinstance(before, int) else 0)
                also = f", and {before}" if isinstance(before, str) else "; query_sql groups by them"
                result[f"{name}_left_out"] = f"{left} more for size{also}"
    return result


async def query_traces(desk: Desk, arguments: dict[str, Any], max_bytes: int) -> dict[str, Any]:
    """Return one page of traces."""
    where, parameters = condition(arguments.get("filters"), desk.hypotheses)
    limit, offset = whole(arguments, "limit", 50, 1, 500), whole(arguments, "offset", 0, 0, 10**9)
    sort = str(arguments.get("sort") or "newest")
    if sort not in SORTS:
        raise ToolError(f"there is no sort {sort[:40]!r}; there are {', '.join(SORTS)}")
    total = await desk.questions.rows(f"SELECT count(*) AS total FROM traces t WHERE {where}", parameters)
    found = await desk.questions.rows(
        "SELECT trace_id, root_name, agent_names, models, service_names, start_time, (duration_ns / 1e6)::BIGINT AS "
        "duration_ms, span_count, error_count, status_code, input_tokens, output_tokens, round(cost_usd, 5) AS cost_usd "
        "FROM traces t "
        f"WHERE {where} ORDER BY {SORTS[sort]}, t.trace_id LIMIT {limit} OFFSET {offset}",
        parameters,
    )
    rows = [compact(cut_values(row, NAME_CHARACTERS)) for row in found.rows]
    for row in rows:
        row["start_time"] = (row.get("start_time") or "")[:19]
        row["status_code"] = row["status_code"] if row.get("status_code") == "ERROR" else None
        for name in ("agent_names", "models", "service_names"):
            row[name] = row.get(name, [])[:4]
        if row["agent_names"]:
            row["service_names"] = []  # who did it is said; a filter by service still finds it
    rows = [compact(row) for row in rows]
    count = total.rows[0]["total"]
    result = fitted(
        {"total": count}, "traces", rows, max_bytes,
        lambda left: f"{left} of this page: ask with a smaller limit, or go on at offset {offset + len(rows) - left}",
    )  # fmt: skip
    shown = offset + len(result["traces"])
    result["has_more"] = shown < count
    if shown < count:
        result["next_offset"] = shown
    desk.saw(count)
    return result

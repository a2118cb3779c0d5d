"""The schema's version, its story, and the views that show it as contracted.

Version 1: each text in a column of its own.
Version 2: `texts` holds what repeats itself; segments of version 1 are read as they are.
"""

from __future__ import annotations

from importlib import resources

from halo_receiver.store import usage

SCHEMA_VERSION = 2

# Segments are written in this storage version by every DuckDB we support, and read by all of them: files in the own
# default format of 2.x cannot be opened by 1.5.
STORAGE_VERSION = "v1.5.0"

# A transaction that fills a row group is compressed once, straight into the file: the write-ahead log then holds
# pointers only, and 5 times fewer bytes are written. Larger row groups make smaller files (2,048 → 4,096 → 8,192 rows:
# 7.2 kB spans 1,033 → 964 → 880 B; 8,192 → 16,384 rows: 0.5 kB spans 162 → 129 B) and cheaper inserts, and cost the
# loader memory: spans of 7.2 kB take 14 kB each in it, so that large row groups are for small rows alone.
ROW_GROUP_SIZE = 4096
SMALL_ROW_GROUP_SIZE = 16_384  # of rows smaller than SMALL_ROW_BYTES, as Arrow has them
SMALL_ROW_BYTES = 2048

SCHEMA_SQL = resources.files(__package__).joinpath("schema.sql").read_text(encoding="utf-8")

SPAN_COLUMNS = (
    "trace_id", "span_id", "parent_span_id", "trace_state", "flags", "name", "kind", "start_time", "end_time",
    "duration_ns", "status_code", "status_message", "service_name", "scope_name", "scope_version",
    "resource_attributes", "scope_attributes", "attributes", "events", "links", "dropped_attributes",
    "dropped_events", "dropped_links", "resource_schema_url", "scope_schema_url", "resource_dropped_attributes",
    "scope_dropped_attributes", "received_at", "convention", "span_type", "model", "provider", "agent_name",
    "session_id", "user_id", "tool_name", "tool_call_id", "tools_offered", "input_messages", "output_messages",
    "input_text", "output_text", "finish_reason", "input_tokens", "output_tokens", "cached_tokens",
    "reasoning_tokens", "cost_usd", "cost_estimated", "error_type", "error_message", "error_signature",
    "tool_definitions", "max_output_tokens",
)  # fmt: skip

LOG_COLUMNS = (
    "time", "observed_time", "trace_id", "span_id", "severity_number", "severity_text", "event_name", "body",
    "attributes", "flags", "dropped_attributes", "resource_attributes", "scope_name", "scope_version",
    "service_name", "received_at",
)  # fmt: skip

# Columns that a log record may fill in for its span, and the type they have.
FACT_COLUMNS = {
    "model": "VARCHAR", "provider": "VARCHAR", "agent_name": "VARCHAR", "session_id": "VARCHAR", "user_id": "VARCHAR",
    "tool_name": "VARCHAR", "tool_call_id": "VARCHAR", "tool_definitions": "VARCHAR", "input_messages": "VARCHAR",
    "output_messages": "VARCHAR", "input_text": "VARCHAR", "output_text": "VARCHAR", "finish_reason": "VARCHAR",
    "input_tokens": "BIGINT", "output_tokens": "BIGINT", "cached_tokens": "BIGINT", "reasoning_tokens": "BIGINT",
    "cost_usd": "DOUBLE", "cost_estimated": "BOOLEAN", "error_type": "VARCHAR", "error_message": "VARCHAR",
    "error_signature": "VARCHAR",
}  # fmt: skip

# The object as sent, put together from the short values and the long ones; both are JSON already.
_SHORT = (
    "array_to_string(list_transform(range(1, len(attribute_keys) + 1), "
    "lambda i: to_json(attribute_keys[i]) || ':' || attribute_values[i]), ',')"
)
_ATTRIBUTES = (
    f"(CASE WHEN long_attributes IS NULL THEN '{{' || {_SHORT} || '}}' "
    "WHEN len(attribute_keys) = 0 THEN long_attributes "
    f"ELSE '{{' || {_SHORT} || ',' || long_attributes[2:] END)::JSON AS attributes"
)
_EVENTS = (
    "coalesce(list_transform(from_json(events, "
    """'[{"time":"BIGINT","name":"VARCHAR","attributes":"JSON","dropped_attributes":"UINTEGER"}]'), """
    "lambda e: {'time': make_timestamp_ns(e.time), 'name': e.name, 'attributes': e.attributes, "
    "'dropped_attributes': e.dropped_attributes}), []) AS events"
)
_JSON = {"resource_attributes", "scope_attributes", "input_messages", "output_messages", "body"}


def _projection(columns: tuple[str, ...], alias: str, facts: bool) -> str:
    parts = []
    for column in columns:
        source = f'{alias}."{column}"'
        if facts and column in FACT_COLUMNS:
            source = f"coalesce({source}, f.{column})"
        if column == "attributes":
            parts.append(_ATTRIBUTES)
        elif column == "events":
            parts.append(_EVENTS)
        elif column in _JSON:
            parts.append(f'{source}::JSON AS "{column}"')
        else:
            parts.append(f'{source} AS "{column}"')
    return ", ".join(parts)


LISTS = ("attribute_keys", "attribute_values")  # a key is looked up in these without putting the object together


def spans_view(rows: str, facts: str | None = None, *, lists: bool = False) -> str:
    """Return the SELECT that shows `rows` (of span_rows) as contracted, filled from `facts` of their logs, if any.

    `lists` adds the stored lists of attributes (`LISTS`).
    """
    added = "".join(f", s.{name}" for name in LISTS) if lists else ""
    projection = _projection(SPAN_COLUMNS, "s", facts is not None) + added
    if facts is None:
        return f"SELECT {projection} FROM {rows} s"
    return (
        f"SELECT {projection} FROM {rows} s "
        f"LEFT JOIN {facts} f ON f.fact_trace_id = s.trace_id AND f.fact_span_id = s.span_id"
    )


def facts_query(rows: str, calls: str) -> str:
    """Return the SELECT that gathers what the log records of `rows` (of log_rows) say of each span.

    A record that names a tool call speaks of the tool span of that call, in `calls` (`calls_query`), where it has one:
    Codex writes results under a span within it.
    """
    picks = ", ".join(
        f"arg_min(TRY_CAST(span_facts->>'$.{name}' AS {kind}), received_at) "
        f"FILTER ((span_facts->>'$.{name}') IS NOT NULL) AS {name}"
        for name, kind in FACT_COLUMNS.items()
    )
    return (
        f"SELECT trace_id AS fact_trace_id, coalesce(tool_span_id, span_id) AS fact_span_id, {picks} FROM {rows} "
        f"LEFT JOIN {calls} ON call_trace_id = trace_id AND call_id = (span_facts->>'$.tool_call_id') "
        "WHERE span_facts IS NOT NULL AND trace_id IS NOT NULL AND span_id IS NOT NULL GROUP BY ALL"
    )


def calls_query(spans: str, logs: str) -> str:
    """Return the SELECT of the tool spans (of span_rows) of calls that records of `logs` name, the first of each."""
    named = f"SELECT trace_id FROM {logs} WHERE (span_facts->>'$.tool_call_id') IS NOT NULL"
    return (
        f"SELECT trace_id AS call_trace_id, tool_call_id AS call_id, arg_min(span_id, start_time) AS tool_span_id "
        f"FROM {spans} WHERE span_type = 'tool' AND tool_call_id IS NOT NULL AND trace_id IN ({named}) GROUP BY ALL"
    )


def logs_view(rows: str) -> str:
    """Return the SELECT that shows `rows` (of log_rows) as contracted."""
    return f"SELECT {_projection(LOG_COLUMNS, 'l', False)} FROM {rows} l"


TRACE_COLUMNS = (
    "trace_id", "root_name", "service_names", "agent_names", "models", "start_time", "end_time", "duration_ns",
    "span_count", "error_count", "status_code", "input_tokens", "output_tokens", "cost_usd", "session_id", "user_id",
)  # fmt: skip


# Of a trace, from its spans: what its root says, and the session. MCP's is a connection's (a stateless server makes one
# for each request): the agent's own comes first.
TRACE_HEAD = """
      coalesce(arg_min(name, start_time) FILTER (parent_span_id IS NULL),
        first(name) FILTER (parent_span_id IS NULL)) AS root_name,
      coalesce(arg_min(status_code, start_time) FILTER (parent_span_id IS NULL),
        first(status_code) FILTER (parent_span_id IS NULL)) AS status_code,
      min(start_time) AS start_time,
      coalesce(min(session_id) FILTER (convention IS DISTINCT FROM 'mcp'), min(session_id)) AS session_id"""


def rollup_query(spans: str) -> str:
    """Return the SELECT that makes one trace_rows row of each trace in `spans` (columns as span_rows).

    Tokens and cost are those of LLM and embedding spans, of one call once (`usage`): agent spans repeat their
    children's totals.
    """
    return f"""
    WITH leaf AS (
      SELECT s.*, s.span_type IN ('llm', 'embedding') AND r.tokens IS NOT TRUE AS tokens_count,
        s.span_type IN ('llm', 'embedding') AND r.cost IS NOT TRUE AS cost_counts
      FROM {spans} s LEFT JOIN ({usage.repeated_query(spans)}) r USING (trace_id, span_id)
    )
    SELECT trace_id, {TRACE_HEAD},
      coalesce(list_sort(list(DISTINCT service_name) FILTER (service_name <> '')), []) AS service_names,
      coalesce(list_sort(list(DISTINCT agent_name) FILTER (agent_name IS NOT NULL)), []) AS agent_names,
      coalesce(list_sort(list(DISTINCT model) FILTER (model IS NOT NULL)), []) AS models,
      max(end_time) AS end_time,
      epoch_ns(max(end_time)) - epoch_ns(min(start_time)) AS duration_ns,
      count(*) AS span_count, count(*) FILTER (status_code = 'ERROR') AS error_count,
      sum(input_tokens) FILTER (tokens_count)::BIGINT AS input_tokens,
      sum(output_tokens) FILTER (tokens_count)::BIGINT AS output_tokens,
      sum(cost_usd) FILTER (cost_counts) AS cost_usd,
      min(user_id) AS user_id,
      min(received_at) AS first_received_at, max(received_at) AS last_received_at
    FROM leaf GROUP BY trace_id
    """

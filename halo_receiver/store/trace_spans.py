"""The spans of one trace as a viewer asks for them: all without their texts, one whole, and all as they were sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from halo_receiver.store.queries import json_rows
from halo_receiver.store.reader import Reader

ERROR_CHARACTERS = 200
FETCH_SPANS = 100  # at a time, when they are read whole

_OUTLINE = f"""
SELECT span_id, parent_span_id, name, span_type, kind, coalesce(epoch_ns(start_time), 0) AS start_ns, duration_ns,
  status_code, agent_name, model, tool_name, input_tokens, output_tokens, cost_usd, finish_reason,
  left(coalesce(error_message, status_message, ''), {ERROR_CHARACTERS}) AS error, session_id, user_id, service_name
FROM spans WHERE trace_id = ? ORDER BY start_time NULLS FIRST, span_id LIMIT ?
"""
_LOGS = "SELECT time, span_id, severity_text, event_name, body, attributes FROM logs WHERE trace_id = ?"
_EVENT = (
    "{'timeUnixNano': epoch_ns(e.time), 'name': e.name, 'attributes': e.attributes, "
    "'droppedAttributesCount': e.dropped_attributes}"
)
_SENT = f"""
SELECT to_json(_row)::VARCHAR FROM (
  SELECT trace_id, span_id, parent_span_id, trace_state, flags, name, kind, epoch_ns(start_time) AS start_ns,
    epoch_ns(end_time) AS end_ns, status_code, status_message, attributes, dropped_attributes, dropped_events,
    dropped_links, list_transform(events, lambda e: {_EVENT}) AS events, links, resource_attributes,
    resource_dropped_attributes, resource_schema_url, scope_name, scope_version, scope_attributes,
    scope_dropped_attributes, scope_schema_url
  FROM spans WHERE trace_id = ? ORDER BY start_time NULLS FIRST, span_id
) _row
"""


def outline(reader: Reader, trace_id: str, limit: int) -> list[dict[str, Any]]:
    """Return the spans of a trace in order of their start, at most `limit`, without texts; `agent_name` as sent."""
    cursor = reader.connection.execute(_OUTLINE, [trace_id, limit])
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def whole_span(reader: Reader, trace_id: str, span_id: str) -> dict[str, Any] | None:
    """Return every column of a span; `agent_name` as sent."""
    sql = "SELECT * FROM spans WHERE trace_id = $1 AND span_id = $2 LIMIT 1"
    rows = json_rows(reader, sql, [trace_id, span_id], resolve=False)[1]
    return rows[0] if rows else None


def trace_logs(reader: Reader, trace_id: str, limit: int, *, span_id: str | None = None) -> list[dict[str, Any]]:
    """Return the log records of a trace, or of one of its spans, in order of time."""
    of_span, values = (" AND span_id = ?", [trace_id, span_id]) if span_id else ("", [trace_id])
    return json_rows(reader, f"{_LOGS}{of_span} ORDER BY time LIMIT {int(limit)}", values)[1]


def as_sent(reader: Reader, trace_id: str) -> Iterator[list[dict[str, Any]]]:
    """Yield the spans of a trace with all that was sent of them, FETCH_SPANS at a time; times as unix nanoseconds."""
    cursor = reader.connection.execute(_SENT, [trace_id])
    while rows := cursor.fetchmany(FETCH_SPANS):
        yield [orjson.loads(text) for (text,) in rows]

"""Stored rows back to spans and log records, so that what they mean can be derived again.

Two things are not as sent, and neither matters to a convention: bytes values are their base64 text, and NaN and the
infinities their names.
"""

from __future__ import annotations

from typing import Any

import orjson

from halo_receiver.span import Attributes, LogRecord, Scope, Span, SpanEvent, SpanLink

Row = dict[str, Any]

# The columns of span_rows and log_rows, with times as unix nanoseconds.
SPAN_ROW = "* REPLACE (epoch_ns(start_time) AS start_time, epoch_ns(end_time) AS end_time)"
LOG_ROW = '* REPLACE (epoch_ns("time") AS "time", epoch_ns(observed_time) AS observed_time)'


def _json(text: str | None) -> Any:
    return orjson.loads(text) if text else {}


def _attributes(row: Row) -> Attributes:
    short = zip(row["attribute_keys"] or (), row["attribute_values"] or (), strict=True)
    return {**{key: orjson.loads(value) for key, value in short}, **_json(row["long_attributes"])}


def _scope(row: Row) -> Scope:
    return Scope(
        resource_attributes=_json(row["resource_attributes"]),
        resource_dropped_attributes=row["resource_dropped_attributes"] or 0,
        resource_schema_url=row["resource_schema_url"] or "",
        name=row["scope_name"] or "",
        version=row["scope_version"] or "",
        attributes=_json(row["scope_attributes"]),
        dropped_attributes=row["scope_dropped_attributes"] or 0,
        schema_url=row["scope_schema_url"] or "",
    )


def span_of(row: Row) -> Span:
    """Return the span of a row of span_rows, read as SPAN_ROW."""
    return Span(
        trace_id=row["trace_id"],
        span_id=row["span_id"],
        parent_span_id=row["parent_span_id"] or "",
        name=row["name"] or "",
        scope=_scope(row),
        trace_state=row["trace_state"] or "",
        flags=row["flags"] or 0,
        kind=row["kind"] or "UNSPECIFIED",
        start_unix_nano=row["start_time"] or 0,
        end_unix_nano=row["end_time"] or 0,
        status_code=row["status_code"] or "UNSET",
        status_message=row["status_message"] or "",
        attributes=_attributes(row),
        events=[
            SpanEvent(item["time"] or 0, item["name"] or "", item["attributes"] or {}, item["dropped_attributes"] or 0)
            for item in (orjson.loads(row["events"]) if row["events"] else ())
        ],
        links=[
            SpanLink(
                item["trace_id"],
                item["span_id"],
                item["trace_state"] or "",
                item["flags"] or 0,
                _json(item["attributes"]),
                item["dropped_attributes"] or 0,
            )
            for item in row["links"] or ()
        ],
        dropped_attributes=row["dropped_attributes"] or 0,
        dropped_events=row["dropped_events"] or 0,
        dropped_links=row["dropped_links"] or 0,
    )


def log_of(row: Row) -> LogRecord:
    """Return the log record of a row of log_rows, read as LOG_ROW."""
    return LogRecord(
        scope=_scope(row),
        time_unix_nano=row["time"] or 0,
        observed_unix_nano=row["observed_time"] or 0,
        trace_id=row["trace_id"] or "",
        span_id=row["span_id"] or "",
        severity_number=row["severity_number"] or 0,
        severity_text=row["severity_text"] or "",
        event_name=row["event_name"] or "",
        body=orjson.loads(row["body"]) if row["body"] else None,
        attributes=_attributes(row),
        flags=row["flags"] or 0,
        dropped_attributes=row["dropped_attributes"] or 0,
    )

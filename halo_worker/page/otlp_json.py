"""Spans as they are stored → OTLP/JSON, as the OpenTelemetry specification writes it.

Attributes come back with the types they were sent with, but for bytes, which are base64 text.
"""

from __future__ import annotations

from typing import Any

import orjson

_KINDS = {"INTERNAL": 1, "SERVER": 2, "CLIENT": 3, "PRODUCER": 4, "CONSUMER": 5}
_STATUS = {"OK": 1, "ERROR": 2}


def resource_spans(row: dict[str, Any]) -> dict[str, Any]:
    """Write a row of `trace_spans.as_sent` as ResourceSpans of one span."""
    return {
        "resource": _filled(
            attributes=attributes(row["resource_attributes"]), droppedAttributesCount=row["resource_dropped_attributes"]
        ),
        "scopeSpans": [
            {
                "scope": _filled(
                    name=row["scope_name"], version=row["scope_version"],
                    attributes=attributes(row["scope_attributes"]),
                    droppedAttributesCount=row["scope_dropped_attributes"],
                ),
                "spans": [_span(row)],
                **_filled(schemaUrl=row["scope_schema_url"]),
            }
        ],
        **_filled(schemaUrl=row["resource_schema_url"]),
    }  # fmt: skip


def _span(row: dict[str, Any]) -> dict[str, Any]:
    status = _filled(code=_STATUS.get(row["status_code"]), message=row["status_message"])
    return {
        "traceId": row["trace_id"],
        "spanId": row["span_id"],
        "name": row["name"] or "",
        "kind": _KINDS.get(row["kind"], 0),
        "startTimeUnixNano": str(row["start_ns"] or 0),
        "endTimeUnixNano": str(row["end_ns"] or 0),
        **_filled(
            parentSpanId=row["parent_span_id"], traceState=row["trace_state"], flags=row["flags"],
            attributes=attributes(row["attributes"]), droppedAttributesCount=row["dropped_attributes"],
            events=[_event(event) for event in row["events"] or []], droppedEventsCount=row["dropped_events"],
            links=[_link(link) for link in row["links"] or []], droppedLinksCount=row["dropped_links"], status=status,
        ),
    }  # fmt: skip


def _event(event: dict[str, Any]) -> dict[str, Any]:
    return {
        "timeUnixNano": str(event["timeUnixNano"] or 0),
        "name": event["name"] or "",
        **_filled(attributes=attributes(event["attributes"]), droppedAttributesCount=event["droppedAttributesCount"]),
    }


def _link(link: dict[str, Any]) -> dict[str, Any]:
    return {
        "traceId": link["trace_id"],
        "spanId": link["span_id"],
        **_filled(
            traceState=link["trace_state"], flags=link["flags"], attributes=attributes(link["attributes"]),
            droppedAttributesCount=link["dropped_attributes"],
        ),
    }  # fmt: skip


def attributes(given: Any) -> list[dict[str, Any]]:
    """Write an object as a list of KeyValue."""
    if isinstance(given, str):
        given = orjson.loads(given)
    return [{"key": key, "value": _value(value)} for key, value in (given or {}).items()]


def _value(value: Any) -> dict[str, Any]:
    match value:
        case None:
            return {}
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case list():
            return {"arrayValue": {"values": [_value(item) for item in value]}}
        case dict():
            return {"kvlistValue": {"values": attributes(value)}}
    return {"stringValue": str(value)}


def _filled(**given: Any) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value}

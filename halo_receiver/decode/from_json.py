"""OTLP/JSON → spans and log records.

Ids are hex, other bytes base64, 64-bit integers strings or numbers, enums numbers (names are tolerated), keys
lowerCamelCase, unknown fields ignored. A field of a wrong type counts as absent, so that one odd field
costs no more than itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from halo_receiver.decode import repair as r
from halo_receiver.decode.json_document import LISTS, Lazy, read
from halo_receiver.decode.json_values import any_value, attributes_of, count, enum_name, hex_id, integer, text
from halo_receiver.decode.repair import Repair, Undecodable, id_problem
from halo_receiver.span import SPAN_KINDS, STATUS_CODES, LogRecord, Rejection, Scope, Span, SpanEvent, SpanLink

_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16
# By the number of hex digits that it should have: what protobuf's own JSON makes of ids, which OTLP/JSON does not have.
_BASE64 = {32: re.compile(r"[\w+/-]{22}(==)?", re.ASCII), 16: re.compile(r"[\w+/-]{11}=?", re.ASCII)}


def traces(body: bytes, repair: Repair) -> Iterator[Span | Rejection]:
    """Parse an ExportTraceServiceRequest in JSON, as far as it is iterated over; see `decode.decode_traces`."""
    return spans_of(_request(read(body, "resourceSpans"), "resourceSpans"), repair)


def logs(body: bytes, repair: Repair) -> Iterator[LogRecord | Rejection]:
    """Parse an ExportLogsServiceRequest in JSON, as far as it is iterated over; see `decode.decode_logs`."""
    return records_of(_request(read(body, "resourceLogs"), "resourceLogs"), repair)


def refusals(body: bytes, kind: str) -> Iterator[tuple[str, str | None]]:
    """Look at a request as `traces` and `logs` do, without making their spans: (service, why an item is rejected)."""
    wanted = "resourceLogs" if kind == "logs" else "resourceSpans"
    groups, scopes, items = LISTS[wanted]
    refusal = _log_refusal if kind == "logs" else _refusal
    unread = Repair(r.MAX_ATTRIBUTE_BYTES)  # counted when the request is loaded
    for group in _objects(_request(read(body, wanted), wanted), groups, unread):
        service = _resource(group, unread).service_name
        for scoped in _objects(group, scopes, unread):
            for item in _list(scoped, items):
                yield service, refusal(item)


def _request(value: dict[str, Any], wanted: str) -> dict[str, Any]:
    """Refuse what would be silently empty: another signal, or keys in another case. Unknown fields are ignored."""
    others = {"resourceSpans", "resourceLogs", "resourceMetrics", "resource_spans", "resource_logs"} & value.keys()
    if wanted not in value and others:
        raise Undecodable(
            f"the body has no '{wanted}' but {', '.join(sorted(others))}",
            hint="OTLP/JSON has lowerCamelCase keys; traces go to /v1/traces, logs to /v1/logs",
        )
    return value


def spans_of(request: dict[str, Any], repair: Repair) -> Iterator[Span | Rejection]:
    """Turn a parsed request into spans."""
    index = 0
    for group in _objects(request, "resourceSpans", repair):
        resource = _resource(group, repair)
        for scoped in _objects(group, "scopeSpans", repair):
            scope = _scope(scoped, resource, repair)
            for item in _list(scoped, "spans"):
                index += 1
                reason = _refusal(item)
                yield Rejection(index, reason) if reason else _span(item, scope, repair)


def records_of(request: dict[str, Any], repair: Repair) -> Iterator[LogRecord | Rejection]:
    """Turn a parsed request into log records."""
    index = 0
    for group in _objects(request, "resourceLogs", repair):
        resource = _resource(group, repair)
        for scoped in _objects(group, "scopeLogs", repair):
            scope = _scope(scoped, resource, repair)
            for item in _list(scoped, "logRecords"):
                index += 1
                reason = _log_refusal(item)
                yield Rejection(index, reason) if reason else _log(item, scope, repair)


def _list(parent: dict[str, Any], key: str) -> Iterable[Any]:
    children = parent.get(key)
    return children if isinstance(children, (list, Lazy)) else ()


def _objects(parent: dict[str, Any], key: str, repair: Repair) -> Iterator[dict[str, Any]]:
    children = parent.get(key)
    if children is None:
        return
    if not isinstance(children, (list, Lazy)):
        repair.count(r.WRONG_TYPE)
        return
    for child in children:
        if isinstance(child, dict):
            yield child
        else:
            repair.count(r.WRONG_TYPE)


def _resource(group: dict[str, Any], repair: Repair) -> Scope:
    resource = group.get("resource")
    resource = resource if isinstance(resource, dict) else {}
    return Scope(
        resource_attributes=attributes_of(resource.get("attributes"), repair),
        resource_dropped_attributes=count(resource.get("droppedAttributesCount"), repair),
        resource_schema_url=text(group.get("schemaUrl"), repair),
    )


def _scope(scoped: dict[str, Any], resource: Scope, repair: Repair) -> Scope:
    scope = scoped.get("scope")
    scope = scope if isinstance(scope, dict) else {}
    return Scope(
        resource.resource_attributes,
        resource.resource_dropped_attributes,
        resource.resource_schema_url,
        text(scope.get("name"), repair),
        text(scope.get("version"), repair),
        attributes_of(scope.get("attributes"), repair),
        count(scope.get("droppedAttributesCount"), repair),
        text(scoped.get("schemaUrl"), repair),
    )


def _refusal(item: Any) -> str | None:
    if not isinstance(item, dict):
        return f"a span is a JSON {type(item).__name__}, an object is required"
    for key, name, length in (("traceId", "trace_id", 32), ("spanId", "span_id", 16)):
        value = item.get(key)
        if value is not None and not isinstance(value, str):
            return f"{name} is a JSON {type(value).__name__}, {length} hex digits are required"
        if value and _BASE64[length].fullmatch(value):
            return f"{name} is base64, {length} hex digits are required in OTLP/JSON"
        if value and len(value) != length:
            return f"{name} has {len(value)} characters, {length} hex digits are required"
        problem = id_problem(value or "", length, name)
        if problem or hex_id(value, length) is None:
            return problem or f"{name} is not hex"
    return None


def _log_refusal(item: Any) -> str | None:
    return None if isinstance(item, dict) else f"a log record is a JSON {type(item).__name__}"


def _span(item: dict[str, Any], scope: Scope, repair: Repair) -> Span:
    parent = hex_id(item.get("parentSpanId"), 16)
    if parent is None:
        repair.count(r.BAD_PARENT)
    start = repair.time(integer(item.get("startTimeUnixNano"), repair))
    end = repair.time(integer(item.get("endTimeUnixNano"), repair))
    if end and end < start:
        repair.count(r.END_BEFORE_START)
    status = item.get("status")
    status = status if isinstance(status, dict) else {}
    return Span(
        trace_id=item["traceId"].lower(),
        span_id=item["spanId"].lower(),
        parent_span_id=parent or "",
        name=text(item.get("name"), repair),
        scope=scope,
        trace_state=text(item.get("traceState"), repair),
        flags=count(item.get("flags"), repair),
        kind=enum_name(item.get("kind"), SPAN_KINDS, "SPAN_KIND_", repair, r.UNKNOWN_KIND),
        start_unix_nano=start,
        end_unix_nano=end,
        status_code=enum_name(status.get("code"), STATUS_CODES, "STATUS_CODE_", repair, r.UNKNOWN_STATUS),
        status_message=text(status.get("message"), repair),
        attributes=attributes_of(item.get("attributes"), repair),
        events=[_event(event, repair) for event in _objects(item, "events", repair)],
        links=[_link(link, repair) for link in _objects(item, "links", repair)],
        dropped_attributes=count(item.get("droppedAttributesCount"), repair),
        dropped_events=count(item.get("droppedEventsCount"), repair),
        dropped_links=count(item.get("droppedLinksCount"), repair),
    )


def _event(item: dict[str, Any], repair: Repair) -> SpanEvent:
    return SpanEvent(
        repair.time(integer(item.get("timeUnixNano"), repair)),
        text(item.get("name"), repair),
        attributes_of(item.get("attributes"), repair),
        count(item.get("droppedAttributesCount"), repair),
    )


def _link(item: dict[str, Any], repair: Repair) -> SpanLink:
    trace_id, span_id = text(item.get("traceId"), repair).lower(), text(item.get("spanId"), repair).lower()
    if len(trace_id) != 32 or len(span_id) != 16:
        repair.count(r.BAD_LINK)
    return SpanLink(
        trace_id,
        span_id,
        text(item.get("traceState"), repair),
        count(item.get("flags"), repair),
        attributes_of(item.get("attributes"), repair),
        count(item.get("droppedAttributesCount"), repair),
    )


def _log(item: dict[str, Any], scope: Scope, repair: Repair) -> LogRecord:
    trace_id, span_id = hex_id(item.get("traceId"), 32), hex_id(item.get("spanId"), 16)
    for found in (trace_id, span_id):
        if found is None:
            repair.count(r.BAD_LOG_ID)
    severity = item.get("severityNumber")
    return LogRecord(
        scope=scope,
        time_unix_nano=repair.time(integer(item.get("timeUnixNano"), repair)),
        observed_unix_nano=repair.time(integer(item.get("observedTimeUnixNano"), repair)),
        trace_id=trace_id or "",
        span_id=span_id or "",
        severity_number=max(min(integer(severity, repair), 2**31 - 1), -(2**31)),
        severity_text=text(item.get("severityText"), repair),
        event_name=text(item.get("eventName"), repair),
        body=any_value(item.get("body"), repair, 0),
        attributes=attributes_of(item.get("attributes"), repair),
        flags=count(item.get("flags"), repair),
        dropped_attributes=count(item.get("droppedAttributesCount"), repair),
    )

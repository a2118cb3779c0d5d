"""OTLP/JSON → spans and log records.

Ids are hex, other bytes base64, 64-bit integers strings or numbers, enums numbers (names are tolerated), keys
lowerCamelCase, unknown fields ignored. A field of a wrong type counts as absent, so that one odd field
costs no more than itself.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator
from typing import Any

from halo_receiver.decode import repair as r
from halo_receiver.decode.json_document import LISTS, Lazy, read
from halo_receiver.decode.json_text import BEYOND, integer_of
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
        resource_dropped_attributes=_count(resource.get("droppedAttributesCount"), repair),
        resource_schema_url=_text(group.get("schemaUrl"), repair),
    )


def _scope(scoped: dict[str, Any], resource: Scope, repair: Repair) -> Scope:
    scope = scoped.get("scope")
    scope = scope if isinstance(scope, dict) else {}
    return Scope(
        resource.resource_attributes,
        resource.resource_dropped_attributes,
        resource.resource_schema_url,
        _text(scope.get("name"), repair),
        _text(scope.get("version"), repair),
        attributes_of(scope.get("attributes"), repair),
        _count(scope.get("droppedAttributesCount"), repair),
        _text(scoped.get("schemaUrl"), repair),
    )


def _text(value: Any, repair: Repair) -> str:
    if isinstance(value, str):
        return repair.string(value)
    if value is not None:
        repair.count(r.WRONG_TYPE)
    return ""


def _integer(value: Any, repair: Repair) -> int:
    """An int64 as a JSON number or string; 0 for what is neither."""
    if type(value) is int:
        return value
    if value is None:
        return 0
    try:
        if isinstance(value, float):
            return int(min(max(value, -BEYOND), BEYOND))
        return integer_of(value if isinstance(value, str) else "")
    except ValueError:
        repair.count(r.WRONG_TYPE)
        return 0


def _count(value: Any, repair: Repair) -> int:
    return min(max(_integer(value, repair), 0), 2**32 - 1)


def attributes_of(pairs: Any, repair: Repair) -> dict[str, Any]:
    """Turn a list of KeyValue into a dict."""
    result: dict[str, Any] = {}
    if not isinstance(pairs, list):
        if pairs is not None:
            repair.count(r.WRONG_TYPE)
        return result
    for pair in pairs:
        if isinstance(pair, dict):
            repair.keep(result, _text(pair.get("key"), repair), _value(pair.get("value"), repair, 0))
        else:
            repair.count(r.WRONG_TYPE)
    return result


def _value(value: Any, repair: Repair, depth: int) -> Any:
    if not isinstance(value, dict):
        if value is not None:
            repair.count(r.WRONG_TYPE)
        return None
    for name, content in value.items():
        if name == "stringValue" and isinstance(content, str):
            return repair.string(content)
        if name == "intValue":
            return max(min(_integer(content, repair), r.INT64_MAX), -r.INT64_MAX - 1)
        if name == "doubleValue":
            return _double(content, repair)
        if name == "boolValue":
            return content is True or content == "true"
        if name == "bytesValue":
            return _blob(content, repair)
        if name in ("arrayValue", "kvlistValue"):
            items = content.get("values") if isinstance(content, dict) else None
            if depth >= r.MAX_DEPTH:
                repair.count(r.TOO_DEEP)
                return None
            items = items if isinstance(items, list) else []
            if name == "arrayValue":
                return [_value(item, repair, depth + 1) for item in items]
            result: dict[str, Any] = {}
            for pair in items:
                if isinstance(pair, dict):
                    key = _text(pair.get("key"), repair)
                    repair.keep(result, key, _value(pair.get("value"), repair, depth + 1))
            return result
    return None


def _double(content: Any, repair: Repair) -> float | None:
    try:
        return float(content)  # "NaN", "Infinity" and "-Infinity" are protobuf's names, and Python's
    except (TypeError, ValueError, OverflowError):
        repair.count(r.WRONG_TYPE)
        return None


def _blob(content: Any, repair: Repair) -> bytes:
    if isinstance(content, str):
        try:
            padded = content.replace("-", "+").replace("_", "/") + "=" * (-len(content) % 4)
            return repair.blob(base64.b64decode(padded, validate=True))
        except (binascii.Error, ValueError):
            pass
    repair.count(r.WRONG_TYPE)
    return b""


def _id(value: Any, length: int) -> str | None:
    """A hex id in lowercase; an empty string when absent or all zeros; None when it is no id of that length."""
    if value is None or value == "":
        return ""
    if not isinstance(value, str) or len(value) != length:
        return None
    value = value.lower()
    if value.strip("0123456789abcdef"):
        return None
    return value if value.strip("0") else ""


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
        if problem or _id(value, length) is None:
            return problem or f"{name} is not hex"
    return None


def _log_refusal(item: Any) -> str | None:
    return None if isinstance(item, dict) else f"a log record is a JSON {type(item).__name__}"


def _enum(value: Any, names: tuple[str, ...], prefix: str, repair: Repair, unknown: str) -> str:
    if value is None:
        return names[0]
    if isinstance(value, str) and (name := value.upper().removeprefix(prefix)) in names:
        return name
    if isinstance(value, str) and value.isdecimal():
        value = integer_of(value)
    if type(value) is int and 0 <= value < len(names):
        return names[value]
    repair.count(unknown)
    return names[0]


def _span(item: dict[str, Any], scope: Scope, repair: Repair) -> Span:
    parent = _id(item.get("parentSpanId"), 16)
    if parent is None:
        repair.count(r.BAD_PARENT)
    start = repair.time(_integer(item.get("startTimeUnixNano"), repair))
    end = repair.time(_integer(item.get("endTimeUnixNano"), repair))
    if end and end < start:
        repair.count(r.END_BEFORE_START)
    status = item.get("status")
    status = status if isinstance(status, dict) else {}
    return Span(
        trace_id=item["traceId"].lower(),
        span_id=item["spanId"].lower(),
        parent_span_id=parent or "",
        name=_text(item.get("name"), repair),
        scope=scope,
        trace_state=_text(item.get("traceState"), repair),
        flags=_count(item.get("flags"), repair),
        kind=_enum(item.get("kind"), SPAN_KINDS, "SPAN_KIND_", repair, r.UNKNOWN_KIND),
        start_unix_nano=start,
        end_unix_nano=end,
        status_code=_enum(status.get("code"), STATUS_CODES, "STATUS_CODE_", repair, r.UNKNOWN_STATUS),
        status_message=_text(status.get("message"), repair),
        attributes=attributes_of(item.get("attributes"), repair),
        events=[_event(event, repair) for event in _objects(item, "events", repair)],
        links=[_link(link, repair) for link in _objects(item, "links", repair)],
        dropped_attributes=_count(item.get("droppedAttributesCount"), repair),
        dropped_events=_count(item.get("droppedEventsCount"), repair),
        dropped_links=_count(item.get("droppedLinksCount"), repair),
    )


def _event(item: dict[str, Any], repair: Repair) -> SpanEvent:
    return SpanEvent(
        repair.time(_integer(item.get("timeUnixNano"), repair)),
        _text(item.get("name"), repair),
        attributes_of(item.get("attributes"), repair),
        _count(item.get("droppedAttributesCount"), repair),
    )


def _link(item: dict[str, Any], repair: Repair) -> SpanLink:
    trace_id, span_id = _text(item.get("traceId"), repair).lower(), _text(item.get("spanId"), repair).lower()
    if len(trace_id) != 32 or len(span_id) != 16:
        repair.count(r.BAD_LINK)
    return SpanLink(
        trace_id,
        span_id,
        _text(item.get("traceState"), repair),
        _count(item.get("flags"), repair),
        attributes_of(item.get("attributes"), repair),
        _count(item.get("droppedAttributesCount"), repair),
    )


def _log(item: dict[str, Any], scope: Scope, repair: Repair) -> LogRecord:
    trace_id, span_id = _id(item.get("traceId"), 32), _id(item.get("spanId"), 16)
    for found in (trace_id, span_id):
        if found is None:
            repair.count(r.BAD_LOG_ID)
    severity = item.get("severityNumber")
    return LogRecord(
        scope=scope,
        time_unix_nano=repair.time(_integer(item.get("timeUnixNano"), repair)),
        observed_unix_nano=repair.time(_integer(item.get("observedTimeUnixNano"), repair)),
        trace_id=trace_id or "",
        span_id=span_id or "",
        severity_number=max(min(_integer(severity, repair), 2**31 - 1), -(2**31)),
        severity_text=_text(item.get("severityText"), repair),
        event_name=_text(item.get("eventName"), repair),
        body=_value(item.get("body"), repair, 0),
        attributes=attributes_of(item.get("attributes"), repair),
        flags=_count(item.get("flags"), repair),
        dropped_attributes=_count(item.get("droppedAttributesCount"), repair),
    )

"""OTLP protobuf → spans and log records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.message import DecodeError

from halo_receiver.decode import repair as r
from halo_receiver.decode.protobuf_damage import locate_damage
from halo_receiver.decode.repair import Repair, Undecodable, id_problem
from halo_receiver.otlp_messages import LogsRequest, TraceRequest
from halo_receiver.span import SPAN_KINDS, STATUS_CODES, LogRecord, Rejection, Scope, Span, SpanEvent, SpanLink

_NO_TRACE, _NO_SPAN = bytes(16), bytes(8)

# Attribute keys repeat endlessly: one str object per key saves decoding and hashing it again, here and in the
# lookups of conventions/. Bounded, for a sender may put ids into keys.
_KEYS: dict[bytes, str] = {}
_MAX_KEYS = 20_000


def traces(body: bytes, repair: Repair) -> Iterator[Span | Rejection]:
    """Parse an ExportTraceServiceRequest, and turn it into spans as it is iterated over; see `decode.decode_traces`."""
    request = parse(TraceRequest, body)
    index = 0
    for group in request.resource_spans:
        resource = _resource(group, repair)
        for scoped in group.scope_spans:
            scope = _scope(scoped, resource, repair)
            for message in scoped.spans:
                index += 1
                trace_id, span_id = message.trace_id, message.span_id
                if len(trace_id) != 16 or len(span_id) != 8 or trace_id == _NO_TRACE or span_id == _NO_SPAN:
                    reason = id_problem(trace_id.hex(), 32, "trace_id") or id_problem(span_id.hex(), 16, "span_id")
                    yield Rejection(index, reason or "")
                else:
                    yield _span(message, trace_id, span_id, scope, repair)


def logs(body: bytes, repair: Repair) -> Iterator[LogRecord]:
    """Parse an ExportLogsServiceRequest, and turn it into log records likewise; see `decode.decode_logs`."""
    request = parse(LogsRequest, body)
    for group in request.resource_logs:
        resource = _resource(group, repair)
        for scoped in group.scope_logs:
            scope = _scope(scoped, resource, repair)
            for message in scoped.log_records:
                yield _log(message, scope, repair)


def parse(message: Any, body: bytes) -> Any:
    """Parse a body as one of `otlp_messages`. Raises Undecodable, which says at which byte it stops making sense."""
    try:
        return message.FromString(body)
    except DecodeError:
        name = message.DESCRIPTOR.name
        raise Undecodable(
            f"the body ({len(body)} bytes) is not a protobuf {name}: {locate_damage(body, message.DESCRIPTOR)}",
            hint="send OTLP protobuf, or JSON with Content-Type application/json",
        ) from None


def _resource(group: Any, repair: Repair) -> Scope:
    resource = group.resource
    return Scope(
        resource_attributes=_attributes(resource.attributes, repair),
        resource_dropped_attributes=resource.dropped_attributes_count,
        resource_schema_url=repair.text(group.schema_url),
    )


def _scope(scoped: Any, resource: Scope, repair: Repair) -> Scope:
    scope = scoped.scope
    return Scope(
        resource.resource_attributes,
        resource.resource_dropped_attributes,
        resource.resource_schema_url,
        repair.text(scope.name),
        repair.text(scope.version),
        _attributes(scope.attributes, repair),
        scope.dropped_attributes_count,
        repair.text(scoped.schema_url),
    )


def _key(raw: bytes, repair: Repair) -> str:
    key = _KEYS.get(raw)
    if key is None:
        damaged = repair.decoded.warnings.get(r.BAD_UTF8, 0)
        key = repair.text(raw)
        if len(_KEYS) < _MAX_KEYS and len(raw) <= 256 and damaged == repair.decoded.warnings.get(r.BAD_UTF8, 0):
            _KEYS[raw] = key
    return key


def _attributes(pairs: Any, repair: Repair) -> dict[str, Any]:
    result: dict[str, Any] = {}
    limit = repair.limit
    sent = 0
    for pair in pairs:
        sent += 1
        raw = pair.key
        key = _KEYS.get(raw) or _key(raw, repair)
        value = pair.value
        text = value.string_value  # most values are strings: one read tells
        if text and len(text) <= limit:
            try:
                result[key] = text.decode()
            except UnicodeDecodeError:
                result[key] = repair.text(text)
        else:
            result[key] = _value(value, repair, 0)
    for _ in range(sent - len(result)):
        repair.count(r.DUPLICATE_KEY)
    return result


def _value(value: Any, repair: Repair, depth: int) -> Any:
    which = value.WhichOneof("value")
    if which == "string_value":
        return repair.text(value.string_value)
    if which is None:
        return None
    if which == "array_value":
        if depth >= r.MAX_DEPTH:
            repair.count(r.TOO_DEEP)
            return None
        return [_value(item, repair, depth + 1) for item in value.array_value.values]
    if which == "kvlist_value":
        if depth >= r.MAX_DEPTH:
            repair.count(r.TOO_DEEP)
            return None
        result: dict[str, Any] = {}
        for pair in value.kvlist_value.values:
            repair.keep(result, _key(pair.key, repair), _value(pair.value, repair, depth + 1))
        return result
    if which == "bytes_value":
        return repair.blob(value.bytes_value)
    if which == "string_value_strindex":
        repair.count(r.STRING_INDEX)
        return None
    return getattr(value, which)


def _name(names: tuple[str, ...], number: int, repair: Repair, unknown: str) -> str:
    if 0 <= number < len(names):
        return names[number]
    repair.count(unknown)
    return names[0]


def _span(message: Any, trace_id: bytes, span_id: bytes, scope: Scope, repair: Repair) -> Span:
    parent = message.parent_span_id
    if parent and (len(parent) != 8 or parent == _NO_SPAN):
        if parent != _NO_SPAN:  # eight zero bytes is how some senders write "root"
            repair.count(r.BAD_PARENT)
        parent = b""
    start, end = repair.time(message.start_time_unix_nano), repair.time(message.end_time_unix_nano)
    if end and end < start:
        repair.count(r.END_BEFORE_START)
    status = message.status
    state = message.trace_state
    code = status.code
    said = status.message
    events, links = message.events, message.links
    return Span(
        trace_id=trace_id.hex(),
        span_id=span_id.hex(),
        parent_span_id=parent.hex(),
        name=repair.text(message.name),
        scope=scope,
        trace_state=repair.text(state) if state else "",
        flags=message.flags,
        kind=_name(SPAN_KINDS, message.kind, repair, r.UNKNOWN_KIND),
        start_unix_nano=start,
        end_unix_nano=end,
        status_code=_name(STATUS_CODES, code, repair, r.UNKNOWN_STATUS) if code else "UNSET",
        status_message=repair.text(said) if said else "",
        attributes=_attributes(message.attributes, repair),
        events=[_event(event, repair) for event in events] if events else [],
        links=[_link(link, repair) for link in links] if links else [],
        dropped_attributes=message.dropped_attributes_count,
        dropped_events=message.dropped_events_count,
        dropped_links=message.dropped_links_count,
    )


def _event(event: Any, repair: Repair) -> SpanEvent:
    return SpanEvent(
        repair.time(event.time_unix_nano),
        repair.text(event.name),
        _attributes(event.attributes, repair),
        event.dropped_attributes_count,
    )


def _link(link: Any, repair: Repair) -> SpanLink:
    if len(link.trace_id) != 16 or len(link.span_id) != 8:
        repair.count(r.BAD_LINK)
    return SpanLink(
        link.trace_id.hex(),
        link.span_id.hex(),
        repair.text(link.trace_state),
        link.flags,
        _attributes(link.attributes, repair),
        link.dropped_attributes_count,
    )


def _log(record: Any, scope: Scope, repair: Repair) -> LogRecord:
    return LogRecord(
        scope=scope,
        time_unix_nano=repair.time(record.time_unix_nano),
        observed_unix_nano=repair.time(record.observed_time_unix_nano),
        trace_id=_log_id(record.trace_id, _NO_TRACE, repair),
        span_id=_log_id(record.span_id, _NO_SPAN, repair),
        severity_number=record.severity_number,
        severity_text=repair.text(record.severity_text),
        event_name=repair.text(record.event_name),
        body=_value(record.body, repair, 0),
        attributes=_attributes(record.attributes, repair),
        flags=record.flags,
        dropped_attributes=record.dropped_attributes_count,
    )


def _log_id(value: bytes, zeros: bytes, repair: Repair) -> str:
    if not value or value == zeros:
        return ""
    if len(value) != len(zeros):
        repair.count(r.BAD_LOG_ID)
        return ""
    return value.hex()

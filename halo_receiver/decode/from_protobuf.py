"""OTLP protobuf → spans and log records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.message import DecodeError

from halo_receiver.decode import mending as m
from halo_receiver.decode.broken import place_of_damage
from halo_receiver.decode.mending import Mending, Undecodable, id_problem
from halo_receiver.otlp_messages import LogsRequest, TraceRequest
from halo_receiver.span import SPAN_KINDS, STATUS_CODES, LogRecord, Rejection, Scope, Span, SpanEvent, SpanLink

_NO_TRACE, _NO_SPAN = bytes(16), bytes(8)

# Attribute keys repeat endlessly: one str object per key saves decoding and hashing it again, here and in the
# lookups of conventions/. Bounded, for a sender may put ids into keys.
_KEYS: dict[bytes, str] = {}
_MAX_KEYS = 20_000


def traces(body: bytes, mending: Mending) -> Iterator[Span | Rejection]:
    """Parse an ExportTraceServiceRequest, and turn it into spans as it is iterated over; see `decode.decode_traces`."""
    request = parse(TraceRequest, body)
    index = 0
    for group in request.resource_spans:
        resource = _resource(group, mending)
        for scoped in group.scope_spans:
            scope = _scope(scoped, resource, mending)
            for message in scoped.spans:
                index += 1
                trace_id, span_id = message.trace_id, message.span_id
                if len(trace_id) != 16 or len(span_id) != 8 or trace_id == _NO_TRACE or span_id == _NO_SPAN:
                    reason = id_problem(trace_id.hex(), 32, "trace_id") or id_problem(span_id.hex(), 16, "span_id")
                    yield Rejection(index, reason or "")
                else:
                    yield _span(message, trace_id, span_id, scope, mending)


def logs(body: bytes, mending: Mending) -> Iterator[LogRecord]:
    """Parse an ExportLogsServiceRequest, and turn it into log records likewise; see `decode.decode_logs`."""
    request = parse(LogsRequest, body)
    for group in request.resource_logs:
        resource = _resource(group, mending)
        for scoped in group.scope_logs:
            scope = _scope(scoped, resource, mending)
            for message in scoped.log_records:
                yield _log(message, scope, mending)


def parse(message: Any, body: bytes) -> Any:
    """Parse a body as one of `otlp_messages`. Raises Undecodable, which says at which byte it stops making sense."""
    try:
        return message.FromString(body)
    except DecodeError:
        name = message.DESCRIPTOR.name
        raise Undecodable(
            f"the body ({len(body)} bytes) is not a protobuf {name}: {place_of_damage(body, message.DESCRIPTOR)}",
            hint="send OTLP protobuf, or JSON with Content-Type application/json",
        ) from None


def _resource(group: Any, mending: Mending) -> Scope:
    resource = group.resource
    return Scope(
        resource_attributes=_attributes(resource.attributes, mending),
        resource_dropped_attributes=resource.dropped_attributes_count,
        resource_schema_url=mending.text(group.schema_url),
    )


def _scope(scoped: Any, resource: Scope, mending: Mending) -> Scope:
    scope = scoped.scope
    return Scope(
        resource.resource_attributes,
        resource.resource_dropped_attributes,
        resource.resource_schema_url,
        mending.text(scope.name),
        mending.text(scope.version),
        _attributes(scope.attributes, mending),
        scope.dropped_attributes_count,
        mending.text(scoped.schema_url),
    )


def _key(raw: bytes, mending: Mending) -> str:
    key = _KEYS.get(raw)
    if key is None:
        damaged = mending.decoded.warnings.get(m.BAD_UTF8, 0)
        key = mending.text(raw)
        if len(_KEYS) < _MAX_KEYS and len(raw) <= 256 and damaged == mending.decoded.warnings.get(m.BAD_UTF8, 0):
            _KEYS[raw] = key
    return key


def _attributes(pairs: Any, mending: Mending) -> dict[str, Any]:
    result: dict[str, Any] = {}
    limit = mending.limit
    sent = 0
    for pair in pairs:
        sent += 1
        raw = pair.key
        key = _KEYS.get(raw) or _key(raw, mending)
        value = pair.value
        text = value.string_value  # most values are strings: one read tells
        if text and len(text) <= limit:
            try:
                result[key] = text.decode()
            except UnicodeDecodeError:
                result[key] = mending.text(text)
        else:
            result[key] = _value(value, mending, 0)
    for _ in range(sent - len(result)):
        mending.count(m.DUPLICATE_KEY)
    return result


def _value(value: Any, mending: Mending, depth: int) -> Any:
    which = value.WhichOneof("value")
    if which == "string_value":
        return mending.text(value.string_value)
    if which is None:
        return None
    if which == "array_value":
        if depth >= m.MAX_DEPTH:
            mending.count(m.TOO_DEEP)
            return None
        return [_value(item, mending, depth + 1) for item in value.array_value.values]
    if which == "kvlist_value":
        if depth >= m.MAX_DEPTH:
            mending.count(m.TOO_DEEP)
            return None
        result: dict[str, Any] = {}
        for pair in value.kvlist_value.values:
            mending.keep(result, _key(pair.key, mending), _value(pair.value, mending, depth + 1))
        return result
    if which == "bytes_value":
        return mending.blob(value.bytes_value)
    if which == "string_value_strindex":
        mending.count(m.STRING_INDEX)
        return None
    return getattr(value, which)


def _name(names: tuple[str, ...], number: int, mending: Mending, unknown: str) -> str:
    if 0 <= number < len(names):
        return names[number]
    mending.count(unknown)
    return names[0]


def _span(message: Any, trace_id: bytes, span_id: bytes, scope: Scope, mending: Mending) -> Span:
    parent = message.parent_span_id
    if parent and (len(parent) != 8 or parent == _NO_SPAN):
        if parent != _NO_SPAN:  # eight zero bytes is how some senders write "root"
            mending.count(m.BAD_PARENT)
        parent = b""
    start, end = mending.time(message.start_time_unix_nano), mending.time(message.end_time_unix_nano)
    if end and end < start:
        mending.count(m.END_BEFORE_START)
    status = message.status
    state = message.trace_state
    code = status.code
    said = status.message
    events, links = message.events, message.links
    return Span(
        trace_id=trace_id.hex(),
        span_id=span_id.hex(),
        parent_span_id=parent.hex(),
        name=mending.text(message.name),
        scope=scope,
        trace_state=mending.text(state) if state else "",
        flags=message.flags,
        kind=_name(SPAN_KINDS, message.kind, mending, m.UNKNOWN_KIND),
        start_unix_nano=start,
        end_unix_nano=end,
        status_code=_name(STATUS_CODES, code, mending, m.UNKNOWN_STATUS) if code else "UNSET",
        status_message=mending.text(said) if said else "",
        attributes=_attributes(message.attributes, mending),
        events=[_event(event, mending) for event in events] if events else [],
        links=[_link(link, mending) for link in links] if links else [],
        dropped_attributes=message.dropped_attributes_count,
        dropped_events=message.dropped_events_count,
        dropped_links=message.dropped_links_count,
    )


def _event(event: Any, mending: Mending) -> SpanEvent:
    return SpanEvent(
        mending.time(event.time_unix_nano),
        mending.text(event.name),
        _attributes(event.attributes, mending),
        event.dropped_attributes_count,
    )


def _link(link: Any, mending: Mending) -> SpanLink:
    if len(link.trace_id) != 16 or len(link.span_id) != 8:
        mending.count(m.BAD_LINK)
    return SpanLink(
        link.trace_id.hex(),
        link.span_id.hex(),
        mending.text(link.trace_state),
        link.flags,
        _attributes(link.attributes, mending),
        link.dropped_attributes_count,
    )


def _log(record: Any, scope: Scope, mending: Mending) -> LogRecord:
    return LogRecord(
        scope=scope,
        time_unix_nano=mending.time(record.time_unix_nano),
        observed_unix_nano=mending.time(record.observed_time_unix_nano),
        trace_id=_log_id(record.trace_id, _NO_TRACE, mending),
        span_id=_log_id(record.span_id, _NO_SPAN, mending),
        severity_number=record.severity_number,
        severity_text=mending.text(record.severity_text),
        event_name=mending.text(record.event_name),
        body=_value(record.body, mending, 0),
        attributes=_attributes(record.attributes, mending),
        flags=record.flags,
        dropped_attributes=record.dropped_attributes_count,
    )


def _log_id(value: bytes, zeros: bytes, mending: Mending) -> str:
    if not value or value == zeros:
        return ""
    if len(value) != len(zeros):
        mending.count(m.BAD_LOG_ID)
        return ""
    return value.hex()

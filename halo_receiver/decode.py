"""OTLP requests → spans and log records. Pure: no disk, no network, no clock.

Everything that is wrong with one item is mended or rejected with that item alone; only a body that cannot be parsed
at all raises.

Source: opentelemetry/proto/{trace,logs,common,resource}/v1; OTLP specification, "JSON Protobuf Encoding".
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator
from typing import Any, Literal

import orjson
from google.protobuf.message import DecodeError

from halo_receiver.errors import HaloError
from halo_receiver.otlp_messages import LogsRequest, TraceRequest
from halo_receiver.span import (
    SPAN_KINDS,
    STATUS_CODES,
    Attributes,
    Decoded,
    LogRecord,
    Rejection,
    Scope,
    Span,
    SpanEvent,
    SpanLink,
)

Encoding = Literal["protobuf", "json"]

MAX_ATTRIBUTE_BYTES = 2**20
MAX_DEPTH = 64  # of nested attribute values; deeper ones become their own description
MAX_INT64 = 2**63 - 1


class Undecodable(HaloError):  # noqa: N818
    """A body is not an OTLP request. The message says where it stops making sense."""


class Notes:
    """What had to be mended, counted."""

    def __init__(self, max_attribute_bytes: int) -> None:
        self.counts: dict[str, int] = {}
        self.max_attribute_bytes = max_attribute_bytes

    def add(self, what: str) -> None:
        """Count one."""
        self.counts[what] = self.counts.get(what, 0) + 1

    def text(self, raw: bytes) -> str:
        """Decode UTF-8; what is not becomes U+FFFD."""
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            self.add("text was not UTF-8: replaced")
            return raw.decode("utf-8", "replace")

    def cut(self, text: str) -> str:
        """Shorten a value that is over the limit, and say so in it."""
        if len(text) <= self.max_attribute_bytes:
            return text
        self.add("attribute value over the limit: cut")
        return f"{text[: self.max_attribute_bytes]}… [cut by halo: {len(text)} characters]"

    def clamp(self, value: int, what: str) -> int:
        """Hold a uint64 that is over int64 at its edge."""
        if value <= MAX_INT64:
            return value
        self.add(f"{what} beyond int64: clamped")
        return MAX_INT64


def decode_traces(
    body: bytes, *, encoding: Encoding = "protobuf", max_attribute_bytes: int = MAX_ATTRIBUTE_BYTES
) -> Decoded:
    """Turn one ExportTraceServiceRequest into spans.

    resource_spans[] → scope_spans[] → spans[] becomes one flat list in request order, and len(spans) + len(rejected)
    is the number sent. A span is rejected, with a reason, when its trace_id is not 16 or its span_id not 8 bytes, or
    either is all zeros. Raises Undecodable when the body is not a request at all.
    """
    notes = Notes(max_attribute_bytes)
    decoded = Decoded(warnings=notes.counts)
    if encoding == "json":
        spans = _json_spans(_json_document(body, ("resourceSpans",)), notes)
    else:
        spans = _protobuf_spans(parse(TraceRequest, body), notes)
    for index, span in enumerate(spans, 1):
        reason = id_problem(span.trace_id, 32, "trace_id") or id_problem(span.span_id, 16, "span_id")
        if reason:
            decoded.rejected.append(Rejection(index, reason))
            continue
        if span.end_unix_nano and span.end_unix_nano < span.start_unix_nano:
            notes.add("span ends before it starts")
        decoded.spans.append(span)
    return decoded


def decode_logs(
    body: bytes, *, encoding: Encoding = "protobuf", max_attribute_bytes: int = MAX_ATTRIBUTE_BYTES
) -> Decoded:
    """Turn one ExportLogsServiceRequest into log records; ids that are not ids are dropped and counted.

    Raises Undecodable when the body is not a request at all.
    """
    notes = Notes(max_attribute_bytes)
    decoded = Decoded(warnings=notes.counts)
    if encoding == "json":
        logs = _json_logs(_json_document(body, ("resourceLogs",)), notes)
    else:
        logs = _protobuf_logs(parse(LogsRequest, body), notes)
    for log in logs:
        for name, length in (("trace_id", 32), ("span_id", 16)):
            value = getattr(log, name)
            if value and id_problem(value, length, name):
                notes.add(f"log record with a malformed {name}: dropped the id")
                setattr(log, name, "")
        decoded.logs.append(log)
    return decoded


def id_problem(value: str, length: int, name: str) -> str | None:
    """Say what is wrong with a hex id of that length, if anything."""
    if len(value) != length:
        return f"{name} has {len(value) // 2} bytes, {length // 2} are required" if value else f"{name} is missing"
    return f"{name} is all zeros" if value == "0" * length else None


# --- protobuf ---------------------------------------------------------------------------------------------------------


def parse(message: Any, body: bytes) -> Any:
    """Parse a body as one of `otlp_messages`. Raises Undecodable."""
    try:
        return message.FromString(body)
    except DecodeError as error:
        raise Undecodable(
            f"the body ({len(body)} bytes) is not a protobuf {message.DESCRIPTOR.name}: {error}",
            hint="send OTLP protobuf, or JSON with Content-Type application/json",
        ) from None


def _protobuf_spans(request: Any, notes: Notes) -> Iterator[Span]:
    for resource_spans in request.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            scope = _protobuf_scope(resource_spans, scope_spans, notes)
            for message in scope_spans.spans:
                yield _protobuf_span(message, scope, notes)


def _protobuf_logs(request: Any, notes: Notes) -> Iterator[LogRecord]:
    for resource_logs in request.resource_logs:
        for scope_logs in resource_logs.scope_logs:
            scope = _protobuf_scope(resource_logs, scope_logs, notes)
            for message in scope_logs.log_records:
                yield LogRecord(
                    scope=scope,
                    time_unix_nano=notes.clamp(message.time_unix_nano, "time"),
                    observed_unix_nano=notes.clamp(message.observed_time_unix_nano, "time"),
                    trace_id=_used_id(message.trace_id),
                    span_id=_used_id(message.span_id),
                    severity_number=message.severity_number,
                    severity_text=notes.text(message.severity_text),
                    event_name=notes.text(message.event_name),
                    body=_protobuf_value(message.body, notes, 0),
                    attributes=_protobuf_attributes(message.attributes, notes),
                    flags=message.flags,
                    dropped_attributes=message.dropped_attributes_count,
                )


def _protobuf_scope(resource_part: Any, scope_part: Any, notes: Notes) -> Scope:
    resource, scope = resource_part.resource, scope_part.scope
    return Scope(
        resource_attributes=_protobuf_attributes(resource.attributes, notes),
        resource_dropped_attributes=resource.dropped_attributes_count,
        resource_schema_url=notes.text(resource_part.schema_url),
        name=notes.text(scope.name),
        version=notes.text(scope.version),
        attributes=_protobuf_attributes(scope.attributes, notes),
        dropped_attributes=scope.dropped_attributes_count,
        schema_url=notes.text(scope_part.schema_url),
    )


def _protobuf_span(message: Any, scope: Scope, notes: Notes) -> Span:
    return Span(
        trace_id=message.trace_id.hex(),
        span_id=message.span_id.hex(),
        parent_span_id=_used_id(message.parent_span_id),
        name=notes.text(message.name),
        scope=scope,
        trace_state=notes.text(message.trace_state),
        flags=message.flags,
        kind=_member(SPAN_KINDS, message.kind),
        start_unix_nano=notes.clamp(message.start_time_unix_nano, "time"),
        end_unix_nano=notes.clamp(message.end_time_unix_nano, "time"),
        status_code=_member(STATUS_CODES, message.status.code),
        status_message=notes.text(message.status.message),
        attributes=_protobuf_attributes(message.attributes, notes),
        events=[
            SpanEvent(
                notes.clamp(event.time_unix_nano, "time"),
                notes.text(event.name),
                _protobuf_attributes(event.attributes, notes),
                event.dropped_attributes_count,
            )
            for event in message.events
        ],
        links=[
            SpanLink(
                link.trace_id.hex(),
                link.span_id.hex(),
                notes.text(link.trace_state),
                link.flags,
                _protobuf_attributes(link.attributes, notes),
                link.dropped_attributes_count,
            )
            for link in message.links
        ],
        dropped_attributes=message.dropped_attributes_count,
        dropped_events=message.dropped_events_count,
        dropped_links=message.dropped_links_count,
    )


def _protobuf_attributes(pairs: Any, notes: Notes) -> Attributes:
    attributes: Attributes = {}
    for pair in pairs:
        key = notes.text(pair.key)
        if key in attributes:
            notes.add("duplicate attribute key: last kept")
        attributes[key] = _protobuf_value(pair.value, notes, 0)
    return attributes


def _protobuf_value(value: Any, notes: Notes, depth: int) -> Any:
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return notes.cut(notes.text(value.string_value))
    if kind in ("int_value", "bool_value", "double_value"):
        return getattr(value, kind)
    if kind == "bytes_value":
        return value.bytes_value
    if kind is None:
        return None
    if depth >= MAX_DEPTH:
        notes.add("attribute value nested too deeply: cut")
        return "[cut by halo: nested too deeply]"
    if kind == "array_value":
        return [_protobuf_value(item, notes, depth + 1) for item in value.array_value.values]
    if kind == "kvlist_value":
        return {
            notes.text(pair.key): _protobuf_value(pair.value, notes, depth + 1) for pair in value.kvlist_value.values
        }
    notes.add(f"attribute value of kind {kind}: empty")  # string_value_strindex belongs to profiles
    return None


def _used_id(raw: bytes) -> str:
    """Return an optional id as hex; all zeros means none."""
    return raw.hex() if any(raw) else ""


def _member(names: tuple[str, ...], number: int) -> str:
    return names[number] if 0 <= number < len(names) else names[0]


# --- JSON -------------------------------------------------------------------------------------------------------------


def _json_document(body: bytes, known: tuple[str, ...]) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Undecodable(f"the body is not JSON: {error}", hint="send one OTLP/JSON document") from None
    if not isinstance(document, dict):
        raise Undecodable(f"the body is a JSON {type(document).__name__}, an object is required")
    if document and not any(key in document for key in known):
        raise Undecodable(
            f"the body has no '{known[0]}' but {', '.join(sorted(map(str, document))[:5])}",
            hint="OTLP/JSON keys are lowerCamelCase",
        )
    return document


def _json_spans(document: dict[str, Any], notes: Notes) -> Iterator[Span]:
    for resource_spans in _objects(document.get("resourceSpans"), notes):
        for scope_spans in _objects(resource_spans.get("scopeSpans"), notes):
            scope = _json_scope(resource_spans, scope_spans, notes)
            for item in _objects(scope_spans.get("spans"), notes):
                yield _json_span(item, scope, notes)


def _json_logs(document: dict[str, Any], notes: Notes) -> Iterator[LogRecord]:
    for resource_logs in _objects(document.get("resourceLogs"), notes):
        for scope_logs in _objects(resource_logs.get("scopeLogs"), notes):
            scope = _json_scope(resource_logs, scope_logs, notes)
            for item in _objects(scope_logs.get("logRecords"), notes):
                yield LogRecord(
                    scope=scope,
                    time_unix_nano=_time(item.get("timeUnixNano"), notes),
                    observed_unix_nano=_time(item.get("observedTimeUnixNano"), notes),
                    trace_id=_used_hex(item.get("traceId")),
                    span_id=_used_hex(item.get("spanId")),
                    severity_number=_integer(item.get("severityNumber"), notes),
                    severity_text=_string(item.get("severityText")),
                    event_name=_string(item.get("eventName")),
                    body=_json_value(item.get("body"), notes, 0),
                    attributes=_json_attributes(item.get("attributes"), notes),
                    flags=_integer(item.get("flags"), notes) & 0xFFFFFFFF,
                    dropped_attributes=_count(item.get("droppedAttributesCount"), notes),
                )


def _json_scope(resource_part: dict[str, Any], scope_part: dict[str, Any], notes: Notes) -> Scope:
    resource, scope = _object(resource_part.get("resource")), _object(scope_part.get("scope"))
    return Scope(
        resource_attributes=_json_attributes(resource.get("attributes"), notes),
        resource_dropped_attributes=_count(resource.get("droppedAttributesCount"), notes),
        resource_schema_url=_string(resource_part.get("schemaUrl")),
        name=_string(scope.get("name")),
        version=_string(scope.get("version")),
        attributes=_json_attributes(scope.get("attributes"), notes),
        dropped_attributes=_count(scope.get("droppedAttributesCount"), notes),
        schema_url=_string(scope_part.get("schemaUrl")),
    )


def _json_span(item: dict[str, Any], scope: Scope, notes: Notes) -> Span:
    status = _object(item.get("status"))
    return Span(
        trace_id=_hex(item.get("traceId")),
        span_id=_hex(item.get("spanId")),
        parent_span_id=_used_hex(item.get("parentSpanId")),
        name=_string(item.get("name")),
        scope=scope,
        trace_state=_string(item.get("traceState")),
        flags=_integer(item.get("flags"), notes) & 0xFFFFFFFF,
        kind=_enumerated(SPAN_KINDS, item.get("kind"), "SPAN_KIND_", notes),
        start_unix_nano=_time(item.get("startTimeUnixNano"), notes),
        end_unix_nano=_time(item.get("endTimeUnixNano"), notes),
        status_code=_enumerated(STATUS_CODES, status.get("code"), "STATUS_CODE_", notes),
        status_message=_string(status.get("message")),
        attributes=_json_attributes(item.get("attributes"), notes),
        events=[
            SpanEvent(
                _time(event.get("timeUnixNano"), notes),
                _string(event.get("name")),
                _json_attributes(event.get("attributes"), notes),
                _count(event.get("droppedAttributesCount"), notes),
            )
            for event in _objects(item.get("events"), notes)
        ],
        links=[
            SpanLink(
                _hex(link.get("traceId")),
                _hex(link.get("spanId")),
                _string(link.get("traceState")),
                _integer(link.get("flags"), notes) & 0xFFFFFFFF,
                _json_attributes(link.get("attributes"), notes),
                _count(link.get("droppedAttributesCount"), notes),
            )
            for link in _objects(item.get("links"), notes)
        ],
        dropped_attributes=_count(item.get("droppedAttributesCount"), notes),
        dropped_events=_count(item.get("droppedEventsCount"), notes),
        dropped_links=_count(item.get("droppedLinksCount"), notes),
    )


def _json_attributes(pairs: Any, notes: Notes) -> Attributes:
    attributes: Attributes = {}
    for pair in _objects(pairs, notes):
        key = _string(pair.get("key"))
        if key in attributes:
            notes.add("duplicate attribute key: last kept")
        attributes[key] = _json_value(pair.get("value"), notes, 0)
    return attributes


def _json_bytes(value: Any) -> bytes:
    return base64.b64decode(str(value), validate=False)


_SCALARS: dict[str, Callable[[Any], Any]] = {
    "boolValue": bool,
    "intValue": int,
    "doubleValue": float,  # "NaN", "Infinity" and "-Infinity" come as strings
    "bytesValue": _json_bytes,
}


def _json_value(value: Any, notes: Notes, depth: int) -> Any:
    value = _object(value)
    if "stringValue" in value:
        return notes.cut(_string(value["stringValue"]))
    for kind, read in _SCALARS.items():
        if kind in value:
            try:
                number = read(value[kind])
            except (TypeError, ValueError, OverflowError, binascii.Error):
                notes.add(f"malformed {kind}: kept as text")
                return notes.cut(str(value[kind]))
            return max(-MAX_INT64 - 1, min(MAX_INT64, number)) if kind == "intValue" else number
    if depth >= MAX_DEPTH:
        notes.add("attribute value nested too deeply: cut")
        return "[cut by halo: nested too deeply]"
    if "arrayValue" in value:
        items = _object(value["arrayValue"]).get("values")
        return [_json_value(item, notes, depth + 1) for item in items] if isinstance(items, list) else []
    if "kvlistValue" in value:
        pairs = _objects(_object(value["kvlistValue"]).get("values"), notes)
        return {_string(pair.get("key")): _json_value(pair.get("value"), notes, depth + 1) for pair in pairs}
    return None


def _objects(value: Any, notes: Notes) -> list[dict[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, list):
        notes.add("a list was expected: left out")
        return []
    kept = [item for item in value if isinstance(item, dict)]
    if len(kept) != len(value):
        notes.add("an object was expected in a list: left out")
    return kept


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _string(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


def _hex(value: Any) -> str:
    """Return a hex id in lower case; anything else becomes an id of the wrong length, which is rejected."""
    text = _string(value).lower()
    return text if all(digit in "0123456789abcdef" for digit in text) else ""


def _used_hex(value: Any) -> str:
    text = _hex(value)
    return text if text.strip("0") else ""


def _integer(value: Any, notes: Notes) -> int:
    if value is None:
        return 0
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        notes.add("malformed number: 0")
        return 0


def _count(value: Any, notes: Notes) -> int:
    return max(0, min(2**32 - 1, _integer(value, notes)))


def _time(value: Any, notes: Notes) -> int:
    return notes.clamp(max(0, _integer(value, notes)), "time")


def _enumerated(names: tuple[str, ...], value: Any, prefix: str, notes: Notes) -> str:
    """Read an enum: integers as OTLP/JSON demands, names as some senders write them."""
    if isinstance(value, str) and value.upper().removeprefix(prefix) in names:
        return value.upper().removeprefix(prefix)
    return _member(names, _integer(value, notes))

"""Rows of spans → OTLP requests, the form that the wire scanner reads.

Text becomes typed again where it prints back to the same text: exporters that store all values as text print numbers,
truth values and lists of them as OTLP's Go library does. Text that looks like one of these was one, or reads as one.

Source: opentelemetry/proto/trace/v1/trace.proto, common/v1/common.proto; the numbers below are its fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from struct import Struct
from typing import Any

import orjson

MAX_CACHED = 20_000  # pairs of key and value that are encoded once, …
CACHED_CHARACTERS = 64  # … of values up to this length
TYPED_CHARACTERS = 256  # of text that may be a number or a list
_TABLED = 2**14
_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,18})(\.\d+(?:e[+-]?\d+)?|e[+-]?\d+)?", re.ASCII)
_HEX = re.compile("[0-9a-fA-F]*")
_TYPED = frozenset("-0123456789tf[")
_DOUBLE, _FIXED, _TIMES = Struct("<d").pack, Struct("<Q").pack, Struct("<BQBQ").pack
KINDS = {"INTERNAL": 1, "SERVER": 2, "CLIENT": 3, "PRODUCER": 4, "CONSUMER": 5}
STATUSES = {"OK": 1, "ERROR": 2}


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


_LENGTHS = [_varint(value) for value in range(_TABLED)]


def _length(size: int) -> bytes:
    return _LENGTHS[size] if size < _TABLED else _varint(size)


def _text(tag: bytes, value: str) -> bytes:
    raw = value.encode("utf-8", "replace")
    return tag + _length(len(raw)) + raw


@dataclass(slots=True)
class Row:
    """One span as a store keeps it. Times in unix nanoseconds; `end` 0 where it has not ended."""

    trace_id: str
    span_id: str
    parent_span_id: str
    name: str
    kind: str
    start: int
    end: int
    attributes: dict[str, Any]
    resource: dict[str, Any]
    trace_state: str = ""
    scope_name: str = ""
    scope_version: str = ""
    status: str = ""
    message: str = ""
    events: list[tuple[int, str, dict[str, Any]]] = field(default_factory=list)
    links: list[tuple[str, str, str, dict[str, Any]]] = field(default_factory=list)
    all_text: bool = False  # whether the store keeps every value as text: it is made typed again


@dataclass(frozen=True, slots=True)
class Request:
    """One ExportTraceServiceRequest; `rejected` rows had no usable ids and are not in it."""

    body: bytes
    rejected: int = 0


def typed(text: str) -> Any:
    """Return the value that prints as `text`, where there is one other than the text."""
    if len(text) > TYPED_CHARACTERS or text[:1] not in _TYPED:
        return text
    if text in ("true", "false"):
        return text == "true"
    if text[0] == "[":
        return _list(text)
    found = _NUMBER.fullmatch(text)
    if found is None:
        return text
    if found[1] is None:
        number = int(text)
        return number if -(2**63) <= number < 2**63 and text != "-0" else text
    return float(text) if repr(float(text)).replace("e-0", "e-") == text else text


def _list(text: str) -> Any:
    """Read a list of texts, numbers and truth values; lists of objects are texts: messages and the like."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    plain = all(isinstance(item, (str, int, float)) for item in value)
    return value if value and plain and orjson.dumps(value).decode() == text else text


def encoded_list(text: str) -> bytes | None:
    """Return the AnyValue of a list that prints back to the same text; None for other text."""
    value = typed(text)
    return None if value is text else _value(value)


class Encoder:
    """Writes requests. It keeps the encoded form of what repeats: attributes, names, resources with their scope."""

    def __init__(self) -> None:
        tags = (b"\x0a", b"\x4a", b"\x1a", b"\x22")
        self._all_text = False  # of the row that is encoded
        self._pairs: dict[tuple[bytes, bool], dict[tuple[str, str], bytes]] = {
            (tag, all_text): {} for tag in tags for all_text in (False, True)
        }
        self._keys: dict[str, bytes] = {}
        self._names: dict[tuple[str, str], bytes] = {}
        self._scopes: dict[tuple[Any, ...], tuple[bytes, bytes]] = {}
        self.rejected = 0

    def request(self, rows: Iterable[Row]) -> bytes:
        """Encode rows as one ExportTraceServiceRequest. Those without usable ids are left out and counted."""
        groups: dict[tuple[Any, ...], list[bytes]] = {}
        for row in rows:
            self._all_text = row.all_text
            key = (row.scope_name, row.scope_version, *row.resource.items())
            try:
                group = groups.get(key)
            except TypeError:  # a list among the values
                key = (row.scope_name, row.scope_version, repr(row.resource))
                group = groups.get(key)
            if group is None:
                group = groups[key] = []
                self._scopes[key] = self._scope(row)
            try:
                self._span(row, group)
            except ValueError:
                self.rejected += 1
        out: list[bytes] = []
        for key, spans in groups.items():
            resource, scope = self._scopes[key]
            inner = sum(map(len, spans)) + len(scope)
            out += (
                b"\x0a",
                _varint(len(resource) + 1 + len(_varint(inner)) + inner),
                resource,
                b"\x12",
                _varint(inner),
            )
            out.append(scope)
            out += spans
        if len(self._scopes) > MAX_CACHED:
            self._scopes.clear()
        return b"".join(out)

    def _scope(self, row: Row) -> tuple[bytes, bytes]:
        parts: list[bytes] = []
        self._attributes(b"\x0a", row.resource, parts)
        resource = b"".join(parts)
        scope = (_text(b"\x0a", row.scope_name) if row.scope_name else b"") + (
            _text(b"\x12", row.scope_version) if row.scope_version else b""
        )
        return b"\x0a" + _length(len(resource)) + resource, b"\x0a" + _length(len(scope)) + scope

    def _span(self, row: Row, out: list[bytes]) -> None:
        trace_id, span_id, parent = _id(row.trace_id, 16), _id(row.span_id, 8), _id(row.parent_span_id, 8)
        if not trace_id or not span_id:
            raise ValueError("unusable ids")
        parts = [b"\x0a\x10", trace_id, b"\x12\x08", span_id, self._name(row.name, row.kind)]
        if parent:
            parts += (b"\x22\x08", parent)
        parts.append(_TIMES(0x39, row.start & 2**64 - 1, 0x41, row.end & 2**64 - 1))
        if row.trace_state:
            parts.append(_text(b"\x1a", row.trace_state))
        self._attributes(b"\x4a", row.attributes, parts)
        for time, name, attributes in row.events:
            event = [b"\x09" + _FIXED(time) + _text(b"\x12", name)]
            self._attributes(b"\x1a", attributes, event)
            parts += (b"\x5a", _length(sum(map(len, event))), *event)
        for trace, span, state, attributes in row.links:
            trace_id, span_id = _id(trace, 16), _id(span, 8)
            if not trace_id or not span_id:
                continue
            link = [b"\x0a\x10", trace_id, b"\x12\x08", span_id, _text(b"\x1a", state)]
            self._attributes(b"\x22", attributes, link)
            parts += (b"\x6a", _length(sum(map(len, link))), *link)
        code = _code(row.status, STATUSES)
        if code or row.message:
            status = (_text(b"\x12", row.message) if row.message else b"") + b"\x18" + _LENGTHS[code]
            parts += (b"\x7a", _length(len(status)), status)
        span_bytes = b"".join(parts)
        out.append(b"\x12" + _length(len(span_bytes)) + span_bytes)

    def _name(self, name: str, kind: str) -> bytes:
        known = self._names.get((name, kind))
        if known is None:
            if len(self._names) >= MAX_CACHED:
                self._names.clear()
            known = self._names[name, kind] = _text(b"\x2a", name) + b"\x30" + _LENGTHS[_code(kind, KINDS)]
        return known

    def _attributes(self, tag: bytes, values: dict[str, Any], out: list[bytes]) -> None:
        """Append the KeyValues; a long text is put there as it is, not copied from message to message."""
        pairs = self._pairs[tag, self._all_text]
        for pair in values.items():
            known = pairs.get(pair) if type(pair[1]) is str and len(pair[1]) <= CACHED_CHARACTERS else None
            out.append(known) if known is not None else self._attribute(tag, *pair, out)

    def _attribute(self, tag: bytes, key: str, value: Any, out: list[bytes]) -> None:
        said = typed(value) if self._all_text and type(value) is str else value
        if said is not value or type(value) is not str:
            encoded = tag + _pair(key, said)
        elif len(value) > CACHED_CHARACTERS:
            out += self._text_pair(tag, key, value.encode("utf-8", "replace"))
            return
        else:
            encoded = b"".join(self._text_pair(tag, key, value.encode("utf-8", "replace")))
        if type(value) is str and len(value) <= CACHED_CHARACTERS:
            pairs = self._pairs[tag, self._all_text]
            if len(pairs) >= MAX_CACHED:
                pairs.clear()
            pairs[key, value] = encoded
        out.append(encoded)

    def _text_pair(self, tag: bytes, key: str, raw: bytes) -> tuple[bytes, ...]:
        head = self._keys.get(key)
        if head is None:
            if len(self._keys) >= MAX_CACHED:
                self._keys.clear()
            head = self._keys[key] = _text(b"\x0a", key) + b"\x12"
        size = _length(len(raw))
        inner = 1 + len(size) + len(raw)
        value = _length(inner)
        return tag, _length(len(head) + len(value) + inner), head, value, b"\x0a", size, raw


def _id(text: str, size: int) -> bytes:
    """Read an id; empty where it is none."""
    return bytes.fromhex(text) if len(text) == 2 * size and _HEX.fullmatch(text) else b""


def _code(name: str, codes: dict[str, int]) -> int:
    """Read "Client" and "SPAN_KIND_CLIENT", "Ok" and "STATUS_CODE_OK"; 0 for unset and unknown ones."""
    return codes.get(name.upper().rpartition("_")[2], 0)


def _pair(key: str, value: Any) -> bytes:
    """Encode a KeyValue with its length before it."""
    said = _value(value)
    body = _text(b"\x0a", key) + b"\x12" + _length(len(said)) + said
    return _length(len(body)) + body


def _value(value: Any) -> bytes:
    if isinstance(value, str):
        return _text(b"\x0a", value)
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return b"\x18" + _varint(value & (2**64 - 1))
    if isinstance(value, (int, float)):
        return b"\x21" + _DOUBLE(value)
    if isinstance(value, list):
        items = b"".join(b"\x0a" + _length(len(said)) + said for said in map(_value, value))
        return b"\x2a" + _length(len(items)) + items
    if isinstance(value, dict):
        pairs = b"".join(b"\x0a" + _pair(str(key), item) for key, item in value.items())
        return b"\x32" + _length(len(pairs)) + pairs
    return b""

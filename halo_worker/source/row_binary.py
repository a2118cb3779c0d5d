"""Rows of ClickHouse in its RowBinary format → OTLP requests, as they come over the network.

`COLUMNS` says of which columns a row is, in this order and of these types. Attributes are maps of text; or, where a
table keeps them as JSON, text that is a JSON object. The scanner's `rows` encodes maps without an object for each
attribute; the code here defines what it does, and works where there is no scanner, or JSON.

Source: ClickHouse documentation, RowBinary: lengths and counts as LEB128, integers of 8 bytes in little endian.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from struct import Struct
from typing import Any, TypeVar

from halo_receiver import wire
from halo_receiver.decode.json_text import value_of
from halo_receiver.decode.repair import Undecodable
from halo_worker.source.otlp_encoding import Encoder, Request, Row, encoded_list

REQUEST_ROWS = 512  # of one request
READ_BYTES = 2**20  # gathered before rows are read
MAX_ROW_BYTES = 2**27  # of a text or a list; more is damage
TAIL_BYTES = 4096  # of the end that are kept: ClickHouse says there what went wrong after rows had been sent
NO_END = 2**63  # durations are unsigned in the table: from here on an end before the start, so none
TEXT, INTEGER, UNSIGNED, ATTRIBUTES = "String", "Int64", "UInt64", "Attributes"
COLUMNS = {
    "Timestamp": INTEGER, "TraceId": TEXT, "SpanId": TEXT, "ParentSpanId": TEXT, "SpanName": TEXT, "SpanKind": TEXT,
    "StatusCode": TEXT, "Duration": UNSIGNED, "SpanAttributes": ATTRIBUTES, "ResourceAttributes": ATTRIBUTES,
    "TraceState": TEXT, "ScopeName": TEXT, "ScopeVersion": TEXT, "StatusMessage": TEXT,
    "Events.Timestamp": f"Array({INTEGER})", "Events.Name": f"Array({TEXT})",
    "Events.Attributes": f"Array({ATTRIBUTES})",
    "Links.TraceId": f"Array({TEXT})", "Links.SpanId": f"Array({TEXT})", "Links.TraceState": f"Array({TEXT})",
    "Links.Attributes": f"Array({ATTRIBUTES})",
}  # fmt: skip
T = TypeVar("T")
_INTEGER, _UNSIGNED = Struct("<q"), Struct("<Q")


class Requests:
    """The requests of a stream. `rows` is how many rows came, `rest` what was left that is none, `tail` its end."""

    def __init__(self, chunks: Iterable[bytes], *, nested: bool, all_text: bool) -> None:
        self.rows, self.rest, self.tail = 0, b"", b""
        self._chunks = chunks
        encode = wire.rows() if not nested and all_text else None
        self._encode = encode or _InPython(nested=nested, all_text=all_text)

    def __iter__(self) -> Iterator[Request]:
        held, wanted = bytearray(), READ_BYTES
        for chunk in self._chunks:
            held += chunk
            self.tail = (self.tail + chunk)[-TAIL_BYTES:]
            if len(held) >= wanted:
                yield from self._whole(held)
                wanted = max(READ_BYTES, 2 * len(held))  # a row that is larger is not looked at with every chunk
        yield from self._whole(held)
        self.rest = bytes(held[:TAIL_BYTES])

    def _whole(self, held: bytearray) -> Iterator[Request]:
        """Take the whole rows out of what is held. Raises ValueError when it is damaged."""
        data, at = bytes(held), 0
        while at < len(data):
            at, rows, rejected, body = self._encode(data, at, REQUEST_ROWS, encoded_list)
            if not rows:
                break
            self.rows += rows
            yield Request(body, rejected)
        del held[:at]


class _InPython:
    """What `wire.rows` does."""

    def __init__(self, *, nested: bool, all_text: bool) -> None:
        self._encoder = Encoder()
        self._nested, self._all_text = nested, all_text

    def __call__(
        self, data: bytes, start: int, max_rows: int, listed: Callable[[str], bytes | None]
    ) -> tuple[int, int, int, bytes]:
        rows: list[Row] = []
        reader = _Reader(data, start, nested=self._nested)
        while len(rows) < max_rows and start < len(data):
            try:
                rows.append(reader.row(all_text=self._all_text))
            except _Short:
                break
            start = reader.at
        before = self._encoder.rejected
        body = self._encoder.request(rows)
        return start, len(rows), self._encoder.rejected - before, body


class _Short(Exception):  # noqa: N818 - no fault: the row goes on in the next chunk
    """The row is not whole yet."""


class _Reader:
    """Reads values of RowBinary, one after another."""

    def __init__(self, data: bytes, at: int, *, nested: bool) -> None:
        self._data, self.at = data, at
        self._attributes = self._object if nested else self._map

    def row(self, *, all_text: bool) -> Row:
        """Read a row. Raises _Short, and ValueError when it is damaged."""
        start, trace, span, parent, name, kind, status = self._fixed(_INTEGER), *(self._text() for _ in range(6))
        duration, attributes, resource = self._fixed(_UNSIGNED), self._attributes(), self._attributes()
        state, scope, version, message = (self._text() for _ in range(4))
        events = (self._list(lambda: self._fixed(_UNSIGNED)), self._list(self._text), self._list(self._attributes))
        links = (*(self._list(self._text) for _ in range(3)), self._list(self._attributes))
        return Row(
            trace, span, parent, name, kind, start, start + duration if duration < NO_END else 0, attributes, resource,
            state, scope, version, status, message, list(zip(*events, strict=False)), list(zip(*links, strict=False)),
            all_text=all_text,
        )  # fmt: skip

    def _fixed(self, form: Struct) -> int:
        if len(self._data) - self.at < 8:
            raise _Short
        self.at += 8
        value: int = form.unpack_from(self._data, self.at - 8)[0]
        return value

    def _size(self) -> int:
        size = shift = 0
        while True:
            if self.at >= len(self._data):
                raise _Short
            byte = self._data[self.at]
            self.at += 1
            size |= (byte & 127) << shift
            if byte < 128:
                break
            shift += 7
        if size > MAX_ROW_BYTES:
            raise ValueError("damaged rows")
        return size

    def _raw(self) -> bytes:
        size = self._size()
        if size > len(self._data) - self.at:
            raise _Short
        self.at += size
        return self._data[self.at - size : self.at]

    def _text(self) -> str:
        return self._raw().decode("utf-8", "replace")

    def _list(self, item: Callable[[], T]) -> list[T]:
        return [item() for _ in range(self._size())]

    def _map(self) -> dict[str, Any]:
        return {self._text(): self._text() for _ in range(self._size())}

    def _object(self) -> dict[str, Any]:
        """Read a JSON object; what it makes of keys with dots becomes one key again."""
        text, flat = self._raw(), dict[str, Any]()
        try:
            value = value_of(text) if text else {}
        except Undecodable:
            raise ValueError("damaged rows") from None
        _spread(value if isinstance(value, dict) else {}, "", flat)
        return flat


def _spread(value: dict[str, Any], prefix: str, flat: dict[str, Any]) -> None:
    for key, item in value.items():
        if isinstance(item, dict):
            _spread(item, f"{prefix}{key}.", flat)
        elif item is not None:
            flat[f"{prefix}{key}"] = item

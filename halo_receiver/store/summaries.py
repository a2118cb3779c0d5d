"""Rows of spans in a few words each, from an Arrow table: who, what, how it went, and the first words of its input."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from halo_receiver.store.text_folding import FOLDED, SEPARATOR

TEXT_CHARACTERS = 200  # of each text

_INPUT = FOLDED.index("input_text")
_SEPARATOR = SEPARATOR.encode()
_TEXTS = {
    "trace_id": "trace_id", "span_id": "span_id", "parent_span_id": "parent_span_id", "service": "service_name",
    "agent": "agent_name", "session": "session_id", "user": "user_id", "span_type": "span_type", "kind": "kind",
    "name": "name", "model": "model", "tool": "tool_name", "status": "status_code",
}  # fmt: skip
_NUMBERS = {
    "start_unix_nano": "start_time", "received_unix_nano": "received_at", "duration_nano": "duration_ns",
    "input_tokens": "input_tokens", "output_tokens": "output_tokens", "cost_usd": "cost_usd",
}  # fmt: skip


def sample(spans: pa.Table, count: int) -> pa.Table:
    """Return at most `count` rows, those of some traces: the same ones whenever the same share is taken, or a smaller.

    The share is a power of two, by the last two digits of the trace id.
    """
    taken, share = spans, 256
    while taken.num_rows > count and share > 1:
        share //= 2
        ends = pc.utf8_slice_codeunits(taken.column("trace_id"), -2)
        taken = taken.filter(pc.is_in(ends, value_set=pa.array([f"{number:02x}" for number in range(share)])))
    return taken.slice(max(0, taken.num_rows - count))


def rows(spans: pa.Table) -> Iterator[dict[str, Any]]:
    """Yield the fields of `SpanSummary` of each row of a table of spans (columns as span_rows), where they are there.

    Reads the buffers themselves: `to_pylist` of these columns takes four times as long.
    """
    for batch in spans.to_batches():
        found: dict[str, Iterable[Any]] = {
            **{name: map(_beginning, _texts(batch.column(source))) for name, source in _TEXTS.items()},
            **{name: _numbers(batch.column(source)) for name, source in _NUMBERS.items()},
            "error": _first(batch.column("error_message"), batch.column("status_message")),
            "input": map(_input, _texts(batch.column("input_text")), _texts(batch.column("texts"))),
        }
        for row in zip(*found.values(), strict=True):
            yield {name: value for name, value in zip(found, row, strict=True) if value not in (None, b"")}


def _texts(column: pa.Array) -> Iterator[memoryview]:
    """Return the UTF-8 of each text, without copying; nothing of one that is not there."""
    _, ends, data = column.buffers()
    if data is None or column.null_count == len(column):
        return itertools.repeat(memoryview(b""), len(column))
    whole = memoryview(data)
    places = memoryview(ends).cast("i")[column.offset : column.offset + len(column) + 1].tolist()
    return (whole[start:end] for start, end in itertools.pairwise(places))


def _numbers(column: pa.Array) -> Sequence[Any]:
    if column.null_count == len(column):
        return [None] * len(column)
    if column.null_count:
        values: list[Any] = (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist()
        return values
    stored = memoryview(column.buffers()[1]).cast("d" if pa.types.is_floating(column.type) else "q")
    return stored[column.offset : column.offset + len(column)].tolist()


def _first(*choices: pa.Array) -> Iterator[str | bytes]:
    for texts in zip(*map(_texts, choices), strict=True):
        yield next((_beginning(text) for text in texts if text), b"")


def _beginning(text: memoryview) -> str | bytes:
    """Return a text of at most TEXT_CHARACTERS."""
    if len(text) <= TEXT_CHARACTERS:
        return bytes(text)
    return bytes(text[: 4 * TEXT_CHARACTERS]).decode("utf-8", "ignore")[:TEXT_CHARACTERS]


def _input(own: memoryview, folded: memoryview) -> str | bytes:
    """Return the beginning of the input: of its own column, or of its place among the folded texts."""
    if own or not folded:
        return _beginning(own)
    parts = bytes(folded).split(_SEPARATOR, _INPUT + 1)
    return _beginning(memoryview(parts[_INPUT])) if len(parts) > _INPUT else b""

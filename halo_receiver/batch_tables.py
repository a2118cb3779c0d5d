"""Requests → the tables of a batch: by the wire scanner where it is sure, else by the reference decoder.

Both say the same: what a span becomes is defined by decode, conventions and columns, and the tests compare the two
column by column.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from typing import Any, TypeAlias

import orjson

from halo_receiver import conventions, decode, wire
from halo_receiver.conventions import plans
from halo_receiver.decode.repair import DUPLICATE_KEY
from halo_receiver.span import LogRecord, Rejection, Scope, Span
from halo_receiver.store import columns
from halo_receiver.store.schema import ROW_GROUP_SIZE, SMALL_ROW_BYTES, SMALL_ROW_GROUP_SIZE

SPEAKS, ERROR_TYPE = 1, 2  # what the scanner wants to know of a key
CHUNK_ROWS, CHUNK_BYTES = 1024, 8 * 2**20  # of the reference: decoded, and made into a table, at a time
_Said: TypeAlias = tuple[LogRecord, dict[str, Any] | None, int]
_said = attrgetter(*columns.MEANINGS)


def _describe(key: str) -> int:
    return SPEAKS * conventions.TABLE.speaks(key) + ERROR_TYPE * (key == "error.type")


def _group(resource_attributes: dict[str, Any], scope_name: str) -> tuple[Scope, bool]:
    scope = Scope(resource_attributes, name=scope_name)
    return scope, conventions.TABLE.knows(scope)


def _meaning(*heard: Any) -> tuple[Any, ...]:
    said: tuple[Any, ...] = _said(conventions.canonical(plans.span_of(*heard)))
    return said


class Tables:
    """The rows of a batch, in the order in which their requests came."""

    def __init__(self, *, max_attribute_bytes: int, span_time: bool = False, scan: bool = True) -> None:
        self._limit = max_attribute_bytes
        self._span_time = span_time
        self._scanner: Any = None
        if scan and columns.fits(wire.LAYOUT):
            self._scanner = wire.scanner(
                describe=_describe, group=_group, meaning=_meaning, dumps=orjson.dumps, **plans.FOR_SCANNER,
                max_attribute_bytes=max_attribute_bytes, span_time=span_time,
            )  # fmt: skip
        self._tables: list[columns.Table] = []
        self._log_tables: list[columns.Table] = []
        self._logs: list[_Said] = []
        self._spans = 0
        self._bytes = 0

    @property
    def spans(self) -> int:
        """How many rows of spans there are."""
        return self._spans + (self._scanner.rows if self._scanner is not None else 0)

    @property
    def rows(self) -> int:
        """How many rows there are."""
        logs: int = sum(table.num_rows for table in self._log_tables)
        return self.spans + len(self._logs) + logs

    @property
    def full(self) -> bool:
        """Whether there are enough rows for a row group: of small rows more than of large ones."""
        rows = self.rows
        if rows < ROW_GROUP_SIZE:
            return False
        small = (
            self.spans == rows and self._bytes + (self._scanner.bytes if self._scanner else 0) < rows * SMALL_ROW_BYTES
        )
        return not small or rows >= SMALL_ROW_GROUP_SIZE

    def add(self, kind: str, encoding: decode.Encoding, body: bytes, arrival_ns: int) -> dict[str, int]:
        """Append the rows of one request; return what was repaired, and how often. Raises Undecodable."""
        if kind == "traces" and encoding == "protobuf" and self._scan(body, arrival_ns):
            again: int = self._scanner.duplicates
            return {DUPLICATE_KEY: again} if again else {}
        repair = decode.Repair(self._limit)
        chunks = _chunks(decode.each(kind, body, encoding=encoding, repair=repair))
        # Nothing counts of a request that turns out to be none: its tables are appended when all are made.
        if kind == "logs":
            made, rest = self._log_tables_of(chunks, arrival_ns)
            if made:
                self._flush_logs()
            self._log_tables += made
            self._logs += rest
        else:
            tables = [self._span_table_of(chunk, arrival_ns) for chunk in chunks]
            self._flush()
            for table in tables:
                self._append(table)
        return repair.decoded.warnings

    def _span_table_of(self, spans: list[Span], arrival_ns: int) -> columns.Table:
        return columns.span_table(
            (span, conventions.canonical(span), self._arrival(arrival_ns, span.end_unix_nano or span.start_unix_nano))
            for span in spans
        )

    def _log_tables_of(
        self, chunks: Iterator[list[LogRecord]], arrival_ns: int
    ) -> tuple[list[columns.Table], list[_Said]]:
        """Make tables of all chunks but the last: small requests become rows together with others."""
        made: list[columns.Table] = []
        rest: list[_Said] = []
        for chunk in chunks:
            if rest:
                made.append(columns.log_table(rest))
            rest = [
                (item, conventions.from_log(item), self._arrival(arrival_ns, item.time_unix_nano)) for item in chunk
            ]
        return made, rest

    def _scan(self, body: bytes, arrival_ns: int) -> bool:
        if self._scanner is None:
            return False
        try:
            sure: bool = self._scanner.add(body, arrival_ns)
        except Exception:  # noqa: BLE001 - whatever it stumbled over, the reference decoder says what it is
            return False
        return sure

    def _arrival(self, arrival_ns: int, said: int) -> int:
        return said if self._span_time and said else arrival_ns

    def _flush(self) -> None:
        if self._scanner is not None and self._scanner.rows:
            self._append(columns.scanned_table(self._scanner.finish()))

    def _append(self, table: columns.Table) -> None:
        if table.num_rows:
            self._tables.append(table)
            self._spans += table.num_rows
            self._bytes += table.nbytes

    def _flush_logs(self) -> None:
        if self._logs:
            self._log_tables.append(columns.log_table(self._logs))
            self._logs = []

    def take(self) -> tuple[columns.Table, columns.Table]:
        """Return the tables of spans and of logs, and start anew."""
        self._flush()
        self._flush_logs()
        spans, logs = columns.joined(self._tables), columns.joined_logs(self._log_tables)
        self._tables, self._log_tables, self._spans, self._bytes = [], [], 0, 0
        return spans, logs


def _chunks(items: Iterator[decode.Item]) -> Iterator[list[Any]]:
    """Gather what is not rejected, so much at a time as takes little memory as objects."""
    chunk: list[Any] = []
    size = 0
    for item in items:
        if isinstance(item, Rejection):
            continue
        chunk.append(item)
        size += sum(len(value) for value in item.attributes.values() if isinstance(value, str))
        if len(chunk) >= CHUNK_ROWS or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk

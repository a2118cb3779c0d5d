"""OTLP payloads or trace files → sealed segments → a reader: the path of the product, without its processes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from halo_receiver import conventions, files
from halo_receiver.span import LogRecord, Span
from halo_receiver.store import columns
from halo_receiver.store.reader import Reader
from halo_receiver.store.segment import SegmentName
from halo_receiver.store.writer import SegmentWriter

BATCH_ROWS = 2048


def store(spans: Iterable[Span], directory: Path, *, number: int = 1, logs: Iterable[LogRecord] = ()) -> Path:
    """Write decoded spans and logs into one sealed segment, as the loader does."""
    directory.mkdir(parents=True, exist_ok=True)
    writer = SegmentWriter(directory, SegmentName.at(1_790_000_000_000_000_000, number))
    rows: list[Any] = []

    def flush() -> None:
        writer.append(spans=columns.span_table(rows), logs=None)
        rows.clear()

    for span in spans:
        rows.append((span, conventions.canonical(span), span.end_unix_nano or span.start_unix_nano or 1))
        if len(rows) >= BATCH_ROWS:
            flush()
    flush()
    records = [(record, conventions.from_log(record), record.time_unix_nano or 1) for record in logs]
    if records:
        writer.append(spans=None, logs=columns.log_table(records))
    return writer.seal()


def spans_of(paths: Iterable[Path]) -> Iterable[Span]:
    """Decode trace files, a part at a time."""
    for part in files.read_files([str(path) for path in paths]):
        yield from part.decoded.spans


def reader_of(segments: Iterable[Path], **options: Any) -> Reader:
    """Open sealed segments."""
    return Reader(list(segments), **options)

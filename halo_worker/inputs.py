"""Trace files → segments, through the same decoder and columns as what comes over the wire."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from halo_receiver import conventions
from halo_receiver.batch_tables import Tables
from halo_receiver.decode.repair import MAX_ATTRIBUTE_BYTES
from halo_receiver.files import FilePart
from halo_receiver.span import Decoded, LogRecord, Span
from halo_receiver.store import columns
from halo_receiver.store.incoming import adopt
from halo_receiver.store.lock import DirectoryLock
from halo_receiver.store.segment import SegmentName
from halo_receiver.store.writer import SegmentWriter
from halo_worker import segments_client, source
from halo_worker.errors import DirectoryInUse, InputError
from halo_worker.source.otlp_encoding import Request

Arrival = Literal["now", "span-time"]
Step = Callable[[str], None]  # is told how far it is

BATCH_ROWS = 2048  # a whole row group, so that DuckDB compresses it once
SEGMENT_BYTES = 256 * 2**20  # of a segment made from files
_HINTS = {
    True: "OTLP protobuf, OTLP/JSON and HALO flat JSONL are read, plain, gzip or zstd; other forms with --from",
    False: "name the directory or the files of that program, or leave --from away for trace files",
}


def _silent(_: str) -> None:
    return None


@dataclass(slots=True)
class Imported:
    """What was read: counts, and what was wrong in words."""

    files: int = 0
    spans: int = 0
    logs: int = 0
    rejected: int = 0
    mended: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    segments: list[Path] = field(default_factory=list)


def write_segments(
    paths: Sequence[str],
    directory: Path,
    *,
    now_ns: int,
    arrival: Arrival,
    form: str | None = None,
    step: Step = _silent,
) -> Imported:
    """Decode files into sealed segments in `directory`: trace files, or what the program `form` wrote (`source`).

    `arrival` span-time takes a span's end, or start, as its arrival; now gives all of them the same. A bad line or
    item is named and left out; raises InputError when nothing could be read at all.
    """
    parts = source.read(paths, form, stdin=sys.stdin.buffer)
    imported = write_parts(parts, directory, now_ns=now_ns, arrival=arrival, step=step)
    if not imported.spans and not imported.logs:
        named = "; ".join(imported.problems[:3]) or "they are empty"
        raise InputError(f"no spans in {', '.join(str(path) for path in paths)}: {named}", hint=_HINTS[form is None])
    return imported


def write_parts(
    parts: Iterable[FilePart], directory: Path, *, now_ns: int, arrival: Arrival, step: Step = _silent
) -> Imported:
    """Write what was read of some source as sealed segments in `directory`; of nothing, none."""
    imported = Imported()
    segments = _Segments(directory, now_ns, step)
    batch = _Batch(segments, now_ns, arrival)
    seen: set[str] = set()
    for part in parts:
        if str(part.path) not in seen:
            seen.add(str(part.path))
            imported.files += 1
        imported.problems.extend(part.problems)
        _count(imported, part.decoded)
        for span in part.decoded.spans:
            batch.add_span(span)
        for log in part.decoded.logs:
            batch.add_log(log)
    batch.flush()
    imported.segments = segments.finish()
    return imported


def _count(imported: Imported, decoded: Decoded) -> None:
    imported.spans += len(decoded.spans)
    imported.logs += len(decoded.logs)
    imported.rejected += len(decoded.rejected)
    for what, count in decoded.warnings.items():
        imported.mended[what] = imported.mended.get(what, 0) + count


class _Segments:
    """Writes tables into segments of a directory, one after another as they fill."""

    def __init__(self, directory: Path, now_ns: int, step: Step) -> None:
        self._step = step
        self._rows = 0
        self._directory = directory
        self._now = now_ns
        self._writer: SegmentWriter | None = None
        self._sealed: list[Path] = []

    def append(self, spans: columns.Table, logs: columns.Table) -> None:
        if self._writer is None:
            self._directory.mkdir(parents=True, exist_ok=True)
            name = SegmentName.at(self._now, len(self._sealed) + 1)
            self._writer = SegmentWriter(self._directory, name, mapping=conventions.MAPPING_VERSION)
        self._writer.append(spans=spans, logs=logs)
        self._rows += spans.num_rows + logs.num_rows
        self._step(f"{self._rows:,} spans and log records so far")
        if self._writer.path.stat().st_size >= SEGMENT_BYTES:
            self._seal()

    def _seal(self) -> None:
        if self._writer is not None:
            self._sealed.append(self._writer.seal())
            self._writer = None

    def finish(self) -> list[Path]:
        self._seal()
        return self._sealed


class _Batch:
    """Gathers spans and log records into tables of a row group."""

    def __init__(self, segments: _Segments, now_ns: int, arrival: Arrival) -> None:
        self._segments = segments
        self._now = now_ns
        self._span_time = arrival == "span-time"
        self._spans: list[tuple[Span, int]] = []
        self._logs: list[tuple[LogRecord, int]] = []

    def add_span(self, span: Span) -> None:
        time = span.end_unix_nano or span.start_unix_nano if self._span_time else 0
        self._spans.append((span, time or self._now))
        if len(self._spans) >= BATCH_ROWS:
            self.flush()

    def add_log(self, log: LogRecord) -> None:
        time = log.time_unix_nano or log.observed_unix_nano if self._span_time else 0
        self._logs.append((log, time or self._now))
        if len(self._logs) >= BATCH_ROWS:
            self.flush()

    def flush(self) -> None:
        if self._spans or self._logs:
            self._segments.append(
                columns.span_table((span, conventions.canonical(span), time) for span, time in self._spans),
                columns.log_table((log, conventions.from_log(log), time) for log, time in self._logs),
            )
            self._spans, self._logs = [], []


def write_requests(
    requests: Iterable[Request], directory: Path, *, now_ns: int, arrival: Arrival, step: Step = _silent
) -> Imported:
    """Write spans of another store as sealed segments, through the wire scanner as what comes over the wire."""
    imported, segments = Imported(), _Segments(directory, now_ns, step)
    tables = Tables(max_attribute_bytes=MAX_ATTRIBUTE_BYTES, span_time=arrival == "span-time")
    for request in requests:
        imported.rejected += request.rejected
        warnings = tables.add("traces", "protobuf", request.body, now_ns)
        for what, count in warnings.items():
            imported.mended[what] = imported.mended.get(what, 0) + count
        if tables.full:
            imported.spans += tables.spans
            segments.append(*tables.take())
    if tables.rows:
        imported.spans += tables.spans
        segments.append(*tables.take())
    imported.segments = segments.finish()
    return imported


def import_files(
    paths: Sequence[str],
    data_dir: Path,
    *,
    now_ns: int,
    arrival: Arrival,
    say: Callable[[str], None],
    form: str | None = None,
    step: Step = _silent,
) -> Imported:
    """Put files into a store: as segments in `incoming/`, which the store's one writer takes over."""
    incoming = data_dir / "incoming"
    part = incoming / f"{now_ns}.part"
    imported = write_segments(paths, part, now_ns=now_ns, arrival=arrival, form=form, step=step)
    _publish(imported, data_dir, now_ns, say)
    return imported


def import_requests(
    requests: Iterable[Request],
    data_dir: Path,
    *,
    now_ns: int,
    arrival: Arrival,
    say: Callable[[str], None],
    step: Step = _silent,
) -> Imported:
    """Put spans of another store into this one, all or nothing of them."""
    part = data_dir / "incoming" / f"{now_ns}.part"
    try:
        imported = write_requests(requests, part, now_ns=now_ns, arrival=arrival, step=step)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    _publish(imported, data_dir, now_ns, say)
    return imported


def _publish(imported: Imported, data_dir: Path, now_ns: int, say: Callable[[str], None]) -> None:
    incoming = data_dir / "incoming"
    for path in imported.segments:
        path.rename(incoming / f"{now_ns}-{path.name}")
    if imported.segments:
        (incoming / f"{now_ns}.part").rmdir()
    hand_over(data_dir, say)


def hand_over(data_dir: Path, say: Callable[[str], None]) -> None:
    """Have the store's one writer take over what lies in `incoming/`: the running receiver, else this process."""
    try:
        (data_dir / "segments").mkdir(parents=True, exist_ok=True)
        with DirectoryLock(data_dir / "segments" / "writer.lock", "halo import"):
            adopt(data_dir)
    except DirectoryInUse:
        sealed = segments_client.seal(data_dir)
        if not sealed.answered:
            say(f"warning: {sealed.reason}; the running receiver takes the import over when it next seals")

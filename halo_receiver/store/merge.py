"""Small sealed segments become one: a single rewrite in order of arrival, crash-safe, readers undisturbed.

The rewrite happens in `segments/rewrite/`, by another process, and counts for nothing until it is published: renamed
into the directory, with the names of the segments it replaces inside. From then on those count no more, whether or not
they are deleted yet; a crash between the two is finished at the next start. Who has an old file open keeps it.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

from halo_receiver.store import manifest, schema
from halo_receiver.store.disk import sync_directory
from halo_receiver.store.rewriter import SegmentRewriter
from halo_receiver.store.segment import SegmentName, listed, next_number

WORK = "rewrite"  # below the segments: where a rewrite happens
MIN_SEGMENTS = 8  # of one size class; fewer are not worth a rewrite while the day goes on
CLASS_FACTOR = 8  # between two size classes: rows are rewritten once a class, not with every new small segment
CLASS_FLOOR = 2**20  # bytes; below it all segments are of one class
SMALL_SPAN_BYTES = 256  # in the file, on average: then large row groups fit into memory
SMALL_SPAN_ROW_GROUP_SIZE = (
    122_880  # DuckDB's own: of 0.5 kB spans, merged, 0.24 of their bytes are left instead of 0.35
)
DAY_NS = 86_400_000_000_000  # one segment does not hold two days: retention deletes whole segments
DAY_OVER_NS = 3_600_000_000_000  # after midnight, when a day's last segments are merged whatever their sizes


def choose(entries: Sequence[manifest.Entry], merge_bytes: int, now_ns: int) -> list[manifest.Entry]:
    """Return one run of small neighbours in arrival to merge; empty when none is worth it.

    While a day goes on, a run is of eight or more of one size class; when it is over, of any two or more that fit.
    """
    days: dict[int, list[manifest.Entry]] = {}
    for entry in sorted(entries, key=lambda entry: (entry.first_received_ns, entry.name)):
        if entry.bytes <= merge_bytes // 2 and entry.schema == schema.SCHEMA_VERSION:
            days.setdefault(entry.first_received_ns // DAY_NS, []).append(entry)
    for day, those in sorted(days.items()):
        over = (day + 1) * DAY_NS + DAY_OVER_NS < now_ns
        for run in _runs(those, merge_bytes, by_class=not over):
            if len(run) >= (2 if over else MIN_SEGMENTS):
                return run
    return []


def _runs(entries: list[manifest.Entry], merge_bytes: int, *, by_class: bool) -> list[list[manifest.Entry]]:
    runs: list[list[manifest.Entry]] = [[]]
    for entry in entries:
        run = runs[-1]
        fits = sum(item.bytes for item in run) + entry.bytes <= merge_bytes
        same = not run or not by_class or _size_class(run[-1]) == _size_class(entry)
        if not fits or not same or (run and run[-1].mapping != entry.mapping):
            runs.append(run := [])
        run.append(entry)
    return runs


def _size_class(entry: manifest.Entry) -> int:
    return int(math.log(max(1.0, entry.bytes / CLASS_FLOOR), CLASS_FACTOR))


def merge(directory: Path, names: Sequence[str], *, mapping: int, memory_limit: str, threads: int) -> Path:
    """Write segments as one in the work directory, sealed; return its path."""
    entries = manifest.load(directory, [directory / name for name in names])
    small = sum(entry.bytes for entry in entries) <= SMALL_SPAN_BYTES * sum(entry.spans for entry in entries)
    writer = open_work(
        directory, names[0], mapping=mapping, memory_limit=memory_limit, threads=threads,
        row_group_size=SMALL_SPAN_ROW_GROUP_SIZE if small else schema.ROW_GROUP_SIZE,
    )  # fmt: skip
    writer.take_over([directory / name for name in names])
    return writer.seal()


def open_work(directory: Path, first: str, **options: Any) -> SegmentRewriter:
    """Open an empty segment in the work directory, named for the first of those it will replace."""
    work = directory / WORK
    work.mkdir(exist_ok=True)
    name = SegmentName(next_number(directory), SegmentName.read(first).opened)
    return SegmentRewriter(work, name, **options)


def publish(directory: Path, made: Path) -> Path | None:
    """Let a rewritten segment take the place of those it was made of.

    None, and nothing is done, when one of those is gone: it has expired meanwhile, and must not come back.
    """
    entry = manifest.describe(made)
    if entry is None or not entry.replaces or not all((directory / name).exists() for name in entry.replaces):
        made.unlink(missing_ok=True)
        return None
    target = directory / str(SegmentName(next_number(directory), SegmentName.read(made.name).opened))
    made.rename(target)
    sync_directory(directory)
    for name in entry.replaces:
        (directory / name).unlink(missing_ok=True)
    return target


def finish_interrupted(directory: Path) -> int:
    """Delete what a crash left: unpublished work, and segments that a published one replaces. Return how many."""
    shutil.rmtree(directory / WORK, ignore_errors=True)
    gone = 0
    for name in manifest.replaced(directory, manifest.load(directory, listed(directory), write=True)):
        if (directory / name).exists():
            (directory / name).unlink()
            gone += 1
    return gone


def damaged(directory: Path, names: Sequence[str]) -> list[str]:
    """Return which of some segments cannot be read to their last row."""
    return [name for name in names if not _whole(directory / name)]


def _whole(path: Path) -> bool:
    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            for table in ("span_rows", "log_rows"):
                connection.execute(f"SELECT bit_xor(hash(t)) FROM {table} t").fetchall()
    except duckdb.Error:
        return False
    return True

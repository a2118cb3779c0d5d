"""Small sealed segments become one: a single ordered rewrite, crash-safe, readers undisturbed.

The merged file names the ones it replaces. Once it is sealed they count no more, whether or not they are deleted
yet; a crash between the two is finished at the next start. Who has an old file open keeps it.
"""

from __future__ import annotations

from pathlib import Path

from halo_receiver.store import manifest
from halo_receiver.store.segment import SegmentName, listed, next_number, parse
from halo_receiver.store.writer import SegmentWriter

MIN_SEGMENTS = 8  # fewer are not worth a rewrite


def choose(directory: Path, merge_bytes: int) -> list[manifest.Entry]:
    """Return the oldest run of small neighbours that fit into one segment of `merge_bytes`; empty when too few."""
    run: list[manifest.Entry] = []
    for entry in manifest.load(directory, listed(directory), write=True):
        if entry.bytes > merge_bytes // 4 or sum(item.bytes for item in run) + entry.bytes > merge_bytes:
            if len(run) >= MIN_SEGMENTS:
                return run
            run = []
        if entry.bytes <= merge_bytes // 4:
            run.append(entry)
    return run if len(run) >= MIN_SEGMENTS else []


def merge(directory: Path, entries: list[manifest.Entry], *, memory_limit: str, threads: int) -> Path:
    """Write the segments as one, ordered by trace, seal it and delete them."""
    first = parse(entries[0].name)
    name = SegmentName(next_number(directory), first[0].opened if first else "19700101T000000Z")
    writer = SegmentWriter(directory, name, memory_limit=memory_limit, threads=threads)
    names = [entry.name for entry in entries]
    writer.take_over([directory / name for name in names])
    sealed = writer.seal()
    for name_ in names:
        (directory / name_).unlink(missing_ok=True)
    return sealed


def finish_interrupted(directory: Path) -> int:
    """Delete segments that a sealed merge has replaced; return how many there were."""
    gone = 0
    for entry in manifest.load(directory, listed(directory), write=True):
        for name in entry.replaces:
            if (directory / name).exists():
                (directory / name).unlink()
                gone += 1
    return gone

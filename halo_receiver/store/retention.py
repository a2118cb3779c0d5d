"""Which segments have expired, by age and by total size."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from halo_receiver.logs import event
from halo_receiver.store import manifest
from halo_receiver.store.segment import listed

log = logging.getLogger("halo.store")

DAY_NS = 86_400_000_000_000


@dataclass(frozen=True, slots=True)
class Keep:
    """How long, and how much. 0 means no limit."""

    days: float
    total_bytes: int


def expired(entries: list[manifest.Entry], keep: Keep, now_ns: int) -> list[manifest.Entry]:
    """Return what is past its time, then the oldest of what is over the size."""
    oldest_first = sorted(entries, key=lambda entry: (entry.last_received_ns, entry.name))
    gone = [entry for entry in oldest_first if keep.days and entry.last_received_ns < now_ns - int(keep.days * DAY_NS)]
    kept = [entry for entry in oldest_first if entry not in gone]
    total = sum(entry.bytes for entry in kept)
    while keep.total_bytes and total > keep.total_bytes and len(kept) > 1:
        total -= kept[0].bytes
        gone.append(kept.pop(0))
    return gone


def expire(directory: Path, keep: Keep, now_ns: int) -> int:
    """Delete what has expired; a reader that has a file open keeps it until it closes it. Return how many."""
    gone = expired(manifest.load(directory, listed(directory)), keep, now_ns)
    for entry in gone:
        (directory / entry.name).unlink(missing_ok=True)
        event(log, "segment expired", segment=entry.name, bytes=entry.bytes)
    return len(gone)

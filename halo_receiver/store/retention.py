"""Which segments have expired, by age, by total size and for want of room, and their deletion."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from halo_receiver.logs import event
from halo_receiver.store import manifest
from halo_receiver.store.clock import FARTHEST_NS, SECOND, WAIT_NS, TrustedClock
from halo_receiver.store.manifest import Entry
from halo_receiver.store.segment import listed

log = logging.getLogger("halo.store")

DAY_NS = 86_400 * SECOND


@dataclass(frozen=True, slots=True)
class Keep:
    """How long and how much; how much stays free beside segments that are kept elsewhere too. 0 means no limit."""

    days: float
    total_bytes: int
    free_bytes: int = 0


def too_old(entries: Sequence[Entry], keep: Keep, now_ns: int) -> list[Entry]:
    """Return what is past its time, oldest first."""
    if not keep.days:
        return []
    end = now_ns - int(keep.days * DAY_NS)
    return sorted((entry for entry in entries if entry.last_received_ns < end), key=_age(now_ns))


def too_much(entries: Sequence[Entry], keep: Keep, now_ns: int) -> list[Entry]:
    """Return the oldest of what is over the size; the newest is always kept."""
    gone, left = [], sorted(entries, key=_age(now_ns))
    total = sum(entry.bytes for entry in left)
    while keep.total_bytes and total > keep.total_bytes and len(left) > 1:
        total -= left[0].bytes
        gone.append(left.pop(0))
    return gone


def too_little_room(entries: Sequence[Entry], keep: Keep, now_ns: int, free_bytes: int) -> list[Entry]:
    """Return the oldest whose bytes are missing from what is to stay free."""
    gone = []
    for entry in sorted(entries, key=_age(now_ns)):
        if free_bytes >= keep.free_bytes:
            break
        free_bytes += entry.bytes
        gone.append(entry)
    return gone


def _age(now_ns: int) -> Callable[[Entry], tuple[int, str]]:
    """Order by arrival; what was stamped ahead of time by a wrong clock counts as of now."""
    return lambda entry: (min(entry.last_received_ns, now_ns), entry.name)


class Retention:
    """Deletes what has expired; a reader that has a file open keeps it until it closes it. One thread may use it.

    `may_go` says of a segment's name whether it is kept elsewhere too: no other is deleted then, and those need no
    protection from a clock that jumped.
    """

    def __init__(
        self, directory: Path, keep: Keep, clock: TrustedClock, *, may_go: Callable[[str], bool] | None = None
    ) -> None:
        self._directory = directory
        self._keep = keep
        self._clock = clock
        self._may_go = may_go
        self._most_since: int | None = None  # monotonic, since when most of the store is past its time

    def look(self) -> int:
        """Delete what has expired by now; return how many segments."""
        entries = manifest.load(self._directory, listed(self._directory), write=True)
        now = self._clock.read(max((entry.last_received_ns for entry in entries), default=0))
        if self._may_go is not None:
            entries = [entry for entry in entries if self._may_go(entry.name)]
        old = too_old(entries, self._keep, now) if now is not None else []
        if self._may_go is None:
            old = self._not_most(entries, old)
        left = [entry for entry in entries if entry not in old]
        until = now if now is not None else FARTHEST_NS
        gone = old + too_much(left, self._keep, until)
        if self._may_go is not None:
            left = [entry for entry in left if entry not in gone]
            free = shutil.disk_usage(self._directory).free + sum(entry.bytes for entry in gone)
            gone += too_little_room(left, self._keep, until, free)
        return sum(self._delete(entry) for entry in gone)

    def _not_most(self, entries: list[Entry], old: list[Entry]) -> list[Entry]:
        """Return what of `old` may go at this look: never most of the store, before it has been old for a while."""
        size = sum(entry.bytes for entry in entries)
        if 2 * len(old) <= len(entries) and 2 * sum(entry.bytes for entry in old) <= size:
            self._most_since = None
            return old
        if self._most_since is None:
            self._most_since = self._clock.monotonic()
            what = "most segments are past their time: none expires yet"
            event(log, what, level=logging.WARNING, segments=len(old), of=len(entries), for_seconds=WAIT_NS / SECOND)
        if self._clock.monotonic() - self._most_since < WAIT_NS:
            return []
        self._most_since = None  # the other half waits as long again
        return old[: max(1, len(entries) // 2)]

    def _delete(self, entry: Entry) -> bool:
        path = self._directory / entry.name
        # By what the segment itself says: the cache beside it may be older, or damaged.
        if manifest.describe(path) != entry:
            manifest.forget(self._directory)
            return False
        path.unlink(missing_ok=True)
        event(log, "segment expired", segment=entry.name, bytes=entry.bytes)
        return True

"""What waits: acknowledged, in the spool, and not yet in a sealed segment, where readers see it."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import orjson

from halo_receiver import spool, spool_files
from halo_receiver.store import manifest
from halo_receiver.store.lock import holder
from halo_receiver.store.segment import POSITION_FILE, listed


@dataclass(frozen=True, slots=True)
class Backlog:
    """How much waits, in bytes as they lie in the spool, and since when, in unix nanoseconds."""

    bytes: int
    since_ns: int

    def __str__(self) -> str:
        size = f"{self.bytes / 2**20:,.1f} MiB" if self.bytes >= 2**20 else f"{self.bytes / 2**10:,.1f} KiB"
        since = datetime.fromtimestamp(self.since_ns // 10**9, UTC)
        return f"{size} acknowledged since {since:%Y-%m-%d %H:%M:%S} UTC and not loaded"


def waiting(data_dir: Path) -> Backlog | None:
    """Return what waits in a data directory; None when nothing does, or the spool cannot be looked at.

    A torn write at the end was never acknowledged, and does not wait.
    """
    directory, loaded = data_dir / "spool", _sealed(data_dir / "segments")
    try:
        for number in spool.file_numbers(directory):
            if number < loaded.file:
                continue
            for item in spool.read_file(directory, number, loaded.offset if number == loaded.file else 0):
                if isinstance(item, spool.Frame):
                    return Backlog(spool_files.backlog(directory, loaded), item.arrival_ns)
    except OSError:
        return None
    return None


def _sealed(segments: Path) -> spool.Position:
    """Return up to where the spool is in sealed segments: as remembered, or as the newest of them say themselves."""
    furthest = (0, 0)
    with contextlib.suppress(OSError, ValueError, TypeError):
        file, offset = orjson.loads((segments / POSITION_FILE).read_bytes())
        furthest = (int(file), int(offset))
    entries = manifest.load(segments, listed(segments))
    return spool.Position(*max([furthest, *((entry.position[0], entry.position[1]) for entry in entries)]))


def writer_lock(data_dir: Path) -> Path:
    """Return the lock file of whoever loads the spool of a data directory: a receiver, or a drain."""
    return data_dir / "segments" / "writer.lock"


def may_load(data_dir: Path) -> bool:
    """Whether this user may write what loading the spool writes, and no receiver is there that does it."""
    places = [data_dir / "spool", data_dir / "segments"]
    return all(os.access(place, os.W_OK | os.X_OK) for place in places) and holder(writer_lock(data_dir)) is None

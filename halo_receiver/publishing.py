"""Which sealed segments of this data directory are in the lake, and when the next ones go there.

`segments/lake.json` holds the directory's name in the lake and what is published; the lake knows the same. Without the
lake nothing is lost and nobody waits: segments stay, and are published when it is back.
"""

from __future__ import annotations

import json
import secrets
import socket
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from halo_receiver.config import LakeConfig
from halo_receiver.store import schema
from halo_receiver.store.disk import write_durably
from halo_receiver.store.manifest import Entry

FILE = "lake.json"
BEHIND = 3  # times what passes between two publications, after which a receiver is said to be behind
IDLE_SECONDS = 60.0  # between two words that there is nothing to publish, at least
RETRY_SECONDS = (15.0, 300.0)  # after a failure: the first, and the longest


def behind_ns(config: LakeConfig) -> int:
    """Return how long ago, in nanoseconds, a receiver may have published last that is not behind."""
    return int(BEHIND * max(config.publish_seconds, IDLE_SECONDS) * 1e9)


class Publishing:
    """One thread may use it: the holder of the writer's lock."""

    def __init__(self, directory: Path, config: LakeConfig) -> None:
        self._file = directory / FILE
        self.config = config
        self._failures = 0
        self._next = time.monotonic()  # at once: a start may find what an earlier process left
        self._last = self._next - IDLE_SECONDS  # that one succeeded
        self.receiver, self._published = _read(self._file)
        if not self._file.exists():
            self._write()

    def may_go(self, name: str) -> bool:
        """Whether a segment is in the lake, and may be merged or deleted here."""
        return name in self._published

    def look(self, entries: Sequence[Entry]) -> None:
        """What was made of published segments alone is published; forget those that are gone."""
        made = {one.name for one in entries if one.replaces and self._published.issuperset(one.replaces)}
        kept = {name for one in entries for name in (one.name, *one.replaces)}
        known = (self._published | made) & kept
        if known != self._published:
            self._published = known
            self._write()

    def due(
        self, entries: Sequence[Entry], *, open_rows: int, now_ns: int, at_once: bool = False
    ) -> dict[str, Any] | None:
        """Return what the next publication is told, if it is time: the oldest segments up to `publish_bytes`."""
        waiting = [one for one in entries if one.name not in self._published and one.schema <= schema.SCHEMA_VERSION]
        waiting.sort(key=lambda one: one.last_received_ns)
        idle = IDLE_SECONDS if not waiting and not self._failures else 0.0
        full = sum(one.bytes for one in waiting) >= self.config.publish_bytes and not self._failures
        if time.monotonic() < max(self._next, self._last + idle) and not full and not at_once:
            return None
        chosen: list[Entry] = []
        size = 0
        for one in waiting:
            if chosen and size + one.bytes > self.config.publish_bytes:
                break
            chosen.append(one)
            size += one.bytes
        reached = max((one.last_received_ns for one in chosen), default=0)
        if len(chosen) == len(waiting) and not open_rows:
            reached = now_ns
        return {
            "lake": self.config.model_dump(mode="json", exclude={"catalog"}),
            "receiver": self.receiver,
            "names": [one.name for one in chosen],
            "reached_ns": reached,
        }

    def done(self, names: Iterable[str]) -> None:
        """Remember what is published now."""
        self._failures = 0
        self._last = time.monotonic()
        self._next = self._last + self.config.publish_seconds
        self._published |= set(names)
        self._write()

    def failed(self) -> float:
        """Wait longer after each failure; return for how long."""
        first, longest = RETRY_SECONDS
        wait = min(longest, self.config.publish_seconds, first * 2.0**self._failures)
        self._failures += 1
        self._next = time.monotonic() + wait
        return wait

    def _write(self) -> None:
        document = {"receiver": self.receiver, "published": sorted(self._published)}
        write_durably(self._file, json.dumps(document).encode())


def _read(file: Path) -> tuple[str, set[str]]:
    try:
        document = json.loads(file.read_bytes())
        return str(document["receiver"]), {str(name) for name in document["published"]}
    except (OSError, ValueError, KeyError, TypeError):
        return f"{socket.gethostname()}-{secrets.token_hex(6)}", set()

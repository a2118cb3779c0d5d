"""What can wait: imports taken over, segments merged, derived again, published into the lake, and deleted.

One thing at a time; the long ones in a process of their own, so that loading and sealing go on meanwhile.
"""

from __future__ import annotations

import contextlib
import json
import logging
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from halo_receiver import child_processes
from halo_receiver.errors import HaloError
from halo_receiver.logs import event, form_in_use
from halo_receiver.segment_rewrite import DAMAGED
from halo_receiver.store import manifest, merge, retention, schema
from halo_receiver.store.clock import TrustedClock
from halo_receiver.store.segment import listed
from halo_receiver.store.segments import Segments

if TYPE_CHECKING:
    from halo_receiver.publishing import Publishing

log = logging.getLogger("halo.loader")

EVERY_SECONDS = 15.0
REWRITE_SECONDS = 1800.0  # after which a rewrite is given up
REWRITE_THREADS = 1


class Housekeeping:
    """Called from the loader's thread between two batches; `look` returns at once."""

    def __init__(
        self,
        segments: Segments,
        *,
        keep: retention.Keep,
        merge_bytes: int,
        memory_limit_bytes: int,
        mapping: int,
        log_level: str,
        count: Callable[[str, int], None],
        clock: TrustedClock | None = None,
        publishing: Publishing | None = None,
    ) -> None:
        self._segments = segments
        self._clock = clock or TrustedClock(segments.directory)
        self._publishing = publishing
        self._every = min(EVERY_SECONDS, publishing.config.publish_seconds) if publishing else EVERY_SECONDS
        may_go = publishing.may_go if publishing else None
        self._retention = retention.Retention(segments.directory, keep, self._clock, may_go=may_go)
        self._merge_bytes = merge_bytes
        self._memory_limit = f"{memory_limit_bytes}B"
        self._mapping = mapping
        self._log_level = log_level
        self._count = count
        self._child: subprocess.Popen[bytes] | None = None
        self._names: list[str] = []
        self._ended: Callable[[int, bytes], None] = self._rewritten
        self._started = self._next = 0.0
        self._hopeless: set[str] = set()  # segments whose rewrite failed: not tried again by this process

    @property
    def busy(self) -> bool:
        """Whether a rewrite or a publication is going on."""
        return self._child is not None

    def look(self) -> None:
        """Do what is due. Trouble is logged, never raised."""
        now = time.monotonic()
        try:
            if self._child is not None:
                self._look_at_child(self._child, now)
            elif now >= self._next:
                self._next = now + self._every
                self.tidy()
        except (OSError, HaloError) as error:
            event(log, "housekeeping failed", level=logging.ERROR, reason=str(error))

    def tidy(self) -> None:
        """Adopt imports, delete what has expired, and begin a publication or a rewrite if one is worth it."""
        self._segments.adopt()
        directory = self._segments.directory
        jumps = self._clock.jumps
        self._count("expired_segments", self._retention.look())
        self._count("clock_jumps", self._clock.jumps - jumps)
        found = manifest.load(directory, listed(directory), write=True)
        entries = [entry for entry in found if entry.name not in self._hopeless]
        old = [entry for entry in entries if entry.mapping < self._mapping and entry.schema <= schema.SCHEMA_VERSION]
        if publication := self._publication(found):
            self._begin("halo-publish", "halo_receiver.segment_publish", publication, self._published, lake=True)
        elif old:
            self._rewrite([old[0].name])
        elif self._merge_bytes and (
            chosen := merge.choose(self._mergeable(entries), self._merge_bytes, self._clock.wall())
        ):
            self._rewrite([entry.name for entry in chosen])

    def _publication(self, entries: list[manifest.Entry]) -> dict[str, Any] | None:
        if self._publishing is None:
            return None
        self._publishing.look(entries)
        return self._publishing.due(entries, open_rows=self._segments.open_rows, now_ns=self._clock.wall())

    def _mergeable(self, entries: list[manifest.Entry]) -> list[manifest.Entry]:
        """With a lake, segments are merged once they are published: no row is then in two that are published."""
        publishing = self._publishing
        return entries if publishing is None else [entry for entry in entries if publishing.may_go(entry.name)]

    def _rewrite(self, names: list[str]) -> None:
        self._begin("halo-rewrite", "halo_receiver.segment_rewrite", {"names": names}, self._rewritten)

    def _begin(
        self, name: str, module: str, told: dict[str, Any], ended: Callable[[int, bytes], None], *, lake: bool = False
    ) -> None:
        settings = {
            "directory": str(self._segments.directory),
            "memory_limit": self._memory_limit,
            "threads": REWRITE_THREADS,
            "log_level": self._log_level,
            "log_format": form_in_use(),
            **told,
        }
        self._names, self._started, self._ended = told["names"], time.monotonic(), ended
        self._child = child_processes.start(
            name, module, json.dumps(settings), env=child_processes.environment(lake=lake),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        )  # fmt: skip

    def _look_at_child(self, child: subprocess.Popen[bytes], now: float) -> None:
        code = child.poll()
        if code is None:
            if now - self._started > REWRITE_SECONDS:
                child.kill()
            return
        assert child.stdout is not None
        said = child.stdout.read()
        child.stdout.close()
        self._child = None
        self._next = now  # perhaps there is more
        self._ended(code, said)

    def _rewritten(self, code: int, said: bytes) -> None:
        with contextlib.suppress(ValueError):
            answer = json.loads(said)
            if code == 0:
                self._publish(answer["made"])
                return
            for name in answer["damaged"] if code == DAMAGED else ():
                self._segments.set_aside_damaged(name)
                self._count("damaged_segments", 1)
        self._hopeless.update(self._names)
        event(log, "rewrite failed", level=logging.ERROR, code=code, segments=len(self._names), first=self._names[0])

    def _published(self, code: int, said: bytes) -> None:
        """Note what a publication did. One that failed is tried again later: receiving does not depend on it."""
        assert self._publishing is not None
        answer: dict[str, Any] = {"failed": "its process was killed"}
        with contextlib.suppress(ValueError):
            answer = json.loads(said)
        if code or "failed" in answer:
            wait = self._publishing.failed()
            self._count("failed_publications", 1)
            event(log, "publication failed", level=logging.WARNING, reason=answer.get("failed"), next_seconds=wait)
            return
        for name in answer["damaged"]:
            self._segments.set_aside_damaged(name)
            self._count("damaged_segments", 1)
        self._publishing.done(answer["published"])
        self._count("published_spans", answer["spans"])
        if self._names:
            event(
                log, "segments published", count=len(answer["published"]), spans=answer["spans"],
                seconds=time.monotonic() - self._started,
            )  # fmt: skip

    def _publish(self, made: str) -> None:
        directory = self._segments.directory
        published = merge.publish(directory, directory / merge.WORK / Path(made).name)
        if published is None:
            return
        seconds = time.monotonic() - self._started
        if len(self._names) == 1:
            self._count("derived_segments", 1)
            event(log, "segment derived again", segment=published.name, mapping=self._mapping, seconds=seconds)
        else:
            self._count("merged_segments", len(self._names))
            event(log, "segments merged", into=published.name, count=len(self._names), seconds=seconds)

    def close(self) -> None:
        """End a rewrite or a publication that goes on: it counts for nothing yet."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None

"""Traces of the lake, for a page: what all hosts have published of one, pulled into a segment of this process.

Spans of a trace may have come to several hosts, and this one keeps its own for a while alone. A pull takes a second or
two, so that what was pulled is kept for a minute, in which a page asks for it several times.
"""

from __future__ import annotations

import logging
import re
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from halo_receiver.config import LakeConfig
from halo_receiver.logs import event
from halo_worker.errors import HaloError

KEPT_SECONDS = 60.0  # also that a lake did not answer
MAX_KEPT = 32
MEMORY, THREADS = "256MiB", 2
_TRACE_ID = re.compile(r"[0-9a-f]{32}")

log = logging.getLogger("halo.page")


@dataclass(slots=True)
class LakeTraces:
    """Threads of a page ask at once; the lake is asked by one of them at a time."""

    config: LakeConfig
    _kept: dict[str, tuple[float, Path | None]] = field(default_factory=dict)  # by trace, the newest last
    _away: float = -KEPT_SECONDS  # when the lake last did not answer
    _pulled: int = 0
    _folder: tempfile.TemporaryDirectory[str] | None = None
    _pulling: threading.Lock = field(default_factory=threading.Lock)

    def segments(self, trace_id: str) -> list[Path]:
        """Return the segment with what the lake has of a trace; none where it has nothing, or does not answer."""
        if not self.config.on or not _TRACE_ID.fullmatch(trace_id):
            return []
        with self._pulling:
            now = time.monotonic()
            if trace_id not in self._kept and now - self._away >= KEPT_SECONDS:
                self._forget(now)
                self._pull(trace_id, now)
            _, path = self._kept.get(trace_id, (now, None))
        return [path] if path is not None else []

    def _pull(self, trace_id: str, now: float) -> None:
        from halo_receiver.store import lake_reader  # and DuckLake with it, which only a lake needs

        self._folder = self._folder or tempfile.TemporaryDirectory(prefix="halo-page-", ignore_cleanup_errors=True)
        self._pulled += 1
        try:
            path = lake_reader.pull_trace(
                self.config, trace_id, Path(self._folder.name), number=self._pulled, memory_limit=MEMORY,
                threads=THREADS,
            )  # fmt: skip
        except HaloError as error:
            self._away = now
            event(log, "lake away", level=logging.WARNING, trace=trace_id, reason=error)
            return
        self._kept[trace_id] = (now, path)

    def _forget(self, now: float) -> None:
        """Delete what is too old, and the oldest where there are too many; who reads it has it open."""
        for trace_id, (pulled, path) in list(self._kept.items()):
            if now - pulled >= KEPT_SECONDS or len(self._kept) >= MAX_KEPT:
                del self._kept[trace_id]
                if path is not None:
                    path.unlink(missing_ok=True)

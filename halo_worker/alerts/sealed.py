"""Up to when everything that was acknowledged can be read: by what is sealed by time, else by asking for a seal."""

from __future__ import annotations

import time
from collections.abc import Callable

from halo_receiver import backlog
from halo_worker import segments_client
from halo_worker.config import Settings
from halo_worker.window import SECOND

SEAL_SECONDS = 10.0  # between two seals at least: each makes a file, which is merged again
MARGIN_NS = SECOND  # for which what has a time of arrival may not be in the spool yet


class Sealing:
    """Asks the receiver for no more seals than readers need."""

    def __init__(self, current: Settings, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._data_dir = current.store.data_dir
        self._monotonic = monotonic
        self._sealed_at: float | None = None

    def readable_until(self, now_ns: int, *, fresh_ns: int) -> int:
        """Return the arrival time in unix nanoseconds before which the sealed segments hold all that arrived.

        The receiver is asked to seal only where what is not sealed yet is older than `fresh_ns`: by default segments
        are sealed every minute, and nobody is asked.
        """
        until = now_ns - MARGIN_NS
        waiting = backlog.waiting(self._data_dir)
        if waiting is None:
            return until
        if now_ns - waiting.since_ns <= fresh_ns or not self._seal():
            return min(until, waiting.since_ns)
        return until

    def _seal(self) -> bool:
        now = self._monotonic()
        if self._sealed_at is not None and now - self._sealed_at < SEAL_SECONDS:
            return False
        self._sealed_at = now
        return segments_client.seal(self._data_dir).answered

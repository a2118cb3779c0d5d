"""The spans that were stored last, in a few words each: kept in the loader, and told while somebody watches.

Summaries are made of the tables that were just committed, for as many spans a second as cost nothing beside storing
them; what is beyond is counted. Nothing is sealed and no file is read.
"""

from __future__ import annotations

import base64
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from halo_receiver.logs import event
from halo_receiver.pb.segments_pb2 import SpanSummary, TailResponse
from halo_receiver.store import columns, summaries

log = logging.getLogger("halo.loader")

RECENT_SPANS = 10_000  # kept
MESSAGE_SPANS = 250  # told at a time
REASON_CHARACTERS = 200  # of a fault, in the log
# Spans a second of which a summary is made. Each costs up to a third of what storing it does (7 kB): at 2,000 a second
# of 5,000 the receiver took 1.28 times the CPU. Of more, a sample is told, of whole traces; nobody reads more rows.
WATCHED_RATE, UNWATCHED_RATE = 300, 50
LEAST_SPANS = 100  # of a batch, however soon it comes after the one before

Tell = Callable[[dict[str, Any]], None]


class RecentSpans:
    """The last RECENT_SPANS of which a summary was made. `tell` gets messages for the server; any thread may call."""

    def __init__(self, tell: Tell, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._tell = tell
        self._clock = clock
        self._looked = clock()
        self._ring: deque[SpanSummary] = deque(maxlen=RECENT_SPANS)
        self._watched = False
        self._lock = threading.Lock()  # between what was before a viewer came and what came after

    def watch(self, viewer: int, recent: int) -> None:
        """Tell a viewer what was stored before, at most `recent` spans; all viewers what comes from now on."""
        with self._lock:
            self._watched = True
            parts = list(_parts(list(self._ring)[-recent:] if recent else ())) or [()]
            for number, part in enumerate(parts, 1):
                self._say(part, viewer=viewer, more_recent=number < len(parts))

    def unwatch(self) -> None:
        """Stop telling: nobody watches."""
        with self._lock:
            self._watched = False

    def add(self, spans: columns.Table) -> None:
        """Note what was stored. It is stored whatever is wrong with a summary: only a lost server is raised."""
        try:
            told = summaries.sample(spans, self._allowed())
            missed = spans.num_rows - told.num_rows
            made = [SpanSummary(**said) for said in summaries.rows(told)]
            with self._lock:
                self._ring.extend(made)
                if self._watched:
                    for part in _parts(made):
                        self._say(part, missed=missed)
                        missed = 0
        except BrokenPipeError:
            raise
        except Exception as error:  # noqa: BLE001 - as the docstring says
            event(log, "spans not summarised", level=logging.WARNING, reason=repr(error)[:REASON_CHARACTERS])

    def _allowed(self) -> int:
        now = self._clock()
        passed, self._looked = now - self._looked, now
        rate = WATCHED_RATE if self._watched else UNWATCHED_RATE
        return min(RECENT_SPANS, max(LEAST_SPANS, int(passed * rate)))

    def _say(
        self, spans: Sequence[SpanSummary], *, viewer: int | None = None, missed: int = 0, more_recent: bool = False
    ) -> None:
        body = TailResponse(spans=spans, missed=missed, more_recent=more_recent).SerializeToString()
        self._tell({"told": base64.b64encode(body).decode(), "spans": len(spans) + missed, "viewer": viewer})


def _parts(spans: Sequence[SpanSummary]) -> Iterator[Sequence[SpanSummary]]:
    for first in range(0, len(spans), MESSAGE_SPANS):
        yield spans[first : first + MESSAGE_SPANS]

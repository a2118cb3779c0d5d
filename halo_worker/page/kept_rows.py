"""The rows of the traces that were looked at last: a page of a trace asks for them several times.

They are laid out again when other segments hold the trace, or the reports that mark its spans changed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

from halo_receiver.store import manifest, trace_spans
from halo_receiver.store.reader import Reader
from halo_worker.page import trace_view
from halo_worker.page.data import Data
from halo_worker.page.trace_view import Row
from halo_worker.report.memory import IssueMemory

MEMORY = "128MiB"  # of DuckDB, for one trace
MAX_ROWS = 12_000  # kept of all traces together, 1.5 kB each; the trace that was asked for last is always kept


@dataclass
class Laid:
    """A trace laid out, and of what."""

    rows: list[Row]
    segments: tuple[Path, ...]
    memory: IssueMemory

    @cached_property
    def by_id(self) -> Mapping[str, Row]:
        """The rows by the ids of their spans."""
        return {row.span["span_id"]: row for row in self.rows}

    @cached_property
    def packed(self) -> bytes:
        """All rows as the script draws them, in JSON."""
        return orjson.dumps([row.packed() for row in self.rows])


@dataclass(slots=True)
class KeptRows:
    """The traces of one data directory; threads of the pool ask at once, and at worst lay a trace out twice."""

    data: Data
    _laid: dict[str, Laid] = field(default_factory=dict)  # the last that was asked for is the last
    _changing: threading.Lock = field(default_factory=threading.Lock)

    def of(self, trace_id: str, reader: Reader | None = None) -> Laid:
        """Return the rows of a trace, none where it is not stored; `reader` is one that is open over it."""
        memory, segments = self.data.memory(), self._segments(trace_id)
        laid = self._laid.get(trace_id)
        if laid is None or laid.segments != segments or laid.memory is not memory:
            if reader is None:
                with opened(self.data, trace_id) as reader:
                    laid = self._lay_out(trace_id, reader, memory)
            else:
                laid = self._lay_out(trace_id, reader, memory)
        self._keep(trace_id, laid)
        return laid

    def _segments(self, trace_id: str) -> tuple[Path, ...]:
        directory = self.data.directory / "segments"
        current, damaged = manifest.current(directory)
        held = [directory / entry.name for entry in current if entry.may_hold(None, None, trace_id=trace_id)]
        return tuple(sorted([*held, *damaged, *self.data.lake.segments(trace_id)]))

    def _lay_out(self, trace_id: str, reader: Reader, memory: IssueMemory) -> Laid:
        spans = trace_spans.outline(reader, trace_id, trace_view.MAX_SPANS)
        titles = {issue.issue_id: issue.finding.title for issue in memory.issues.values()}
        marks = trace_view.marks_of(self.data.archive, titles, trace_id) if spans else {}
        segments = [*reader.segments, *(item.path for item in reader.set_aside)]
        return Laid(trace_view.lay_out(spans, marks), tuple(sorted(segments)), memory)

    def _keep(self, trace_id: str, laid: Laid) -> None:
        with self._changing:
            self._laid.pop(trace_id, None)
            self._laid[trace_id] = laid
            count = sum(len(one.rows) for one in self._laid.values())
            while count > MAX_ROWS and len(self._laid) > 1:
                count -= len(self._laid.pop(next(iter(self._laid))).rows)


@contextmanager
def opened(data: Data, trace_id: str, *, threads: int = 2) -> Iterator[Reader]:
    """Open the segments that may hold a trace, and what the lake has of it."""
    options: dict[str, Any] = {"memory_limit": MEMORY, "threads": threads, "beside": data.lake.segments(trace_id)}
    with Reader.open(data.directory, trace_id=trace_id, around=trace_id, **options) as reader:
        yield reader

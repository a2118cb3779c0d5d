"""Reading the lake: a window of it pulled into segments, or its rows where they lie.

Windows are cut on when rows became visible (`lake_state`), not on when they arrived at their receiver: a host that was
cut off and publishes late is judged in the next window, once. `received_at` stays what it was.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from halo_receiver.config import LakeConfig
from halo_receiver.errors import StoreError
from halo_receiver.store import copies, lake, lake_extensions, schema
from halo_receiver.store.lake_state import LakeState, Publication, ReceiverState
from halo_receiver.store.reader import JUDGED_BEFORE_NS, Reader
from halo_receiver.store.segment import SegmentName
from halo_receiver.store.settling import Settle, look_back, traces_of
from halo_receiver.store.writer import SegmentWriter

SEGMENT_SPANS = 4_000_000  # of one pulled segment, about, where the lake has buckets
CLOCK_SECONDS = 5.0  # by which this host's clock may be ahead of the catalog's; so long is waited
_VISIBLE = "CREATE TEMP TABLE _visible AS SELECT unnest($1::BIGINT[]) AS publication, unnest($2::BIGINT[]) AS ns"


@dataclass(frozen=True, slots=True)
class Span:
    """Which traces a pull takes: those of `[start_ns, end_ns)`, as `traces_of` says them; part `part` of `parts`."""

    start_ns: int
    end_ns: int
    settle: Settle | None = None
    part: int = 0
    parts: int = 1


@dataclass(frozen=True, slots=True)
class Pulled:
    """Segments that hold each trace of a window whole, and all receivers of the lake."""

    segments: list[Path]
    receivers: list[ReceiverState]


@dataclass(frozen=True, slots=True)
class Found:
    """What a pull looks into: publications with a window's traces, those judged before, and all receivers; and by how
    many buckets the lake's files are split."""

    wanted: list[Publication]
    judged: list[int]
    receivers: list[ReceiverState]
    buckets: int = 0

    @property
    def spans(self) -> int:
        """How many spans the window has at most."""
        return sum(one.spans for one in self.wanted)

    def even(self, least: int, of: int = 1) -> int:
        """Return into how many parts, at least `least`, each of `of` parts is split so that none shares a bucket.

        Without buckets whoever reads a part reads all files.
        """
        most = max(1, self.buckets)
        return next(n for n in itertools.count(max(1, least)) if most % (n * of) == 0 or n * of % most == 0)


def look(config: LakeConfig, span: Span) -> Found:
    """Look up what a window of the lake consists of, when it has ended. Raises LakeUnavailable or StoreError."""
    before = span.start_ns - look_back(span.settle, whole_traces=True)
    with LakeState.open(config) as state:
        if span.settle is not None:
            _wait_for_clock(state, span.end_ns)
        found = state.visible(before - (JUDGED_BEFORE_NS if span.settle else 0), span.end_ns)
        receivers, buckets = state.receivers(), state.buckets()
    wanted = [one for one in found if one.visible_ns >= before]
    return Found(wanted, [one.id for one in found if one.visible_ns < before], receivers, buckets)


def pull(
    config: LakeConfig, span: Span, directory: Path, *, found: Found | None = None, memory_limit: str, threads: int
) -> Pulled:
    """Write the spans and log records of a window's traces as segments. Raises LakeUnavailable or StoreError.

    A trace is shown as it was known when the window ended, with what came of it before; copies of a span are one.
    """
    found = found or look(config, span)
    segments = []
    rounds = found.even(-(-found.spans // (SEGMENT_SPANS * span.parts)), span.parts) if found.buckets > 1 else 1
    for number in range(rounds if found.wanted else 0):
        part = Span(span.start_ns, span.end_ns, span.settle, span.part + number * span.parts, span.parts * rounds)
        name = SegmentName.at(max(0, span.end_ns), number + 1)
        writer = PulledSegment(
            directory, name, memory_limit=memory_limit, threads=threads, row_group_size=schema.SMALL_ROW_GROUP_SIZE
        )
        if writer.take(config, part, found):
            segments.append(writer.seal())
        else:
            writer.discard()
    return Pulled(segments, found.receivers)


def pull_trace(
    config: LakeConfig, trace_id: str, directory: Path, *, number: int, memory_limit: str, threads: int
) -> Path | None:
    """Write what the lake has of one trace as segment `number` of a directory; None where it has nothing.

    Raises LakeUnavailable, StoreError or ConfigError.
    """
    name = SegmentName.at(time.time_ns(), number)
    writer = PulledSegment(directory, name, memory_limit=memory_limit, threads=threads)
    try:
        found = writer.take_trace(config, trace_id)
    except BaseException:
        writer.discard()
        raise
    if found:
        return writer.seal()
    writer.discard()
    return None


def _wait_for_clock(state: LakeState, end_ns: int) -> None:
    """What becomes visible in a window must have done so before it is read: the catalog's clock has to be past it."""
    ahead = (end_ns - state.now_ns()) / 1e9
    if ahead > CLOCK_SECONDS:
        raise StoreError(
            f"the window ends {ahead:.0f} s ahead of the clock of the lake's catalog",
            hint="set the clocks of both hosts",
        )
    time.sleep(max(0.0, ahead))


class PulledSegment(SegmentWriter):
    """A segment that is filled from the lake."""

    def take(self, config: LakeConfig, span: Span, found: Found) -> bool:
        """Copy the rows of the traces of a window, or of its part; False where there are none."""
        lake.attach(self._connection, config)
        with lake_extensions.faults("pulling a window"):
            execute = self._connection.execute
            execute(_VISIBLE, [[one.id for one in found.wanted], [one.visible_ns for one in found.wanted]])
            among = lake.among([one.id for one in found.wanted])
            mine = _of_part(span, found.buckets)
            arrivals = (
                "SELECT trace_id, make_timestamp_ns(ns) AS received_at FROM (SELECT DISTINCT trace_id, publication "
                f"FROM lake.span_rows WHERE {among} AND {mine}) JOIN _visible USING (publication)"
            )
            chosen = traces_of(arrivals, span.start_ns, span.end_ns, span.settle)
            execute(f"CREATE TEMP TABLE _chosen AS SELECT trace_id FROM ({chosen})")
            if found.judged:
                earlier = f"SELECT trace_id FROM lake.span_rows WHERE {lake.among(found.judged)} AND {mine}"
                execute(f"DELETE FROM _chosen WHERE trace_id IN ({earlier})")
            return self._copy(f"{among} AND {mine} AND trace_id IN (FROM _chosen)")

    def take_trace(self, config: LakeConfig, trace_id: str) -> bool:
        """Copy the rows of one trace; False where there are none."""
        with LakeState.open(config) as state:
            among, buckets = lake.among([one.id for one in state.visible()]), state.buckets()
        lake.attach(self._connection, config)
        with lake_extensions.faults("pulling a trace"):
            return self._copy(f"{among} AND {of_trace(trace_id, buckets)}")

    def _copy(self, where: str) -> bool:
        for table in lake.TABLES:
            self._connection.execute(
                f"INSERT INTO segment.{table} BY NAME SELECT * EXCLUDE ({lake.OWN_COLUMNS}) FROM lake.{table} "
                f"WHERE {where}"
            )
        self.spans, self.logs = self._one(
            "SELECT (SELECT count(*) FROM segment.span_rows), (SELECT count(*) FROM segment.log_rows)"
        )
        self._connection.execute("DETACH lake")
        return bool(self.spans or self.logs)

    def _describe(self) -> None:
        """No manifest lists it: what one would ask of it is not counted (a filter of millions of traces)."""


def of_trace(trace_id: str, buckets: int) -> str:
    """Return the condition that a row is of a trace, in its bucket."""
    quoted = lake_extensions.quoted(trace_id)
    within = f"bucket = {lake.bucket_of(quoted, buckets)} AND " if buckets > 1 else ""
    return f"{within}trace_id = {quoted}"


def _of_part(span: Span, buckets: int) -> str:
    """Return the condition that a row is of a part: of its traces, in the buckets that hold any of them."""
    if span.parts == 1:
        return "true"
    shared = math.gcd(span.parts, max(1, buckets))
    held = ", ".join(str(number) for number in range(buckets) if number % shared == span.part % shared)
    within = f"bucket IN ({held}) AND " if shared > 1 else ""
    return f"{within}md5_number_lower(trace_id) % {span.parts} = {span.part}"


class LakeReader(Reader):
    """The lake's rows where they lie, behind the views of the contract: one row a span, however often it was sent.

    `trace_id`: of one trace alone. Nothing is written.
    """

    def __init__(
        self, config: LakeConfig, publications: Sequence[Publication], *, where: str = "true", **options: Any
    ) -> None:
        self._config = config
        self._among = f"{lake.among([one.id for one in publications])} AND ({where})"
        super().__init__((), **options)

    @classmethod
    def of(
        cls, config: LakeConfig, *, start_ns: int | None = None, end_ns: int | None = None,
        trace_id: str | None = None, **options: Any,
    ) -> LakeReader:  # fmt: skip
        """Open what became visible in `[start_ns, end_ns)`."""
        with LakeState.open(config) as state:
            found, buckets = state.visible(start_ns, end_ns), state.buckets()
        return cls(config, found, where=of_trace(trace_id, buckets) if trace_id is not None else "true", **options)

    def _views(self) -> None:
        lake.attach(self.connection, self._config)
        with lake_extensions.faults("reading it"):
            rows, logs = (
                f"SELECT * EXCLUDE ({lake.OWN_COLUMNS}) FROM lake.{name} WHERE {self._among}" for name in lake.TABLES
            )
            replaced = copies.superseded({0: "lake.span_rows"}, self._among)
            self.connection.execute(f"CREATE TABLE _copies AS SELECT place FROM ({replaced})")
            if self.connection.execute("SELECT 1 FROM _copies LIMIT 1").fetchone():
                rows += " AND rowid NOT IN (SELECT place FROM memory.main._copies)"
            self._show(rows, logs)
            columns = ", ".join(schema.TRACE_COLUMNS)
            rollup = schema.rollup_query("_own_spans")
            self.connection.execute(f"CREATE VIEW traces AS SELECT {columns} FROM ({rollup})")

    def query(self, sql: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> list[dict[str, Any]]:
        """Run one statement and return its rows as dicts. Raises LakeUnavailable too."""
        try:
            return super().query(sql, parameters)
        except duckdb.IOException:
            with lake_extensions.faults("reading it"):
                raise

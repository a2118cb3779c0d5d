"""What detectors name in parts of the traces of all examples, as they look before everything has arrived."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from halo_receiver import conventions
from halo_receiver.span import Span
from halo_receiver.store import columns
from halo_receiver.store.reader import Reader
from halo_receiver.store.segment import SegmentName
from halo_receiver.store.writer import SegmentWriter
from halo_worker.analysis.detectors import DETECTORS, examples, trial
from halo_worker.analysis.detectors.detector import Unit

Hits = set[tuple[str, str]]  # detector and key
MOST_TRACES = 3  # of one example: those that compare have many alike


def hits_of_parts(units: Sequence[Unit], folder: Path) -> Iterator[tuple[Hits, Hits]]:
    """Yield what `units` name in a whole trace, and in one that lacks its first spans or its last."""
    folder.mkdir(parents=True, exist_ok=True)
    whole_of: dict[str, str] = {}
    rows = []
    for number, spans in enumerate(_examples()):
        for place, part in enumerate(_parts(spans)):
            trace = f"{number + 1:016x}{place:016x}"
            whole_of[trace] = f"{number + 1:016x}{0:016x}"
            rows += [(replace(span, trace_id=trace), span) for span in part]
    writer = SegmentWriter(folder, SegmentName.at(examples.START, 1))
    stored = [(span, conventions.canonical(span), span.end_unix_nano or examples.START) for span, _ in rows]
    writer.append(spans=columns.span_table(stored), logs=None)
    found: dict[str, Hits] = {}
    with Reader([writer.seal()]) as reader:
        trial.prepare(reader, units)
        for unit in units:
            trial.insert(reader, unit)
        for row in reader.query("SELECT DISTINCT trace_id, detector, key FROM _hits"):
            found.setdefault(row["trace_id"], set()).add((row["detector"], row["key"]))
    for trace, whole in whole_of.items():
        yield found.get(whole, set()), found.get(trace, set())


def _examples() -> Iterator[list[Span]]:
    for unit in DETECTORS:
        for number, example in enumerate(unit.examples, 1):
            made = sorted(examples._traces(unit, number, example, itertools.count(1)), key=lambda one: one.trace_id)
            traces = [list(group) for _, group in itertools.groupby(made, key=lambda one: one.trace_id)]
            yield from traces[:MOST_TRACES]


def _parts(spans: list[Span]) -> Iterator[list[Span]]:
    """The whole trace first; then without its last spans, and without its first: parents arrive after children."""
    yield spans
    for cut in range(1, len(spans)):
        yield spans[:cut]
        yield spans[cut:]

"""Trying detectors: on their examples, and over a window without a report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from halo_receiver.store.reader import Reader
from halo_worker.analysis import overview
from halo_worker.analysis.detectors import own, rules, tables
from halo_worker.analysis.detectors.baselines import Baselines
from halo_worker.analysis.detectors.detector import Unit
from halo_worker.display import one_line

NOTHING = ({"fires": False, "spans": [{"span": "nothing"}]},)  # for rules without examples: the SQL is tried at least
SHOWN = 5  # hits of a window that are printed

ALWAYS = ("calls", "steps")  # tables that every pass reads: what is blamed, and why
HITS = (
    "CREATE OR REPLACE TEMP TABLE _hits (detector VARCHAR, key VARCHAR, subject VARCHAR, trace_id VARCHAR, "
    "span_id VARCHAR, origin_span_id VARCHAR, field VARCHAR, quote VARCHAR, also VARCHAR[])"
)


@dataclass(slots=True)
class Outcome:
    """How many examples went as they should, and what is wrong with the others."""

    passed: int = 0
    problems: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Window:
    """What a trial over a window says, and why rules were left out."""

    lines: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def prepare(reader: Reader, only: Sequence[Unit] | None = None, earlier: Baselines | None = None) -> frozenset[str]:
    """Make all that detectors read, or what `only` some of them do, and the empty table of their hits.

    Of `only` some, the tables of those are left out that have nothing to name, whose names are returned: what they are
    driven by is made first. A rule of a user may read any column.
    """
    every = [unit.sql for unit in (rules.built_in() if only is None else only)]
    lean = only is not None and "measures" not in tables.read_by(every) and not any(map(rules.is_own, only))
    overview.prepare(reader, lean=lean)
    reader.connection.execute(HITS)
    if only is None:
        tables.prepare(reader, [*every, *tables.known()])
        return frozenset()
    tables.define(reader, every)
    made = tables.make(reader, [*ALWAYS, *(unit.driven_by or unit.sql for unit in only)], earlier=earlier)
    idle = frozenset(unit.name for unit in only if unit.driven_by and not _has_rows(reader, unit))
    rest = [unit.sql for unit in only if unit.name not in idle]
    tables.make(reader, rest, missing=lambda item: item not in made, earlier=earlier)
    return idle


def _fill(units: Sequence[Unit], reader: Reader, folder: Path) -> list[str]:
    """Put the hits of detectors into `_hits`, halo's own run here, a user's as SQL of strangers; return what failed."""
    for unit in units:
        if not rules.is_own(unit):
            insert(reader, unit)
    strangers = sorted({Path(unit.path) for unit in units if rules.is_own(unit)})
    return own.run(reader, own.Own(strangers, temp_dir=folder)).problems if strangers else []


def insert(reader: Reader, unit: Unit) -> None:
    """Put the hits of one of halo's own into `_hits`. Planning a statement takes longer than looking for its rows."""
    if unit.driven_by and not _has_rows(reader, unit):
        return
    reader.connection.execute(f"INSERT INTO _hits BY NAME SELECT '{unit.name}' AS detector, * FROM (\n{unit.sql}\n)")


def _has_rows(reader: Reader, unit: Unit) -> bool:
    return reader.connection.execute(f"SELECT 1 FROM {unit.driven_by} LIMIT 1").fetchone() is not None


def run_examples(units: Sequence[Unit], folder: Path) -> Outcome:
    """Run the examples of detectors, all in one window: those that must fire do, and the others do not."""
    from halo_worker.analysis.detectors import examples  # loads what writes segments: 30 MiB

    wanted = [unit if unit.examples else replace(unit, examples=NOTHING) for unit in units]
    segment, cases = examples.stored(wanted, folder / "segments")
    with Reader([segment]) as reader:
        prepare(reader)
        outcome = Outcome(problems=_fill(wanted, reader, folder / "own"))
        rows = reader.query("SELECT DISTINCT detector, trace_id FROM _hits")
    hits = {(row["detector"], row["trace_id"]) for row in rows}
    for case in cases if not outcome.problems else ():
        fired = {trace for trace in case.trace_ids if (case.detector, trace) in hits}
        if fired == (case.trace_ids if case.fires else set()):
            outcome.passed += 1
        else:
            said = "does not fire and should" if case.fires else "fires and should not"
            outcome.problems.append(
                f"{case.detector}: example {case.number} {said}" + (f": {case.why}" if case.why else "")
            )
    return outcome


def over(reader: Reader, mine: own.Own) -> Window:
    """Run a user's detectors over a window; say hits, rate, time, and a few of the spans."""
    prepare(reader)
    began = time.monotonic()
    ran = own.run(reader, mine)
    seconds = time.monotonic() - began
    traces = reader.query("SELECT count(*) AS n FROM _t")[0]["n"]
    said = Window(problems=ran.problems, lines=list(ran.problems))
    for unit in ran.units:
        rows = reader.query(
            f"SELECT trace_id, span_id, key, quote FROM _hits WHERE detector = $1 ORDER BY ALL LIMIT {SHOWN}",
            [unit.name],
        )
        hit = reader.query("SELECT count(DISTINCT trace_id) AS n FROM _hits WHERE detector = $1", [unit.name])[0]["n"]
        rate = f"{hit / traces:.1%}" if traces else "none"
        count = f"{ran.hits[unit.name]:,} hits in {hit:,} of {traces:,} traces ({rate})"
        said.lines.append(f"{unit.name}: {count}, {seconds:.1f} s with the tables that it reads")
        for row in rows:
            key, quote = one_line(str(row["key"])), one_line(str(row["quote"]))
            said.lines.append(f"  {row['trace_id']} {row['span_id']} {key}: {quote}")
    return said

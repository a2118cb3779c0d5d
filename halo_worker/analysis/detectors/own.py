"""Detectors that users add: run as SQL of strangers is, over the analysis tables.

The run writes its analysis tables into a file of its own and closes it; the processes that answer questions attach it
read only before they lock themselves down. A rule that fails is told with its line and column, and costs itself alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from halo_receiver.store.reader import Reader
from halo_worker.analysis.detectors import rules, tables
from halo_worker.analysis.detectors.detector import Unit
from halo_worker.analysis.detectors.rules import RuleError
from halo_worker.analysis.lexicon.files import quoted
from halo_worker.analysis.questions import QuestionError, Questions
from halo_worker.rlm.tool import ToolError

FILE = "analysis.duckdb"
MAX_HITS = 10_000  # of one rule
COLUMNS = ("key", "subject", "trace_id", "span_id", "origin_span_id", "field", "quote")
NEEDED = ("trace_id", "span_id")


@dataclass(frozen=True, slots=True)
class Own:
    """What a user adds to the detectors and takes from them: files and folders, and names that are muted.

    `thresholds`: the least traces of a service with one key, or the least share of its traces where below 1.
    `min_traces` stands for that of every rule, where given.
    """

    paths: Sequence[Path] = ()
    mute: frozenset[str] = frozenset()
    temp_dir: Path = field(default_factory=lambda: Path("."))
    threads: int = 2
    thresholds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # by service and detector
    min_traces: int | None = None

    def units(self) -> tuple[list[Unit], list[RuleError]]:
        """Read the rules; return those that are not muted, and what cannot be used."""
        found, bad = rules.load(self.paths)
        kept = [unit for unit in found if unit.name not in self.mute]
        return [replace(unit, min_traces=self.min_traces or unit.min_traces) for unit in kept], bad


@dataclass(slots=True)
class Ran:
    """What the rules of a user came to: those that ran, and why others did not."""

    units: list[Unit] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    hits: dict[str, int] = field(default_factory=dict)


def run(reader: Reader, own: Own) -> Ran:
    """Run the rules of a user into `_hits`. Needs the analysis tables that they read."""
    wanted, bad = own.units()
    ran = Ran(problems=[_left_out(error) for error in bad])
    if not wanted:
        return ran
    own.temp_dir.mkdir(parents=True, exist_ok=True)
    file = own.temp_dir.absolute() / FILE
    read = sorted(set().union(*(tables.named_in(unit.sql) for unit in wanted)))
    write(reader, file, read)
    questions = Questions.of(reader, own.temp_dir / "questions", threads=own.threads)
    questions.prepare, questions.tables = prepared(file, read), tuple(tables.known())
    try:
        asyncio.run(_run(reader, wanted, questions, ran))
    finally:
        file.unlink(missing_ok=True)
    return ran


def write(reader: Reader, file: Path, names: Sequence[str]) -> None:
    """Write analysis tables into a database file, and close it."""
    execute = reader.connection.execute
    file.unlink(missing_ok=True)
    execute(f"ATTACH {quoted(str(file))} AS shared (RECOVERY_MODE 'no_wal_writes')")
    try:
        for name in names:
            execute(f"CREATE TABLE shared.main.{name} AS FROM {name}")
        execute("CHECKPOINT shared")
    finally:
        execute("DETACH shared")


def prepared(file: Path, names: Sequence[str]) -> tuple[str, ...]:
    """Return what a process runs before it is locked: the tables of the file, and the macros."""
    views = (f"CREATE VIEW {name} AS FROM analysis.main.{name}" for name in names)
    return (f"ATTACH {quoted(str(file))} AS analysis (READ_ONLY)", *views, *tables.macros())


async def _run(reader: Reader, units: Sequence[Unit], questions: Questions, ran: Ran) -> None:
    try:
        for unit in units:
            try:
                found = await questions.select(unit.sql, needs=NEEDED, max_rows=MAX_HITS, count=False)
            except QuestionError as error:
                ran.problems.append(_left_out(rules.wrong_sql(unit, error.said or str(error))))
                continue
            except ToolError as error:  # no process to ask
                ran.problems.append(_left_out(RuleError(unit.path, unit.line, 1, str(error))))
                continue
            if found.more:
                ran.problems.append(
                    f"the detector {unit.name} found more than {MAX_HITS:,} hits; the first are counted"
                )
            ran.units.append(unit)
            ran.hits[unit.name] = len(found.rows)
            _insert(reader, unit, found.rows)
    finally:
        await questions.close()


def _insert(reader: Reader, unit: Unit, rows: Sequence[dict[str, Any]]) -> None:
    """Put the hits beside those of halo's own; the key is the rule's name, the quote the span's, unless it says."""
    if not rows:
        return
    columns = [[row.get(column) for row in rows] for column in COLUMNS]
    given = ", ".join(f"unnest(${number}::VARCHAR[]) AS {column}" for number, column in enumerate(COLUMNS, 1))
    reader.connection.execute(
        f"""
        INSERT INTO _hits BY NAME
        SELECT {quoted(unit.name)} AS detector, coalesce(g.key, {quoted(unit.name)}) AS key,
          coalesce(g.subject, s.actor) AS subject, g.trace_id, g.span_id, g.origin_span_id,
          CASE WHEN g.quote IS NULL THEN 'name' ELSE coalesce(g.field, 'name') END AS field,
          coalesce(g.quote, s.name) AS quote
        FROM (SELECT {given}) g JOIN steps s ON s.trace_id = g.trace_id AND s.span_id = g.span_id
        """,
        columns,
    )


def _left_out(error: RuleError) -> str:
    return f"a detector was left out: {error}"

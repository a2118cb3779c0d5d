"""Detectors over parts of a window: hash parts of its traces, each whole, are worked apart and then read as one.

What takes each trace by itself is made in the parts: the tables of `overview`, most analysis tables, and the detectors
that read those alone. What takes traces together (what is usual of a tool, how the runs of a service end, detectors of
`scope = "group"`) is made afterwards, by the same statements, over the tables of all parts. The counts by which spans
are told before any is judged (`window_counts`) are added up between the two steps of a part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from halo_receiver.store.reader import Reader
from halo_worker.analysis import outcomes, overview, same_call, window_counts
from halo_worker.analysis.detectors import claims, endings, final_answer, rules, tables, trial
from halo_worker.analysis.detectors.detector import Unit
from halo_worker.analysis.lexicon.files import quoted

# Tables that are made of each trace by itself.
OF_A_TRACE: frozenset[tables.Item] = frozenset(
    {
        "steps", "measures", "baseline_bins", "nested", "sub_runs", "calls", "told_results", "results", "result_texts",
        "failed_results", "failed_steps", "half_done", "tool_counts", "output_counts", "root_counts", "good_work",
        "other_ways", "failures", "errors", same_call.innermost, final_answer.prepare, "answers", "passed_on",
        "replies", "asides", "judging", "turns", "actions", claims.prepare, "claims", "dropped_plans", "requests",
        endings.acts, "failed_work",
    }
)  # fmt: skip
# Of tables whose rows are not those of one trace: how the rows of the parts become those of the window.
_TOGETHER = {"result_texts": "SELECT DISTINCT * FROM ({rows})"}
_CHANGED = ("_hits",)  # tables to which rows are added afterwards


def separable(unit: Unit) -> bool:
    """Say whether a detector of halo's own can be run in a part: it reads one trace at a time."""
    return unit.scope == "trace" and unit.stage == 1 and tables.read_by([unit.sql]) <= OF_A_TRACE


def count(reader: Reader) -> window_counts.Counts:
    """Read a part, the first step: return its counts. The reader's scratch is saved."""
    overview.read_spans(reader)
    window_counts.take(reader)
    counts = window_counts.rows(reader)
    reader.scratch.save()
    return counts


def work(reader: Reader, counts: window_counts.Counts, mute: frozenset[str] = frozenset()) -> None:
    """Work a part that `count` has read, the second step: its tables and the hits of its detectors are saved."""
    window_counts.put(reader, counts)
    overview.build(reader)
    reader.connection.execute(trial.HITS)
    tables.prepare(reader, _every(), OF_A_TRACE.__contains__)
    for unit in rules.built_in():
        if separable(unit) and unit.name not in mute:
            trial.insert(reader, unit)
    reader.scratch.save()


def _every() -> list[str]:
    return [*(unit.sql for unit in rules.built_in()), *tables.known()]


def joined(files: Sequence[Path]) -> Callable[[Reader], frozenset[str]]:
    """Return what prepares a window for `run_detectors` from what its parts saved; it names the detectors that ran."""

    def prepare(reader: Reader) -> frozenset[str]:
        join(reader, files)
        overview.show_usage(reader)
        outcomes.prepare(reader)
        tables.prepare(reader, _every(), lambda item: item not in OF_A_TRACE or _is_view(item))
        return frozenset(unit.name for unit in rules.built_in() if separable(unit))

    return prepare


def join(reader: Reader, files: Sequence[Path]) -> None:
    """Show the tables that the parts saved as those of the window."""
    execute = reader.connection.execute
    for number, file in enumerate(files):
        execute(f"ATTACH {quoted(str(file))} AS part{number} (READ_ONLY)")
    names = execute("SELECT table_name FROM duckdb_tables() WHERE database_name = 'part0'").fetchall()
    for (name,) in names:
        rows = " UNION ALL ".join(f'FROM part{number}.main."{name}"' for number in range(len(files)))
        kind = "TABLE" if name in _CHANGED else "VIEW"
        execute(f'CREATE OR REPLACE TEMP {kind} "{name}" AS {_TOGETHER.get(name, "{rows}").format(rows=rows)}')


def _is_view(item: tables.Item) -> bool:
    return isinstance(item, str) and tables.known()[item].kind == "view"

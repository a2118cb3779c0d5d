"""The analysis tables, over which detectors are written: each a file of `shared/`, with its columns and their meaning.

Views cost nothing until they are read; tables are made once for each window, in the order below.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

from halo_receiver.store.reader import Reader
from halo_worker.analysis import lexicon, outcomes, same_call
from halo_worker.analysis.detectors import arguments, claims, endings, final_answer, windows
from halo_worker.analysis.detectors.baselines import Baselines

Kind = Literal["view", "table", "scratch", "counts"]

Item = str | Callable[[Reader], None]

# A table after those it reads, and what Python makes before those that show it.
ORDER: tuple[Item, ...] = (
    "steps", "measures", "baseline_bins", "baselines", "nested", "sub_runs", "calls", "told_results", "results",
    "result_texts", "failed_results", "failed_steps", "tool_counts",
    "output_counts", "root_counts", "good_work", "other_ways", "failures",
    "errors",
    same_call.innermost, final_answer.prepare, "answers", "passed_on", "replies", "asides", "judging", "turns",
    "outcomes", "services_with_tools", "actions", claims.prepare, "claims", "dropped_plans", "requests",
    "request_forms", "rootless", "damaged_arguments", "damaged_calls", "long_inputs", "untimed", "outliers", "shifts",
    "shifted_calls", windows.prepare, "context_windows",
    arguments.prepare, "schema_violations", "schema_enums", "schema_described",
    endings.acts, endings.prepare, outcomes.by_structure, "endings", "failed_work", "unserved_work",
    "user_turns", "frustration", "hits", "explained",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Table:
    """One of them. `scratch`: a table as large as the window; `counts`: one whose rows add up, also over windows."""

    name: str
    about: str
    columns: dict[str, str]
    sql: str
    kind: Kind = "view"


@cache
def known() -> dict[str, Table]:
    """Return the analysis tables by name, in the order they are made."""
    return {item: _read(item) for item in ORDER if isinstance(item, str)}


def counts() -> list[str]:
    """Return the names of the tables whose rows add up: what a report keeps for later windows (`baselines`)."""
    return [name for name, table in known().items() if table.kind == "counts"]


def _text(file: str) -> str:
    folder = resources.files("halo_worker.analysis.detectors").joinpath("shared")
    return folder.joinpath(file).read_text(encoding="utf-8")


def _read(name: str) -> Table:
    _, head, sql = _text(f"{name}.sql").split("---\n", 2)
    return Table(name, sql=sql, **tomllib.loads(head))


_READ_FOR_ACTS = ("judging", "asides", "told_results", "failed_results", "failed_steps", "sub_runs", "replies")

# What Python makes for the tables that show it (what it changes stands for what it makes), and the tables it reads.
_MADE_FOR: dict[Callable[[Reader], None], tuple[tuple[str, ...], tuple[str, ...]]] = {
    same_call.innermost: (("errors",), ()),
    final_answer.prepare: (("answers", "replies", "asides", "judging", "claims"), ()),
    claims.prepare: (("claims",), ("answers", "asides", "judging")),
    windows.prepare: (("context_windows",), ()),
    arguments.prepare: (("schema_violations", "schema_enums", "schema_described"), ()),
    endings.acts: (("endings", "failed_work", "unserved_work"), _READ_FOR_ACTS),
    endings.prepare: (("endings", "unserved_work"), ("failed_work", "answers", "errors", "failed_results")),
    outcomes.by_structure: (("endings", "outcomes"), ("endings",)),
}
_NAME = re.compile(r"\w+")
_MACRO = re.compile(r"CREATE OR REPLACE TEMP MACRO (\w+)")
# Macros that the SQL of these functions uses.
_OF_PYTHON = (
    "admits", "claimant", "ends_run", "error_class", "may_claim", "only_reads", "searches", "stopped_by_limit",
    "tells_why",
)  # fmt: skip


def named_in(statement: str) -> set[str]:
    """Return the analysis tables that a statement names, in whatever case."""
    return set(_NAME.findall(statement.lower())) & known().keys()


def read_by(statements: Iterable[str]) -> set[str]:
    """Return the analysis tables that statements read, and those that these are made of."""
    found: set[str] = set()
    waiting = list(statements)
    while waiting:
        named = named_in(waiting.pop()) - found
        found |= named
        waiting += [known()[name].sql for name in named]
        waiting += [" ".join(reads) for made, reads in _MADE_FOR.values() if not named.isdisjoint(made)]
    return found


def prepare(reader: Reader, only: Iterable[str], missing: Callable[[Item], bool] = lambda _: True) -> None:
    """Make the analysis tables and the macros that statements read, those of the rules that will run.

    Needs what `overview.prepare` makes. `missing` says which tables are not there yet.
    """
    rules = list(only)
    define(reader, rules)
    make(reader, rules, missing)


def define(reader: Reader, rules: Iterable[str]) -> None:
    """Make the macros that statements, and the tables that these read, are written with."""
    statements = list(rules)
    read = [*statements, *(known()[name].sql for name in read_by(statements)), *_OF_PYTHON, _text("macros.sql")]
    named = set(_NAME.findall(" ".join(read)))
    for statement in macros():
        if (name := _MACRO.match(statement)) is None or name[1] in named:
            reader.connection.execute(statement)


def make(
    reader: Reader,
    rules: Iterable[str],
    missing: Callable[[Item], bool] = lambda _: True,
    earlier: Baselines | None = None,
) -> set[Item]:
    """Make the tables that statements read; return what was made. Needs their macros.

    To tables of counts the rows of `earlier` are added.
    """
    wanted = read_by(rules)
    done: set[Item] = set()
    for item in ORDER:
        made = (item,) if isinstance(item, str) else _MADE_FOR[item][0]
        if wanted.isdisjoint(made) or not missing(item):
            continue
        done.add(item)
        if not isinstance(item, str):
            item(reader)
            continue
        _make(reader, known()[item])
        if earlier is not None:
            earlier.add(reader, item)
    return done


@cache
def macros() -> tuple[str, ...]:
    """Return the statements that make the macros of texts, and those of the tables."""
    return (*lexicon.macros(), _text("macros.sql"))


def _make(reader: Reader, table: Table) -> None:
    execute = reader.connection.execute
    if table.kind == "scratch":
        reader.scratch.table(table.name, table.sql)
    else:
        kind = "VIEW" if table.kind == "view" else "TABLE"
        execute(f"CREATE OR REPLACE TEMP {kind} {table.name} AS {table.sql}")

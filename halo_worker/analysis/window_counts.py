"""What spans are told by beside their own trace: counts over the window, which parts of it make and add up.

They are taken right after `_s` is made and before anything is judged by them: the names of models, the names under
which documents are returned, and the services whose tools have spans.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from halo_receiver.store.reader import Reader
from halo_worker.analysis import models, retrieval

Counts = dict[str, list[tuple[Any, ...]]]  # rows by table


@dataclass(frozen=True, slots=True)
class Count:
    """A table of counts: `keys` columns that name a row come first, all others are numbers that add up."""

    sql: str
    keys: int


CALLED = Count(
    "SELECT service_name, count(*) FILTER (span_type = 'tool') AS tools, coalesce(sum(calls), 0)::BIGINT AS calls "
    "FROM _s GROUP BY ALL",
    keys=1,
)
TABLES: Mapping[str, Count] = {
    "_model_names": Count(models.NAMES, keys=3),
    "_listing": Count(retrieval.LISTING, keys=2),
    "_called": CALLED,
}


def take(reader: Reader) -> None:
    """Make the tables of counts. Needs `_s` as it was read."""
    for name, count in TABLES.items():
        reader.connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS {count.sql}")


def rows(reader: Reader) -> Counts:
    """Return what `take` counted."""
    return {name: reader.connection.execute(f"FROM {name}").fetchall() for name in TABLES}


def merged(parts: Iterable[Counts]) -> Counts:
    """Add the counts of parts up."""
    sums: dict[str, dict[tuple[Any, ...], list[int]]] = {name: defaultdict(list) for name in TABLES}
    for part in parts:
        for name, count in TABLES.items():
            for row in part[name]:
                key, numbers = row[: count.keys], row[count.keys :]
                before = sums[name][key] or [0] * len(numbers)
                sums[name][key] = [a + b for a, b in zip(before, numbers, strict=True)]
    return {name: [(*key, *numbers) for key, numbers in found.items()] for name, found in sums.items()}


def put(reader: Reader, counts: Counts) -> None:
    """Make the tables of counts from those of the whole window."""
    for name, count in TABLES.items():
        reader.connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS FROM ({count.sql}) WHERE false")
        if counts[name]:
            marks = ", ".join("?" * len(counts[name][0]))
            reader.connection.executemany(f"INSERT INTO {name} VALUES ({marks})", counts[name])

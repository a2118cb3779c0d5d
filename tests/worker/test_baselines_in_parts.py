"""Baselines of a window that is read in parts, put together again, are those of the whole."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from halo_receiver.span import Span
from halo_receiver.store.reader import Reader
from halo_worker.analysis import overview
from halo_worker.analysis.detectors import tables
from tests.small_spans import agent, llm, opened, tool

if TYPE_CHECKING:
    from collections.abc import Iterator

PARTS, RUNS = 16, 48
CALL = ("find_order", {"id": 1})
BINS = "SELECT measure, service, agent, what, bin, n FROM baseline_bins"
BASELINES = "FROM baselines ORDER BY ALL"


def run(trace: int) -> list[Span]:
    """A run whose calls and prompts are the longer, the later it is."""
    return [
        agent(trace),
        llm(trace, 2, call=CALL, at=10, lasts=100 + trace, tokens=(500 + 10 * trace, 20)),
        tool(trace, 3, *CALL, {"order": 1}, at=400, lasts=50 + 3 * trace),
        llm(trace, 4, "It is on its way.", at=900, lasts=100, tokens=(700 + 20 * trace, 20)),
    ]


@contextmanager
def read(runs: list[list[Span]], folder: Path) -> Iterator[Reader]:
    with opened([span for one in runs for span in one], folder) as reader:
        overview.prepare(reader)
        tables.prepare(reader, only=["FROM baselines"])
        yield reader


def counted(reader: Reader) -> Counter[tuple[object, ...]]:
    return Counter({tuple(row.values())[:-1]: row["n"] for row in reader.query(BINS)})


@pytest.mark.long
def test_baselines_of_sixteen_parts_are_those_of_the_window(tmp_path: Path) -> None:
    runs = [run(trace) for trace in range(1, RUNS + 1)]
    merged: Counter[tuple[object, ...]] = Counter()
    for part in range(PARTS):
        with read(runs[part::PARTS], tmp_path / str(part)) as reader:
            merged += counted(reader)
    with read(runs, tmp_path / "whole") as reader:
        assert merged == counted(reader)
        assert sum(merged.values()) >= 5 * RUNS, "three durations and two prompts of each run"
        expected, execute = reader.query(BASELINES), reader.connection.execute
        execute("DELETE FROM baseline_bins")
        rows = [(*key, n) for key, n in merged.items()]
        reader.connection.executemany("INSERT INTO baseline_bins VALUES (?, ?, ?, ?, ?, ?)", rows)
        execute(f"CREATE OR REPLACE TEMP TABLE baselines AS {tables.known()['baselines'].sql}")
        assert expected
        assert reader.query(BASELINES) == expected

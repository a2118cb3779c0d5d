"""The benchmarks still run: a very small version of each part, without a look at its time."""

from __future__ import annotations

import argparse

import pytest

from benchmarks import ingest


def options(*parts: str, **changes: object) -> argparse.Namespace:
    given = {
        "parts": list(parts), "workload": None, "seconds": 0.2, "pool": 2, "request": 16, "in_flight": 4, "long": 64,
        "segments": 2,
    }  # fmt: skip
    return argparse.Namespace(**{**given, **changes})


@pytest.mark.parametrize("part", ["profile", "naive", "questions"])
def test_a_part_in_this_process_runs(part: str) -> None:
    assert all(figures for figures in ingest.run(options(part)).values())


def test_every_span_that_was_acknowledged_is_stored() -> None:
    """The part itself counts what is stored against what was acknowledged."""
    assert ingest.run(options("throughput", workload=["llm"]))["throughput llm"]["stored / null"] > 0

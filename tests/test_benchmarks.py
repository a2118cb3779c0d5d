"""The benchmarks still run: a very small version of each part, without a look at its time."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import pytest

from benchmarks import h2, ingest, payloads, telemetrygen
from tests.collector import program
from tests.fixtures_receiver import ReceiverProcess

pytestmark = pytest.mark.slow


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


@pytest.mark.skipif(shutil.which("h2load") is None, reason="SKIPPED: h2load is not installed (nghttp2-client)")
def test_a_load_that_is_not_ours_is_acknowledged_to_the_last_request() -> None:
    """The part itself compares what h2load sent with what the receiver counted."""
    assert ingest.run(options("h2load", workload=["plain"]))["h2load plain"]["acknowledged / null"] > 0


@pytest.mark.peer
def test_a_load_through_the_collector_arrives_to_the_last_span() -> None:
    """The part itself counts what was stored."""
    if program("telemetrygen") is None:
        pytest.skip("SKIPPED, telemetrygen is not built: python3 -m tests.collector (needs Go)")
    assert all(telemetrygen.run(50, queues=("disk",)).values())


def test_what_is_refused_counts_neither_as_spans_nor_as_bytes_and_says_why(tmp_path: Path) -> None:
    receiver = ReceiverProcess(tmp_path / "data", HALO_RECEIVER_MIN_FREE_BYTES=str(2**60))
    try:
        got = h2.send(receiver.grpc, payloads.requests("plain", count=2, spans=4), seconds=60, in_flight=2, limit=12)
        assert (got.spans, got.bytes, got.requests, got.refused) == (0, 0, 0, 3)
        (why,) = got.refusals
        assert why == "grpc-status 14: the disk is full: N MiB are free, N are kept free; please retry"
    finally:
        receiver.kill()

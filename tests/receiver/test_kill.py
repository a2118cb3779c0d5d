"""kill -9 at any moment: everything acknowledged is readable exactly once."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from pathlib import Path

import grpc
import pytest

from halo_receiver.store.segment import listed
from tests.conftest import REPOSITORY
from tests.fixtures_receiver import EXPORT, ReceiverProcess, eventually, trace_request
from tests.receiver.killing import verify

pytestmark = pytest.mark.slow

ROUNDS = 50  # more, and through the whole receiver: python -m benchmarks.kill


def test_fifty_kills_under_load_lose_nothing_that_was_acknowledged_and_double_nothing(tmp_path: Path) -> None:
    """Of the spool's writer and of the loader, in any order, while segments roll every few moments."""
    seed = random.randrange(2**32)
    done = subprocess.run(
        [sys.executable, "-m", "tests.receiver.killing", str(tmp_path), str(ROUNDS), str(seed)],
        cwd=REPOSITORY, capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    assert verify(tmp_path) > ROUNDS, f"seed {seed}"
    assert len(listed(tmp_path / "segments")) > 10
    assert listed(tmp_path / "segments", "broken") == []


@pytest.mark.parametrize("victim", ["receiver and loader", "loader alone"])
def test_a_kill_of_the_running_receiver_loses_nothing_either(tmp_path: Path, victim: str) -> None:
    """The whole way, with gRPC in front and a client that sends again what was not answered."""
    data_dir = tmp_path / "data"
    acknowledged: set[int] = set()
    receiver = ReceiverProcess(data_dir, HALO_STORE_ROTATE_SECONDS="0.3")
    stop = threading.Event()

    def send() -> None:
        number = 0
        with grpc.insecure_channel(receiver.grpc) as channel:
            export = channel.unary_unary(EXPORT)
            while not stop.is_set():
                number += 1
                try:
                    export(trace_request(*((number, span) for span in range(1, 21)), size=200), timeout=10)
                except grpc.RpcError:
                    return
                acknowledged.add(number)

    thread = threading.Thread(target=send)
    thread.start()
    eventually(lambda: len(acknowledged) > 40)
    if victim == "loader alone":
        for _ in range(2):
            subprocess.run(["kill", "-9", str(receiver.loader)], check=True)
            more = len(acknowledged) + 20
            eventually(lambda more=more: len(acknowledged) > more)
    else:
        receiver.kill()
    stop.set()
    thread.join()
    if victim != "loader alone":
        receiver = ReceiverProcess(data_dir)
    try:
        rows = receiver.rows("SELECT trace_id, count(*) AS n, count(DISTINCT span_id) AS d FROM spans GROUP BY 1")
    finally:
        receiver.kill()
    assert acknowledged <= {int(row["trace_id"], 16) for row in rows}
    assert {(row["n"], row["d"]) for row in rows} == {(20, 20)}

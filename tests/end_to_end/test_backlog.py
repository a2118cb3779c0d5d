"""What was acknowledged and is not loaded yet: every reader says so, a run loads it first, and nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from halo_receiver import backlog, spool
from halo_receiver.store.lock import DirectoryLock, holder
from tests.end_to_end.conftest import Halo
from tests.fixtures_receiver import ReceiverProcess, eventually, trace_request

SPANS = 300
WAITS = "acknowledged since 20"


@pytest.fixture
def left(tmp_path: Path) -> Iterator[Path]:
    """A data directory whose receiver was killed with spans in the spool."""
    receiver = ReceiverProcess(tmp_path / "data")
    try:
        os.kill(receiver.loader, signal.SIGSTOP)
        for number in range(1, SPANS + 1):
            receiver.export(trace_request((number, 1)))
    finally:
        receiver.kill()
    return tmp_path / "data"


def test_every_reader_says_what_waits_and_since_when(halo: Halo, left: Path) -> None:
    for words in (["query", "SELECT count(*) AS n FROM spans"], ["traces"]):
        said = halo.attempt(*words).stderr.decode()
        assert WAITS in said, said
        assert "so not among what is read: 'halo up' or 'halo receive --drain' loads it" in said
    rows = json.loads(halo("doctor", "--format", "json", code=1))
    [(state, says)] = [(row["state"], row["says"]) for row in rows if row["check"] == "spool"]
    assert (state, WAITS in says) == ("problem", True)


def test_a_run_loads_it_first(halo: Halo, left: Path) -> None:
    done = halo.attempt("run", "--detectors-only", "--format", "json")
    assert done.returncode == 0, done.stderr.decode()
    assert b"loading first: " in done.stderr
    assert json.loads(done.stdout)["coverage"]["spans"] == SPANS
    assert backlog.waiting(left) is None
    assert WAITS not in halo.attempt("traces").stderr.decode()


def test_a_run_that_may_not_load_says_so_in_the_report(halo: Halo, left: Path) -> None:
    """As where the spans are another user's, or the receiver is about to start."""
    with DirectoryLock(backlog.writer_lock(left), "somebody"):
        report = json.loads(halo("run", "--detectors-only", "--format", "json"))
    assert [note for note in report["coverage"]["not_examined"] if WAITS in note]
    assert report["coverage"]["spans"] == 0
    assert backlog.waiting(left) is not None


def test_drain_loads_and_ends(halo: Halo, left: Path) -> None:
    said = halo.attempt("receive", "--drain").stderr.decode()
    assert "loaded: " in said, said
    assert halo.query("SELECT count(*) AS n FROM spans") == [{"n": SPANS}]
    assert "nothing waits in the spool" in halo.attempt("receive", "--drain").stderr.decode()


def test_a_drain_gives_way_to_a_receiver(left: Path) -> None:
    """The receiver waits for the lock, and whoever drains sees that it does."""
    ports = ["--grpc-endpoint", "127.0.0.1:0", "--http-endpoint", "off"]
    lock = DirectoryLock(backlog.writer_lock(left), "a drain of the spool").acquire()
    receiver = subprocess.Popen([sys.executable, "-m", "halo_receiver", "--data-dir", str(left), *ports])
    try:
        eventually(lambda: holder(left / "segments" / "turn.lock"), seconds=60)
        lock.release()
        eventually(lambda: address_pid(left) == receiver.pid, seconds=60)
    finally:
        lock.release()
        receiver.kill()
        receiver.wait()


def address_pid(data_dir: Path) -> int:
    try:
        return int(json.loads((data_dir / "receiver.json").read_text())["pid"])
    except (OSError, ValueError):
        return 0


def test_a_stop_that_leaves_a_backlog_logs_it(tmp_path: Path) -> None:
    receiver = ReceiverProcess(tmp_path / "data", HALO_RECEIVER_DRAIN_SECONDS="1")
    try:
        os.kill(receiver.loader, signal.SIGSTOP)
        receiver.export(trace_request((1, 1)))
        receiver.terminate()
    finally:
        receiver.kill()
    [line] = [line for line in receiver.log().splitlines() if "backlog left" in line]
    assert " WARNING " in line
    waiting = backlog.waiting(tmp_path / "data")
    assert waiting is not None
    assert f"bytes={waiting.bytes} since=20" in line


def test_nothing_waits_after_an_ordinary_stop_nor_where_nothing_was_acknowledged(tmp_path: Path) -> None:
    receiver = ReceiverProcess(tmp_path / "data")
    receiver.export(trace_request((1, 1)))
    assert receiver.terminate() == 0
    assert backlog.waiting(tmp_path / "data") is None
    [newest] = spool.file_numbers(tmp_path / "data" / "spool")[-1:]
    with (tmp_path / "data" / "spool" / spool.file_name(newest)).open("ab") as file:
        file.write(b"HSP2 torn")
    assert backlog.waiting(tmp_path / "data") is None
    assert backlog.waiting(tmp_path / "nowhere") is None

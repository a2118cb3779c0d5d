"""`halo up`: both halves in one command, stopped without losing anything, started again where it ended."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace

import pytest

from halo_worker.cli import kept_child
from halo_worker.cli.kept_child import ReceiverChild
from halo_worker.config import load_settings
from tests.end_to_end.conftest import Halo, Service, alive, eventually, free_port, send_spans
from tests.sampled import sampled

COUNT = "SELECT count(*) AS n, count(DISTINCT trace_id || span_id) AS different FROM spans"


def test_what_was_acknowledged_is_seen_at_once(halo: Halo, receiver: Service) -> None:
    """`halo query` has the receiver seal first."""
    address = receiver.address()
    assert address
    send_spans(address["grpc"], 120)
    assert halo.query(COUNT) == [{"n": 120, "different": 120}]
    assert receiver.stop() == 0


@pytest.mark.parametrize("stop", sampled([signal.SIGTERM, signal.SIGINT], 1))
def test_a_stop_drains_and_a_second_start_continues(halo: Halo, serve: Callable[..., Service], stop: int) -> None:
    for start, total in ((1, 60), (2, 120)):
        service = serve("up")
        address = eventually(service.address, what=f"start {start} is ready")
        send_spans(address["grpc"], 60)
        assert service.stop(stop) == 0, service.said
        # No process is left to ask: what is there is sealed.
        assert not list((halo.data_dir / "segments").glob("*.open"))
        assert not (halo.data_dir / "receiver.json").exists()
        assert halo.query(COUNT) == [{"n": total, "different": total}]


def test_receive_and_work_are_the_halves(halo: Halo, serve: Callable[..., Service]) -> None:
    """Two processes on one directory; `halo run` analyses what the first took."""
    receive, work = serve("receive"), serve("work")
    address = eventually(receive.address, what="receive is ready")
    send_spans(address["grpc"], 40)
    halo("run", "--last", "1h", "--detectors-only")
    assert receive.stop() == 0, receive.said
    assert work.stop() == 0, work.said


def test_a_receiver_that_is_killed_is_started_again_and_said(halo: Halo, receiver: Service) -> None:
    before = receiver.address()
    assert before
    send_spans(before["grpc"], 20)
    os.kill(before["pid"], signal.SIGKILL)
    again = eventually(
        lambda: (now := receiver.address()) and now["pid"] != before["pid"] and now, what="a receiver listens again"
    )
    assert "receiver ended unexpectedly code=-9" in receiver.said
    assert f"receiver started again process={again['pid']}" in receiver.said
    send_spans(again["grpc"], 20)
    assert halo.query(COUNT) == [{"n": 40, "different": 40}]
    assert receiver.stop() == 0, receiver.said


def test_the_pause_before_a_restart_doubles(monkeypatch: pytest.MonkeyPatch) -> None:
    """A receiver that cannot start, as while its port is taken, is not started in a loop."""
    ended = SimpleNamespace(pid=1, returncode=2, poll=lambda: 2)
    now, starts, said = [0.0], [], []
    monkeypatch.setattr(kept_child.child_processes, "start", lambda *_, **__: starts.append(now[0]) or ended)
    monkeypatch.setattr(kept_child.time, "monotonic", lambda: now[0])
    child = ReceiverChild(load_settings(environment={}), [], say=lambda what, **_: said.append(what))
    while now[0] < 200:
        child.look()
        now[0] += 0.5
    pauses = [round(after - before) for before, after in pairwise(starts)]
    assert pauses[:7] == [1, 2, 4, 8, 16, 32, 60]
    assert set(said) == {"receiver ended unexpectedly", "receiver started again"}


def test_a_halo_up_that_is_killed_leaves_no_receiver_and_the_next_one_starts(
    halo: Halo, serve: Callable[..., Service]
) -> None:
    """The next one may come while the receiver still loads what it acknowledged."""
    first = serve("up")
    address = eventually(first.address, what="the first is ready")
    send_spans(address["grpc"], 200)
    first.process.kill()
    second = serve("up")
    after = eventually(lambda: (now := second.address()) and now["pid"] != address["pid"] and now, what="a second one")
    assert not alive(address["pid"])
    send_spans(after["grpc"], 20)
    assert halo.query(COUNT) == [{"n": 220, "different": 220}]


def test_a_directory_in_use_is_one_clear_line(halo: Halo, receiver: Service) -> None:
    second = halo.attempt("up", "--grpc-endpoint", "127.0.0.1:0", "--http-endpoint", "off", timeout=60)
    said = second.stderr.decode()
    assert second.returncode == 2
    assert "error: " in said
    assert "in use" in said
    assert "Traceback" not in said


def test_a_port_in_use_is_one_clear_line(halo: Halo, receiver: Service) -> None:
    address = receiver.address()
    assert address
    other = Halo(halo.directory, halo.directory / "other")
    second = other.attempt("up", "--grpc-endpoint", address["grpc"], "--http-endpoint", "off", timeout=60)
    said = second.stderr.decode()
    assert second.returncode == 2
    assert address["grpc"].rpartition(":")[2] in said
    assert "Traceback" not in said


def test_a_collector_that_comes_first_finds_the_receiver_later(halo: Halo, serve: Callable[..., Service]) -> None:
    """The endpoint given is the endpoint that listens."""
    port = free_port()
    service = serve("receive", "--grpc-endpoint", f"127.0.0.1:{port}")
    eventually(service.address, what="receive is ready")
    send_spans(f"127.0.0.1:{port}", 10)
    assert halo.query(COUNT) == [{"n": 10, "different": 10}]

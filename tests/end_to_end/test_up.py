"""`halo up`: both halves in one command, stopped without losing anything, started again where it ended."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from tests.end_to_end.conftest import Halo, Service, eventually, free_port, send_spans

COUNT = "SELECT count(*) AS n, count(DISTINCT trace_id || span_id) AS different FROM spans"


def test_what_was_acknowledged_is_seen_at_once(halo: Halo, receiver: Service) -> None:
    """`halo query` has the receiver seal first."""
    address = receiver.address()
    assert address
    send_spans(address["grpc"], 120)
    assert halo.query(COUNT) == [{"n": 120, "different": 120}]
    assert receiver.stop() == 0


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
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

"""The receiver away, killed, full or slow; the Collector restarted or killed. No span that one of them took is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from tests.collector.process import DROPPED, RETRIED, Collector, Configuration, configuration, exporter, spans
from tests.end_to_end.real_collector.conftest import Collect, Receivers
from tests.fixtures_receiver import ReceiverProcess, eventually

pytestmark = pytest.mark.peer
BOTH = ("grpc", "http")


def both(receivers: Receivers, **settings: object) -> Configuration:
    """Exporters to the two ports, of which each trace takes one."""
    return {
        "otlp_grpc/grpc": exporter(receivers.grpc, **settings),
        "otlp_http/http": exporter(receivers.http, **settings),
    }


def send(collector: Collector, first: int, number: int = 10, size: int = 0) -> None:
    for name in BOTH:
        collector.send(spans(first, number, service=name, size=size), f"otlp/{name}")


def test_a_receiver_that_is_restarted_and_one_that_is_killed_lose_nothing(
    collect: Collect, receivers: Receivers
) -> None:
    """What it acknowledged is on disk, and what it did not the Collector sends again, to the same address."""
    receivers.start()
    collector = collect(configuration(both(receivers)))
    sent = 0
    for end in (ReceiverProcess.terminate, ReceiverProcess.kill):
        for _ in range(10):
            send(collector, sent)
            sent += 10
        end(receivers.now)
        send(collector, sent)
        sent += 10
        for name in BOTH:
            eventually(lambda name=name: retried(collector, name))
        receivers.start()
    receivers.shows(grpc=sent, http=sent)
    assert not collector.log(DROPPED)


def retried(collector: Collector, name: str) -> list[str]:
    """The errors upon which an exporter said that it would try again."""
    return [entry["error"] for entry in collector.log(RETRIED) if entry["otelcol.component.id"].endswith(f"/{name}")]


def test_a_receiver_that_does_not_answer_in_time_is_sent_to_again_and_shows_each_span_once(
    collect: Collect, receivers: Receivers
) -> None:
    """As on a machine that is suspended: the requests wait in its sockets, and so do those that repeat them."""
    receivers.start()
    collector = collect(configuration(both(receivers, timeout="300ms")))
    send(collector, 0)
    receivers.shows(grpc=10, http=10)
    os.kill(receivers.now.process.pid, signal.SIGSTOP)
    try:
        send(collector, 10)
        for name in BOTH:
            eventually(lambda name=name: len(retried(collector, name)) >= 2)
    finally:
        os.kill(receivers.now.process.pid, signal.SIGCONT)
    assert "DeadlineExceeded" in retried(collector, "grpc")[0]
    receivers.shows(grpc=20, http=20)
    assert not collector.log(DROPPED)


def test_a_receiver_that_is_full_is_sent_to_again_when_it_said(collect: Collect, receivers: Receivers) -> None:
    """Its loader stands still, so what it may hold unloaded is soon reached; then it goes on."""
    receivers.start(HALO_RECEIVER_MAX_BACKLOG_BYTES=str(2**20), HALO_RECEIVER_RETRY_SECONDS="2")
    loader = receivers.now.loader
    collector = collect(configuration(both(receivers)))
    sent = 0

    def refused() -> bool:
        nonlocal sent
        send(collector, sent, 1, size=2**18)
        sent += 1
        return all(retried(collector, name) for name in BOTH)

    os.kill(loader, signal.SIGSTOP)
    try:
        eventually(refused)
    finally:
        os.kill(loader, signal.SIGCONT)
    for entry in collector.log(RETRIED):
        assert "code = Unavailable" in entry["error"]
        assert entry["interval"] == "2s"
    receivers.shows(grpc=sent, http=sent)
    assert not collector.log(DROPPED)


@pytest.mark.parametrize("end", [Collector.stop, Collector.kill])
def test_a_collector_with_its_queue_on_disk_is_restarted_and_sends_what_it_held(
    collect: Collect, receivers: Receivers, tmp_path: Path, end: Callable[[Collector], None]
) -> None:
    """halo is away meanwhile, so that everything lies in the queue, some of it being tried at that moment."""
    receivers.start()
    receivers.now.terminate()
    storage = {"file_storage": {"directory": str(tmp_path / "queue"), "create_directory": True}}
    batch = {"flush_timeout": "100ms", "sizer": "bytes", "min_size": 2**14, "max_size": 2**20}
    queue = {"storage": "file_storage", "sizer": "bytes", "queue_size": 2**30, "batch": batch}
    configured = configuration(both(receivers, sending_queue=queue), extensions=storage)
    collector = collect(configured)
    for number in range(30):
        send(collector, 10 * number)
    for name in BOTH:
        eventually(lambda name=name: retried(collector, name))
    end(collector)
    collector = collect(configured)
    send(collector, 300)
    receivers.start()
    receivers.shows(grpc=310, http=310)
    assert not collector.log(DROPPED)


@pytest.mark.parametrize(
    ("processors", "queue"),
    [
        pytest.param({}, {"sizer": "bytes", "queue_size": 2**12}, id="queue"),
        pytest.param({"memory_limiter": {"check_interval": "50ms", "limit_mib": 2}}, {}, id="memory"),
    ],
)
def test_a_collector_that_is_full_tells_its_senders_to_come_back(
    collect: Collect, receivers: Receivers, processors: Configuration, queue: Configuration
) -> None:
    """Which is how what it cannot hold stays with them, while halo is away."""
    receivers.start()
    receivers.now.terminate()
    way = {"otlp_grpc/a": exporter(receivers.grpc, sending_queue=queue)}
    collector = collect(configuration(way, processors=processors))
    codes = []

    def refused() -> bool:
        try:
            collector.send(spans(0, 10, service="a", size=100), "otlp/a")
        except grpc.RpcError as error:
            codes.append(error.code())
        return bool(codes)

    eventually(refused)
    assert codes == [grpc.StatusCode.UNAVAILABLE]

"""A second collector in front, unlike the upstream one (`real_collector/`): rotel, as its wheel carries it.

It has no queue on disk and sets no deadline, and it comes again at its own times, whatever RetryInfo says.
"""

from __future__ import annotations

import importlib.resources
import os
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Halo, Service, environment, eventually, free_port, send_spans

pytestmark = pytest.mark.peer


@pytest.fixture
def collector(receiver: Service, tmp_path: Path) -> Iterator[str]:
    """rotel, forwarding to the receiver; its OTLP/gRPC endpoint."""
    try:
        packed = importlib.resources.files("rotel") / "rotel-agent"
    except ModuleNotFoundError:
        pytest.skip("the rotel wheel is not installed: pip install -r requirements-dev.txt (Linux only)")
    binary = tmp_path / "rotel-agent"  # the wheel does not set the bit that makes it a program
    shutil.copyfile(str(packed), binary)
    binary.chmod(binary.stat().st_mode | stat.S_IXUSR)
    address = receiver.address()
    assert address
    grpc_port, http_port = free_port(), free_port()
    log = tmp_path / "rotel.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [
                str(binary), "start",
                "--otlp-grpc-endpoint", f"127.0.0.1:{grpc_port}", "--otlp-http-endpoint", f"127.0.0.1:{http_port}",
                "--exporter", "otlp", "--otlp-exporter-endpoint", f"http://{address['grpc']}",
                "--otlp-exporter-protocol", "grpc", "--otlp-exporter-compression", "gzip",
                # Above what the test sends: where this rotel (0.0.1a15) splits a batch, a part loses its resource.
                "--batch-max-size", "8192", "--batch-timeout", "200ms",
            ],
            stdout=file, stderr=file, env=environment(), cwd=tmp_path,
        )  # fmt: skip

    def listens() -> bool:
        assert process.poll() is None, log.read_text(errors="replace")
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", grpc_port)) == 0

    try:
        eventually(listens, what="rotel listens")
        yield f"127.0.0.1:{grpc_port}"
    finally:
        process.terminate()
        process.wait(20)


LINUX = pytest.mark.skipif(os.uname().sysname != "Linux", reason="rotel's wheel carries a Linux binary")
PAUSE_SECONDS = float(os.environ.get("HALO_PAUSE_SECONDS", "1"))  # benchmarks/README.md: a minute
COUNT = "SELECT count(*) AS n, count(DISTINCT span_id) AS different FROM spans"


@LINUX
def test_every_span_sent_through_the_collector_is_found(halo: Halo, collector: str) -> None:
    send_spans(collector, 3_000, service="behind-rotel")
    sql = "SELECT count(*) AS n, count(DISTINCT span_id) AS different, min(service_name) AS service FROM spans"
    wanted = [{"n": 3_000, "different": 3_000, "service": "behind-rotel"}]
    found: list[dict[str, object]] = []

    def all_there() -> bool:
        found[:] = halo.query(sql)
        return found == wanted

    eventually(all_there, what=lambda: f"halo query finds all 3,000 spans, not {found}")
    chats = halo.query("SELECT model, count(*) AS n FROM spans WHERE span_type = 'llm' GROUP BY model")
    assert chats == [{"model": "gpt-4o-mini", "n": 1_500}]


@LINUX
def test_a_receiver_that_is_stopped_for_a_while_loses_nothing_of_what_the_collector_took(
    halo: Halo, receiver: Service, collector: str
) -> None:
    """As a machine that is suspended: the collector's requests wait, and are answered when it goes on."""
    address = receiver.address()
    assert address
    os.kill(address["pid"], signal.SIGSTOP)
    try:
        end = time.monotonic() + PAUSE_SECONDS
        total = 0
        while not total or time.monotonic() < end:
            send_spans(collector, 500, service="while-stopped")
            total += 500
    finally:
        os.kill(address["pid"], signal.SIGCONT)
    eventually(lambda: halo.query(COUNT) == [{"n": total, "different": total}], what=f"all {total} spans")


@LINUX
def test_a_receiver_that_is_killed_and_started_again_loses_nothing_of_what_the_collector_took(
    halo: Halo, receiver: Service, collector: str, serve: Callable[..., Service]
) -> None:
    """The collector tries again until the same address answers; what was stored before the kill is shown once."""
    address = receiver.address()
    assert address
    send_spans(collector, 500)
    receiver.process.kill()  # else it would start the receiver again, on another free port
    os.kill(address["pid"], signal.SIGKILL)
    receiver.process.wait(60)
    send_spans(collector, 500)
    again = serve("up", "--grpc-endpoint", address["grpc"])
    eventually(lambda: (found := again.address()) and found["pid"] != address["pid"], what="the receiver is up again")
    eventually(lambda: halo.query(COUNT) == [{"n": 1000, "different": 1000}], what="all 1,000 spans")

"""A real collector in front: the rotel binary, as its wheel carries it, speaking gzip over gRPC."""

from __future__ import annotations

import importlib.resources
import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Halo, Service, environment, eventually, free_port, send_spans


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


@pytest.mark.skipif(os.uname().sysname != "Linux", reason="rotel's wheel carries a Linux binary")
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

"""halo as a user runs it: processes, ports, files. Nothing is faked, nobody sleeps: tests poll, with a deadline."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from grpc import Compression
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

HALO = [sys.executable, "-m", "halo_worker"]
DEADLINE = 60.0


def environment() -> dict[str, str]:
    """The environment without anything that configures halo, a model or an exporter."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HALO_", "OPENAI_", "OTEL_"))}
    return {**kept, "HALO_PAGE_ENDPOINT": "off"}  # its port is one; tests/page starts it on another


def eventually(ask: Callable[[], Any], *, what: str | Callable[[], str], seconds: float = DEADLINE) -> Any:
    """Ask until the answer is true, and return it; fails, saying what it waited for, when time is up."""
    deadline = time.monotonic() + seconds
    while not (answer := ask()):
        if time.monotonic() > deadline:
            pytest.fail(f"after {seconds:.0f} s still not so: {what() if callable(what) else what}")
        time.sleep(0.05)
    return answer


def free_port() -> int:
    """A port that was free a moment ago, for programs that cannot tell which one they took."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@dataclass
class Halo:
    """The command, in a directory of its own."""

    directory: Path
    data_dir: Path

    def __call__(self, *arguments: str, code: int = 0, timeout: float = 120, stdin: bytes | None = None) -> str:
        """Run one command to its end and return its stdout."""
        done = self.attempt(*arguments, timeout=timeout, stdin=stdin)
        assert done.returncode == code, f"halo {' '.join(arguments)} exited {done.returncode}:\n{done.stderr.decode()}"
        return done.stdout.decode()

    def attempt(
        self, *arguments: str, timeout: float = 120, stdin: bytes | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run one command to its end, whatever that is."""
        command, *rest = arguments
        return subprocess.run(
            [*HALO, command, "--data-dir", str(self.data_dir), *rest],
            cwd=self.directory, env=environment(), input=stdin, capture_output=True, timeout=timeout, check=False,
        )  # fmt: skip

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Ask `halo query`, as a script would."""
        rows: list[dict[str, Any]] = json.loads(self("query", "--format", "json", sql))
        return rows


@dataclass
class Service:
    """A `halo up` (or `receive`, `work`) that runs."""

    process: subprocess.Popen[bytes]
    log: Path
    data_dir: Path

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def address(self) -> dict[str, Any] | None:
        """What the receiver left in receiver.json, once it is this process or its child."""
        assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.said}"
        try:
            document: dict[str, Any] = json.loads((self.data_dir / "receiver.json").read_text())
        except (OSError, ValueError):
            return None
        return document if alive(int(document["pid"])) else None

    def stop(self, number: int = signal.SIGTERM, seconds: float = DEADLINE) -> int:
        """Ask it to end and return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(seconds)


def alive(pid: int) -> bool:
    """Whether a process is there, and not only its exit code."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def halo(tmp_path: Path) -> Halo:
    return Halo(tmp_path, tmp_path / "data")


@pytest.fixture
def serve(halo: Halo) -> Iterator[Callable[..., Service]]:
    """Start long-running commands on free ports; what still runs at the end is ended."""
    running: list[Service] = []

    def start(command: str = "up", *arguments: str) -> Service:
        log = halo.directory / f"{command}-{len(running)}.log"
        ports = ["--grpc-endpoint", "127.0.0.1:0", "--http-endpoint", "127.0.0.1:0"] if command != "work" else []
        with log.open("wb") as file:
            process = subprocess.Popen(
                [*HALO, command, "--data-dir", str(halo.data_dir), *ports, *arguments],
                cwd=halo.directory, env=environment(), stdout=file, stderr=file,
            )  # fmt: skip
        service = Service(process, log, halo.data_dir)
        running.append(service)
        return service

    yield start
    for service in running:
        if service.process.poll() is None:
            service.process.terminate()
            try:
                service.process.wait(30)
            except subprocess.TimeoutExpired:
                service.process.kill()
                service.process.wait()


@pytest.fixture
def receiver(serve: Callable[..., Service]) -> Service:
    """A running `halo up`, ready to take spans."""
    service = serve("up")
    eventually(service.address, what="receiver.json names the receiver")
    return service


def send_spans(endpoint: str, number: int, *, service: str = "test-agent") -> None:
    """Make spans with the SDK and export them as its batch processor does, gzipped; returns when all are answered."""
    exporter = OTLPSpanExporter(endpoint, insecure=True, compression=Compression.Gzip, timeout=20)
    provider = TracerProvider(resource=Resource({"service.name": service}), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=10_000, max_export_batch_size=200))
    tracer = provider.get_tracer("test")
    for index in range(number // 2):
        with tracer.start_as_current_span("invoke_agent test", attributes={"gen_ai.operation.name": "invoke_agent"}):
            attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o-mini", "test.index": index}
            tracer.start_span("chat gpt-4o-mini", attributes=attributes).end()
    assert provider.force_flush(30_000)
    provider.shutdown()

"""A real receiver in its own process, and what speaks to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc

from halo_receiver.otlp_messages import TraceRequest
from halo_receiver.store.reader import Reader
from halo_worker import segments_client

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


def eventually(question: Callable[[], Any], *, seconds: float = 20) -> Any:
    """Ask until the answer is true; fails the test when it never is."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while time.monotonic() < deadline:
        if answer := question():
            return answer
        pause.wait(0.02)
    raise AssertionError(f"not within {seconds} s")


class ReceiverProcess:
    """`python -m halo_receiver` on free ports."""

    def __init__(self, data_dir: Path, *arguments: str, **environment: str) -> None:
        self.data_dir = data_dir
        self.log_path = data_dir.parent / f"{data_dir.name}.log"
        self._log = self.log_path.open("ab")
        (data_dir / "receiver.json").unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "halo_receiver", "--data-dir", str(data_dir),
                "--grpc-endpoint", "127.0.0.1:0", "--http-endpoint", "127.0.0.1:0", *arguments,
            ],
            stderr=self._log, env={**os.environ, **environment}, start_new_session=True,
        )  # fmt: skip
        try:
            self.address = eventually(self._address, seconds=60)
        except AssertionError:
            self.kill()
            raise AssertionError(self.log()) from None

    def _address(self) -> dict[str, Any] | None:
        if self.process.poll() is not None:
            raise AssertionError(f"the receiver ended with {self.process.returncode}: {self.log()}")
        try:
            document: dict[str, Any] = json.loads((self.data_dir / "receiver.json").read_text())
        except (OSError, ValueError):
            return None
        return document if document["pid"] == self.process.pid else None

    @property
    def grpc(self) -> str:
        return str(self.address["grpc"])

    @property
    def http(self) -> str:
        return f"http://{self.address['http']}"

    def log(self) -> str:
        return self.log_path.read_text()

    def export(self, body: bytes, *, path: str = EXPORT, timeout: float = 20, **metadata: str) -> bytes:
        with grpc.insecure_channel(self.grpc) as channel:
            return bytes(channel.unary_unary(path)(body, timeout=timeout, metadata=tuple(metadata.items())))

    def rows(self, sql: str) -> list[dict[str, Any]]:
        sealed = segments_client.seal(self.data_dir)
        assert sealed.answered, sealed.reason
        with Reader.open(self.data_dir) as reader:
            return reader.query(sql)

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self._log.close()
        return code

    def kill(self) -> None:
        """Kill the receiver and its loader, as a crash of the machine's container would."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(20)
        self._log.close()


def trace_request(*ids: tuple[int, int], name: str = "work", service: str = "svc", size: int = 0) -> bytes:
    """Build a request of spans with the given (trace, span) numbers."""
    request = TraceRequest()
    resource_spans = request.resource_spans.add()
    resource_spans.resource.attributes.add(key=b"service.name", value={"string_value": service.encode()})
    scope_spans = resource_spans.scope_spans.add()
    for trace, span in ids:
        message = scope_spans.spans.add()
        message.trace_id, message.span_id = trace.to_bytes(16, "big"), span.to_bytes(8, "big")
        message.name = name.encode()
        message.start_time_unix_nano, message.end_time_unix_nano = 10**18, 10**18 + 1000
        if size:
            message.attributes.add(key=b"payload", value={"string_value": b"x" * size})
    return bytes(request.SerializeToString())

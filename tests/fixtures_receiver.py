"""A real receiver in its own process, and what speaks to it."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

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


@contextlib.contextmanager
def small_disk(disk: Path, options: str) -> Iterator[Path]:
    """Mount a file system of its own at `disk`; skips the test where that is not allowed."""
    disk.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"SKIPPED, a full disk is not tested: mounting a tmpfs needs root: {done.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


def post(url: str, body: bytes | None, *, method: str = "POST", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Send a request over HTTP; status, headers and body of the answer, whatever the status."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, body, named, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


class RawHttp2:
    """Just enough HTTP/2 to send what no gRPC library would."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=10)
        self.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + self._frame(4, 0, 0, b""))

    @staticmethod
    def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload

    def ping(self) -> None:
        self.socket.sendall(self._frame(6, 0, 0, bytes(8)))

    def begin(self, path: str, length: int, sent: bytes, **headers: str | bytes) -> None:
        """Begin a request of one message of that length, and send no more of it than this."""
        self.request(path, b"", end=False, **headers)
        self.socket.sendall(self._frame(0, 0, 1, b"\0" + struct.pack(">I", length) + sent))

    def request(self, path: str, message: bytes, *, end: bool = True, **headers: str | bytes) -> None:
        named: dict[str, str | bytes] = {
            ":method": "POST", ":scheme": "http", ":path": path, ":authority": "x", "te": "trailers",
            "content-type": "application/grpc", **{name.replace("_", "-"): text for name, text in headers.items()},
        }  # fmt: skip
        block = b""
        for name, value in named.items():
            text = value.encode() if isinstance(value, str) else value
            block += b"\0" + bytes([len(name)]) + name.encode() + bytes([len(text)]) + text
        self.socket.sendall(self._frame(1, 4, 1, block))
        if end:
            compressed = bytes([1 if "grpc_encoding" in headers else 0])
            self.socket.sendall(self._frame(0, 1, 1, compressed + struct.pack(">I", len(message)) + message))

    def read_until(self, wanted: bytes) -> bytes:
        """Read until something came; fails when the connection ends, or ten seconds pass, before."""
        came = b""
        while wanted not in came:
            part = self.socket.recv(65536)
            assert part, f"the connection ended; before that came {came!r}"
            came += part
        return came


class ReceiverProcess:
    """`python -m halo_receiver` on free ports. `patch` is Python that runs before it, in its process."""

    def __init__(self, data_dir: Path, *arguments: str, patch: str = "", **environment: str) -> None:
        self.data_dir = data_dir
        self.log_path = data_dir.parent / f"{data_dir.name}.log"
        self._log = self.log_path.open("ab")
        (data_dir / "receiver.json").unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [
                sys.executable, "-c", f"{patch}\nfrom halo_receiver.__main__ import main; main()",
                "--data-dir", str(data_dir),
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

    def metrics(self) -> str:
        return post(f"{self.http}/metrics", None, method="GET")[2].decode()

    def metric(self, name: str) -> float:
        """The sum of all series of that name."""
        lines = [line for line in self.metrics().splitlines() if line.split("{")[0].split(" ")[0] == name]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    def children(self, module: str) -> list[int]:
        """The receiver's descendants that run a module."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    command = (entry / "cmdline").read_bytes()
                    group = os.getpgid(int(entry.name))
                except OSError:
                    continue
                if module.encode() in command and group == self.process.pid:
                    found.append(int(entry.name))
        return found

    @property
    def loader(self) -> int:
        """The loader's pid."""
        return int(eventually(lambda: self.children("halo_receiver.loader_process"))[0])

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


@functools.cache
def _noise(size: int) -> bytes:
    """Text that does not become shorter when it is packed."""
    return random.Random(size).randbytes(size // 2 + 1).hex().encode()[:size]


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
            message.attributes.add(key=b"payload", value={"string_value": _noise(size)})
    return bytes(request.SerializeToString())

"""The Collector as a process that tests start, send to, read the log of, restart and kill."""

from __future__ import annotations

import json
import signal
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc

from tests.collector import program
from tests.fixtures_receiver import EXPORT, eventually, post, trace_request

READY = "Everything is ready. Begin running and processing data."
DROPPED = "Exporting failed. Dropping data."
RETRIED = "Exporting failed. Will retry the request after interval."
MAX_MIB = 64  # of a request, as halo and deploy/collector.yaml have it; the Collector's own defaults are 4 and 20
Configuration = dict[str, Any]

# For programs to read: every line of the log, as JSON; no metrics, whose fixed port two Collectors could not share.
LOGS: Configuration = {"encoding": "json", "sampling": {"enabled": False}}
TELEMETRY: Configuration = {"service": {"telemetry": {"logs": LOGS, "metrics": {"level": "none"}}}}
OTLP: Configuration = {
    "protocols": {
        "grpc": {"endpoint": "127.0.0.1:0", "max_recv_msg_size_mib": MAX_MIB},
        "http": {"endpoint": "127.0.0.1:0", "max_request_body_size": MAX_MIB * 2**20},
    }
}


def exporter(endpoint: str, **settings: Any) -> Configuration:
    """An OTLP exporter that retries for ever, soon, and sends what it gets as it comes."""
    return {
        "endpoint": endpoint,
        "tls": {"insecure": True},
        "timeout": "5s",
        "retry_on_failure": {"initial_interval": "100ms", "max_interval": "1s", "max_elapsed_time": "0s"},
        **settings,
    }


def configuration(exporters: Configuration, *, processors: Configuration | None = None, **top: Any) -> Configuration:
    """One pipeline an exporter, each with a receiver of its own: `otlp_grpc/a` is reached through `otlp/a`.

    `top` are further sections, such as `extensions`, which are also started.
    """
    names = {name: name.partition("/")[2] for name in exporters}
    processors = processors or {}
    service: Configuration = {
        "extensions": list(top.get("extensions", {})),
        "pipelines": {
            f"traces/{own}": {"receivers": [f"otlp/{own}"], "processors": list(processors), "exporters": [name]}
            for name, own in names.items()
        },
    }
    receivers = {f"otlp/{own}": OTLP for own in names.values()}
    return {"receivers": receivers, "processors": processors, "exporters": exporters, **top, "service": service}


class Collector:
    """A running Collector. `files` are configurations in YAML that it merges, the later ones over the earlier."""

    def __init__(self, directory: Path, *files: Path | Configuration) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.log_path = directory / "collector.log"
        arguments = [str(program("collector"))]
        for number, file in enumerate((*files, TELEMETRY)):
            if not isinstance(file, Path):
                path = directory / f"{number}.yaml"
                path.write_text(json.dumps(file))  # JSON is YAML
                file = path
            arguments.append(f"--config={file}")
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(arguments, stdout=log, stderr=log, cwd=directory)
        try:
            eventually(self._ready, seconds=30)
        except AssertionError:
            self.kill()
            raise AssertionError(self.log_path.read_text()) from None

    def _ready(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"the Collector ended with {self.process.returncode}")
        return READY in self.log_path.read_text()

    def log(self, message: str, *, component: str = "") -> list[dict[str, Any]]:
        """What it logged with that message, optionally of one component, such as `otlp_grpc/a`."""
        found = [entry for entry in self.entries() if entry.get("msg") == message]
        return [entry for entry in found if not component or entry.get("otelcol.component.id") == component]

    def entries(self) -> Iterator[dict[str, Any]]:
        for line in self.log_path.read_text().splitlines():
            try:
                yield json.loads(line)
            except ValueError:  # the last line, half written
                continue

    def address(self, transport: str, receiver: str = "otlp") -> str:
        """HOST:PORT of a receiver's "grpc" or "http" side."""
        [entry] = self.log(f"Starting {transport.upper()} server", component=receiver)
        return str(entry["endpoint"])

    def send(self, body: bytes, receiver: str = "otlp") -> None:
        """Export a request to one of its receivers over gRPC; returns when the Collector has taken it."""
        options = [("grpc.max_send_message_length", -1)]
        with grpc.insecure_channel(self.address("grpc", receiver), options=options) as channel:
            channel.unary_unary(EXPORT)(body, timeout=20)

    def post(self, body: bytes, receiver: str = "otlp") -> None:
        """The same over HTTP."""
        url = f"http://{self.address('http', receiver)}/v1/traces"
        status, _, answer = post(url, body, Content_Type="application/x-protobuf")
        assert status == 200, answer

    def stop(self) -> None:
        """Ask it to end: what its queue on disk does not hold, it sends first."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0, self.log_path.read_text()

    def kill(self) -> None:
        """End it at once, as a crash would; nothing when it has ended."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(20)


def spans(first: int, number: int, *, service: str, size: int = 0) -> bytes:
    """A request of that many spans, numbered from `first` on, two a trace; each service has traces of its own."""
    trace = zlib.crc32(service.encode()) << 64
    ids = ((trace + index // 2, index + 1) for index in range(first, first + number))
    return trace_request(*ids, service=service, size=size)


def telemetrygen(signal: str, endpoint: str, *options: str, queue: int = 10_000) -> None:
    """Run telemetrygen to its end, as fast as it goes; fails when an export does.

    `queue` bounds the spans that it holds: what is beyond, its SDK drops without a word.
    """
    path = program("telemetrygen")
    assert path is not None, "telemetrygen is not built: python3 -m tests.collector"
    done = subprocess.run(
        [str(path), signal, "--otlp-endpoint", endpoint, "--otlp-insecure", "--rate", "0", *options],
        env={"OTEL_BSP_MAX_QUEUE_SIZE": str(queue)}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]

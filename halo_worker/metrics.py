"""What the worker shows to Prometheus, read from what is on disk, and /healthz: on [worker] metrics_endpoint."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from halo_worker import issues, run, schedule
from halo_worker.config import Settings

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = 10.0  # for which a client may take to ask


class WorkerMetrics(Collector):
    """A collector of prometheus_client: asked at each scrape."""

    def __init__(self, current: Settings, *, clock: Callable[[], int]) -> None:
        self._current = current
        self._clock = clock
        self._ran: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._archive = issues.archive(current)  # remembers what it has read
        self._courier = run.courier(current)

    def ran(self, name: str, status: str) -> None:
        """Count one run of a schedule: complete, partial or failed."""
        with self._lock:
            self._ran[name, status] += 1

    def text(self) -> bytes:
        """Write all series."""
        registry = CollectorRegistry()
        registry.register(self)
        written: bytes = generate_latest(registry)
        return written

    def collect(self) -> Iterator[Metric]:
        """Yield the families, as prometheus_client asks for them."""
        yield _gauge("halo_build_info", "The release that runs", ["version"], {(_release(),): 1})
        yield self._runs()
        yield from self._schedules()
        yield from self._of_reports()
        states = Counter(item.state for item in self._courier.outstanding())
        waiting = {(state,): float(states[state]) for state in ("waiting", "failed")}
        yield _gauge(
            "halo_deliveries", "Reports that a sink has not taken: tried again, or given up", ["state"], waiting
        )

    def _runs(self) -> Metric:
        family = CounterMetricFamily(
            "halo_runs", "Runs since the start, by how they ended", labels=["schedule", "status"]
        )
        with self._lock:
            for (name, status), number in self._ran.items():
                family.add_metric([name, status], number)
        return family

    def _schedules(self) -> Iterator[Metric]:
        now = self._clock()
        planned = schedule.plan(self._current.schedules, issues.watermarks(self._current), now)
        following = {(item.name,): item.next_run / 1e9 for item in planned if item.next_run}
        overdue = {(item.name,): (now - item.overdue_since) / 1e9 if item.overdue_since else 0.0 for item in planned}
        yield _gauge("halo_schedule_next_run_timestamp_seconds", "When a schedule runs next", ["schedule"], following)
        yield _gauge("halo_schedule_overdue_seconds", "Since the first time that has no report", ["schedule"], overdue)

    def _of_reports(self) -> Iterator[Metric]:
        newest = issues.last_reports(self._current, self._archive)
        last = {(name,): report.created_at / 1e9 for name, report in newest.items()}
        found = Counter(
            (name, finding.severity, finding.state) for name, report in newest.items() for finding in report.findings
        )
        yield _gauge("halo_last_report_timestamp_seconds", "When the last report was made", ["schedule"], last)
        yield _gauge(
            "halo_findings", "Findings of the last report", ["schedule", "severity", "state"],
            {labels: float(number) for labels, number in found.items()},
        )  # fmt: skip


def _gauge(name: str, says: str, labels: list[str], values: dict[Any, float]) -> Metric:
    family = GaugeMetricFamily(name, says, labels=labels)
    for key, value in values.items():
        family.add_metric(list(key), value)
    return family


def _release() -> str:
    try:
        return version("halo-otel")
    except PackageNotFoundError:
        return "unknown"


class MetricsServer:
    """Serves the metrics on a thread of its own until it is stopped. Raises OSError when it cannot listen."""

    def __init__(self, endpoint: str, metrics: WorkerMetrics) -> None:
        host, _, port = endpoint.rpartition(":")

        class Handler(BaseHTTPRequestHandler):
            timeout = SECONDS

            def do_GET(self) -> None:
                known: dict[str, Callable[[], bytes]] = {"/metrics": metrics.text, "/healthz": lambda: b"ok\n"}
                answer = known.get(self.path.partition("?")[0])
                body = answer() if answer else b"there are /metrics and /healthz\n"
                self.send_response(200 if answer else 404)
                self.send_header("Content-Type", CONTENT_TYPE)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Whoever connects could fill the log."""

        self._server = _server(host.strip("[]"), int(port), Handler)
        self.address = f"{host}:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()

    def stop(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()


def _server(host: str, port: int, handler: type[BaseHTTPRequestHandler]) -> socketserver.TCPServer:
    # Not http.server's own class, which looks its address up in the DNS before it listens.
    class Server(socketserver.ThreadingTCPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        allow_reuse_address = True
        daemon_threads = True

    return Server((host, port), handler)

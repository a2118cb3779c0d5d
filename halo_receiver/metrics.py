"""What the receiver counts, as Prometheus text."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

from halo_receiver.request_check import Checked
from halo_receiver.spool import Position

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, which nobody asks for

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


MAX_SERVICES = 200  # label values of the per-service counters; the rest counts as "other"
LAG_RESOLUTION = 0.1  # seconds between two remembered moments of the spool


class Lag:
    """How old the oldest acknowledged request is that is not loaded yet."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waiting: deque[tuple[float, Position]] = deque()
        self._lock = threading.Lock()

    def synced(self, position: Position, *, age: float = 0.0) -> None:
        """Note that everything before a position is acknowledged since now, or for `age` seconds."""
        now = self._clock() - age
        with self._lock:
            if self._waiting and now - self._waiting[-1][0] < LAG_RESOLUTION:
                now = self._waiting.pop()[0]
            self._waiting.append((now, position))

    def loaded(self, position: Position) -> None:
        """Note that everything before a position is loaded."""
        with self._lock:
            while self._waiting and self._waiting[0][1] <= position:
                self._waiting.popleft()

    def seconds(self) -> float:
        """Return the age; 0 when nothing waits."""
        with self._lock:
            return self._clock() - self._waiting[0][0] if self._waiting else 0.0


class Metrics:
    """The counters of one receiver. accepted: synced to the spool; refused: told to come back; rejected: invalid."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        new: Any = {"registry": self.registry}
        self.accepted = Counter("halo_accepted", "Items synced to the spool", ["signal", "service"], **new)
        self.rejected = Counter(
            "halo_rejected", "Items invalid for good, told in partial_success", ["signal", "service"], **new
        )
        self.requests = Counter("halo_requests", "Export requests by answer", ["signal", "transport", "code"], **new)
        self.refused = Counter("halo_refused_requests", "Requests told to come back", ["signal"], **new)
        self.bytes = Counter("halo_received_bytes", "Bytes of requests, as they came", ["signal"], **new)
        self.latency = Histogram(
            "halo_acknowledgement_seconds", "From the whole request to its answer", ["signal"], buckets=_LATENCY, **new
        )
        self.bad_http = Counter("halo_bad_http_requests", "What came over HTTP and was no HTTP request", **new)
        self.ignored_metrics = Counter("halo_ignored_metrics_requests", "Metrics requests: accepted, not stored", **new)
        self.backlog_bytes = Gauge("halo_spool_backlog_bytes", "Acknowledged, not loaded yet", **new)
        self.free_bytes = Gauge("halo_disk_free_bytes", "Left on the data directory's disk", **new)
        self.segments = Gauge("halo_segments", "Sealed segments", **new)
        self.ready = Gauge("halo_ready", "1 while requests are taken, 0 while clients are told to come back", **new)
        self.tls_failures = Counter(
            "halo_tls_reload_failures", "Changes of the certificate's files that could not be used", **new
        )
        self.lag = Lag()
        self.loader_lag = Gauge("halo_loader_lag_seconds", "Age of the oldest acknowledged request not loaded", **new)
        self.loader_silent = Gauge("halo_loader_silent_seconds", "Since the loader last said that it lives", **new)
        self.loader_restarts = Counter("halo_loader_restarts", "Times the loader was started again", **new)
        self.loader_stuck = Counter("halo_loader_stuck", "Times the loader was ended because it was stuck", **new)
        self.loader = Counter(
            "halo_loader_events", "What the loader counted: mended, set aside, sealed …", ["event"], **new
        )
        self._services: set[str] = set()

    def request(self, signal: str, transport: str, code: str, size: int, seconds: float) -> None:
        """Count one request."""
        self.requests.labels(signal, transport, code).inc()
        self.bytes.labels(signal).inc(size)
        self.latency.labels(signal).observe(seconds)
        if code == "UNAVAILABLE":
            self.refused.labels(signal).inc()

    def items(self, signal: str, checked: Checked) -> None:
        """Count what one acknowledged request held."""
        counted: dict[str, list[int]] = {}  # a request may name thousands of services, of which few get a series
        for service, number in checked.services.items():
            of_label = counted.setdefault(self._label(service), [0, 0])
            rejected = checked.rejected_services.get(service, 0)
            of_label[0] += number - rejected
            of_label[1] += rejected
        for label, (accepted, rejected) in counted.items():
            if accepted:
                self.accepted.labels(signal, label).inc(accepted)
            if rejected:
                self.rejected.labels(signal, label).inc(rejected)

    def _label(self, service: str) -> str:
        if service not in self._services and len(self._services) >= MAX_SERVICES:
            return "other"
        self._services.add(service)
        return service

    def text(self) -> bytes:
        """Write them all."""
        written: bytes = generate_latest(self.registry)
        return written

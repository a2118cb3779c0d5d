"""What the receiver counts, as Prometheus text."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

from halo_receiver.ingest import MAX_SERVICES, Checked

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, which nobody asks for

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class Metrics:
    """The counters of one receiver. accepted: synced to the spool; refused: told to come back; rejected: invalid."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        new: Any = {"registry": self.registry}
        self.accepted = Counter("halo_accepted", "Items synced to the spool", ["signal", "service"], **new)
        self.rejected = Counter("halo_rejected", "Items invalid for good, told in partial_success", ["signal"], **new)
        self.requests = Counter("halo_requests", "Export requests by answer", ["signal", "transport", "code"], **new)
        self.refused = Counter("halo_refused_requests", "Requests told to come back", ["signal"], **new)
        self.bytes = Counter("halo_received_bytes", "Bytes of requests, as they came", ["signal"], **new)
        self.latency = Histogram(
            "halo_acknowledgement_seconds", "From the whole request to its answer", ["signal"], buckets=_LATENCY, **new
        )
        self.ignored_metrics = Counter("halo_ignored_metrics_requests", "Metrics requests: accepted, not stored", **new)
        self.backlog_bytes = Gauge("halo_spool_backlog_bytes", "Acknowledged, not loaded yet", **new)
        self.free_bytes = Gauge("halo_disk_free_bytes", "Left on the data directory's disk", **new)
        self.segments = Gauge("halo_segments", "Sealed segments", **new)
        self.loader_lag = Gauge("halo_loader_silent_seconds", "Since the loader last reported", **new)
        self.loader_restarts = Counter("halo_loader_restarts", "Times the loader was started again", **new)
        self.loader = Gauge("halo_loader_events", "What the loader counted since it started", ["event"], **new)
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
        for service, number in checked.services.items():
            if service not in self._services and len(self._services) >= MAX_SERVICES:
                service = "other"
            self._services.add(service)
            self.accepted.labels(signal, service).inc(number)
        if checked.rejected:
            self.rejected.labels(signal).inc(checked.rejected)

    def text(self) -> bytes:
        """Write them all."""
        written: bytes = generate_latest(self.registry)
        return written

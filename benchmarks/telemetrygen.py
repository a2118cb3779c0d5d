"""A load that is not ours, directly and through the Collector: `python -m benchmarks.telemetrygen [--traces N]`.

telemetrygen sends the same spans to a server that does nothing, to halo, and to the upstream Collector before halo,
with its queue in memory, on disk (as in deploy/collector.yaml), and on disk with fsync. Told are the spans that were
acknowledged a second, as a share of the null server's, and when all were stored. Every span is counted.

Needs `python3 -m tests.collector` (Go). telemetrygen has one request under way at a time, so what is measured is how
long a request takes, not how many a receiver can take.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.ingest.common import null_server, receiver, say, seal, stored_spans
from tests.collector.process import Collector, configuration, exporter, telemetrygen

CHILDREN, BATCH = 9, 256
STORE_SECONDS = 300  # for which the way through the Collector may take

# The Collector's queue, by name; batches as in deploy/collector.yaml.
BATCHED = {"flush_timeout": "500ms", "sizer": "bytes", "min_size": 2**20, "max_size": 60 * 2**20}
QUEUES: dict[str, dict[str, Any]] = {
    "memory": {},
    "disk": {"fsync": False},
    "disk, fsync": {"fsync": True},
}


def generate(address: str, traces: int) -> tuple[int, float]:
    """Send that many traces; spans, and seconds until the last was acknowledged."""
    spans = traces * (1 + CHILDREN)
    started = time.perf_counter()
    telemetrygen(
        "traces", address, "--traces", str(traces), "--child-spans", str(CHILDREN), "--batch-size", str(BATCH),
        queue=spans,
    )  # fmt: skip
    return spans, time.perf_counter() - started


def collected(address: str, folder: Path, queue: dict[str, Any]) -> Collector:
    """A Collector that sends there."""
    sending: dict[str, Any] = {"sizer": "bytes", "queue_size": 2**31, "batch": BATCHED}
    extensions = {}
    if queue:
        sending["storage"] = "file_storage"
        extensions["file_storage"] = {"directory": str(folder / "queue"), "create_directory": True, **queue}
    way = exporter(address, sending_queue=sending)
    return Collector(folder, configuration({"otlp_grpc/a": way}, extensions=extensions))


def through(queue: dict[str, Any], traces: int) -> tuple[int, float, float]:
    """Spans, seconds until telemetrygen had its answers, and until halo had stored them."""
    with receiver() as server, tempfile.TemporaryDirectory(prefix="halo-benchmark-") as folder:
        collector = collected(server.address, Path(folder) / "collector", queue)
        try:
            started = time.perf_counter()
            spans, seconds = generate(collector.address("grpc", "otlp/a"), traces)
            while (there := stored_after_seal(server)) < spans:
                if time.perf_counter() - started > STORE_SECONDS:
                    raise TimeoutError(f"{there} of {spans} spans came through the Collector")
                time.sleep(0.2)
            return spans, seconds, time.perf_counter() - started
        finally:
            collector.kill()


def stored_after_seal(server: Any) -> int:
    """Count what is stored, with all that was acknowledged."""
    seal(server)
    return stored_spans(server)


def main() -> None:
    """Run each way once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=int, default=20_000, help="of ten spans each")
    run(parser.parse_args().traces)


def run(traces: int, queues: tuple[str, ...] = tuple(QUEUES)) -> dict[str, float]:
    """Run each way once, the Collector with each of these queues; spans acknowledged a second, by way."""
    with null_server(inflate=True) as server:
        spans, null = generate(server.address, traces)
    with receiver() as server:
        started = time.perf_counter()
        _, seconds = generate(server.address, traces)
        there, stored = stored_after_seal(server), time.perf_counter() - started
        assert there == spans, f"{there} stored, {spans} acknowledged"
    rows = {"halo": (seconds, stored)}
    for name in queues:
        _, seconds, stored = through(QUEUES[name], traces)
        rows[f"Collector, {name}"] = (seconds, stored)
    say(f"{spans:,} spans; null server {spans / null:,.0f} spans/s")
    for name, (seconds, stored) in rows.items():
        say(f"  {name:<24}{spans / seconds:>10,.0f} spans/s  {null / seconds:.2f} × null  stored after {stored:.1f} s")
    return {"null": spans / null} | {name: spans / seconds for name, (seconds, _) in rows.items()}


if __name__ == "__main__":
    main()

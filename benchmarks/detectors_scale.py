"""The whole detector pass over windows of many spans: time, memory, and how they grow with the window.

`python -m benchmarks.detectors_scale [SPANS …]`. A pool of generated traces is stored, then multiplied in SQL with new
trace and call ids, so that the window has as many traces, calls and texts as a real one of that size; segments are
written by DuckDB alone. Ten million spans take 3 GB of disk, and as much again while they are read.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb

from halo_receiver.decode import decode_traces
from halo_receiver.span import Span
from halo_receiver.store import schema
from tests.generator.fleet import fleet
from tests.generator.load import store

POOL_TRACES = 4000
MEMORY = "1GiB"  # what the worker gives DuckDB


def pool() -> Iterator[Span]:
    """Decode the generated traces."""
    for request, _ in fleet(POOL_TRACES, seed=7, failing=0.1):
        yield from decode_traces(request.SerializeToString(), encoding="protobuf").spans


def multiply(source: Path, target: Path, spans: int) -> int:
    """Write a segment of about that many spans, each round of the pool with ids of its own; return how many."""
    connection = duckdb.connect(config={"memory_limit": "1GiB", "threads": 2})
    connection.execute(f"ATTACH '{source}' AS p (READ_ONLY)")
    connection.execute(
        f"ATTACH '{target}' AS t (STORAGE_VERSION '{schema.STORAGE_VERSION}', ROW_GROUP_SIZE {schema.ROW_GROUP_SIZE})"
    )
    connection.execute("USE t")
    connection.execute(schema.SCHEMA_SQL)
    connection.execute(f"INSERT INTO meta VALUES ('schema_version', '{schema.SCHEMA_VERSION}')")
    connection.execute("SET preserve_insertion_order = false")
    have = connection.execute("SELECT count(*) FROM p.span_rows").fetchone()
    assert have
    rounds = max(1, spans // have[0])
    for number in range(rounds):
        for table in ("span_rows", "trace_rows"):
            connection.execute(
                f"INSERT INTO {table} SELECT * REPLACE (left(md5(trace_id || '{number}'), 32) AS trace_id, "
                f"start_time + INTERVAL {number} MINUTE AS start_time, "
                f"end_time + INTERVAL {number} MINUTE AS end_time) FROM p.{table}"
            )
    connection.execute("CHECKPOINT t")
    connection.close()
    return rounds * have[0]


def measure(segment: str) -> None:
    """Run the detectors over one segment, in a process of its own, print what it took, and last the CPU seconds."""
    from halo_worker.analysis.detectors import run_detectors
    from halo_worker.analysis.evidence import verify
    from tests.generator.load import reader_of

    with reader_of([Path(segment)], memory_limit=MEMORY, threads=2) as reader:
        started, busy = time.monotonic(), time.process_time()
        draft = run_detectors(reader)
        detected, worked = time.monotonic() - started, time.process_time() - busy
        verified = verify(reader, draft)
        total, all_work = time.monotonic() - started, time.process_time() - busy
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"detectors {detected:.1f} s ({worked:.1f} s of CPU), verified {total:.1f} s ({all_work:.1f}), "
        f"peak {peak:.0f} MiB, {len(verified.findings)} findings, {verified.rejected.citations} citations rejected, "
        f"load {os.getloadavg()[0]:.1f}"
    )
    print(all_work)


def main() -> None:
    """Build each window, then measure in a fresh process."""
    if len(sys.argv) > 2 and sys.argv[1] == "--measure":
        measure(sys.argv[2])
        return
    first = None
    with tempfile.TemporaryDirectory() as folder:
        source = store(pool(), Path(folder) / "pool")
        for spans in [int(size) for size in sys.argv[1:]] or [1_000_000]:
            target = Path(folder) / "spans-20260101T000000Z-000001.duckdb"
            count = multiply(source, target, spans)
            print(f"{count} spans, {target.stat().st_size / 2**20:.0f} MiB", flush=True)
            command = [sys.executable, "-m", "benchmarks.detectors_scale", "--measure", str(target)]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
            each = 1e6 * float(said[-1]) / count
            first = first or each
            print(f"{said[0]}; {each:.1f} µs of CPU a span, {each / first:.2f} times the first", flush=True)
            target.unlink()


if __name__ == "__main__":
    main()

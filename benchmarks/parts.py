"""Detectors over a window in parts against the whole: CPU seconds, and the time on a clock with two processes.

`python -m benchmarks.parts [SPANS] [PARTS]`, 1,000,000 and 4 unless they are given. Both in one run, over the same
segments: the whole with two threads of DuckDB, the parts with two processes of one thread, each reading segments that
hold its traces alone, as a pull of one part makes them. Findings must be the same.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import duckdb

from benchmarks.detectors_scale import multiply, pool
from halo_receiver.store import schema
from halo_receiver.store.reader import Reader
from halo_worker.analysis.detectors import run_detectors
from halo_worker.config_cluster import ClusterConfig
from halo_worker.parts.conductor import Limits, worked
from halo_worker.parts.task import Segments
from tests.generator.load import store

WORKERS = 2
MEMORY = 2 * 2**30


def split(source: Path, folder: Path, of: int) -> list[Path]:
    """Write a segment for each hash part of the traces of one."""
    made = []
    for number in range(of):
        target = folder / f"spans-20260101T0000{number:02}Z-{number + 1:06}.duckdb"
        with duckdb.connect(config={"memory_limit": "1GiB", "threads": 2}) as connection:
            execute = connection.execute
            execute(f"ATTACH '{source}' AS p (READ_ONLY)")
            execute(
                f"ATTACH '{target}' AS t (STORAGE_VERSION '{schema.STORAGE_VERSION}', "
                f"ROW_GROUP_SIZE {schema.ROW_GROUP_SIZE})"
            )
            execute("USE t")
            execute(schema.SCHEMA_SQL)
            execute(f"INSERT INTO meta VALUES ('schema_version', '{schema.SCHEMA_VERSION}')")
            for table in ("span_rows", "trace_rows"):
                execute(f"INSERT INTO {table} SELECT * FROM p.{table} WHERE hash(trace_id) % {of} = {number}")
            execute("CHECKPOINT t")
        made.append(target)
    return made


def busy() -> float:
    """Return the CPU seconds of this process and of its children that have ended."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def main() -> None:
    """Build the window, then work it whole and in parts."""
    spans = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    of = int(sys.argv[2]) if len(sys.argv) > 2 else 4
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        count = multiply(store(pool(), folder / "pool"), folder / "whole.duckdb", spans)
        segments = split(folder / "whole.duckdb", folder, of)
        (folder / "whole.duckdb").unlink()
        started, spent = time.monotonic(), busy()
        with Reader(segments, memory_limit=f"{MEMORY}B", threads=2) as reader:
            whole = run_detectors(reader)
        wall, cpu = time.monotonic() - started, busy() - spent
        print(f"{count} spans whole: {cpu:.1f} s of CPU ({1e6 * cpu / count:.1f} µs a span), {wall:.1f} s", flush=True)
        started, spent = time.monotonic(), busy()
        config = ClusterConfig.model_validate({"workers": WORKERS})
        with worked(config, Segments(tuple(segments), apart=True), of, Limits(MEMORY, WORKERS)) as parts:
            apart, apart_cpu = time.monotonic() - started, busy() - spent
            with Reader(parts.segments, memory_limit=f"{MEMORY}B", threads=2) as reader:
                merged = run_detectors(reader, prepare=parts.prepare)
        walls, cpus = time.monotonic() - started, busy() - spent
    same = [(one.title, one.occurrences, one.evidence) for one in whole.findings] == [
        (one.title, one.occurrences, one.evidence) for one in merged.findings
    ]
    print(
        f"in {of} parts by {WORKERS} processes: {cpus:.1f} s of CPU, {walls:.1f} s (parts {apart_cpu:.1f} and "
        f"{apart:.1f}, together {cpus - apart_cpu:.1f} and {walls - apart:.1f}); "
        f"{cpus / cpu:.2f} times the CPU, {walls / wall:.2f} times the clock; "
        f"{len(merged.findings)} findings, {'the same' if same else 'NOT THE SAME'}; load {os.getloadavg()[0]:.1f}"
    )
    if not same:
        sys.exit(1)


if __name__ == "__main__":
    main()

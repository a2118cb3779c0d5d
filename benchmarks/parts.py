"""Detectors over a window in parts against the whole: CPU seconds, and the time on a clock with two processes.

`python -m benchmarks.parts [SPANS …]`: four parts each; 200,000 and 600,000 unless they are given. Both in one run,
over the same segments: the whole with two threads of DuckDB, the parts with two processes of one thread, each reading
a segment that holds its traces alone, as a pull of one part makes it. Findings must be the same. Each part takes a
second or two whatever its size (starting a process, compiling patterns): what a further span costs is said of the
first and the last size.
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
from halo_worker.analysis.draft import Draft
from halo_worker.config_cluster import ClusterConfig
from halo_worker.parts.conductor import Limits, worked
from halo_worker.parts.task import Segments
from tests.generator.load import store

PARTS, WORKERS = 4, 2
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


def measure(segments: list[Path], count: int) -> tuple[float, float]:
    """Work a window whole and in parts, and print what both took; return their CPU seconds."""
    started, spent = time.monotonic(), busy()
    with Reader(segments, memory_limit=f"{MEMORY}B", threads=WORKERS) as reader:
        whole = run_detectors(reader)
    wall, cpu = time.monotonic() - started, busy() - spent
    started, spent = time.monotonic(), busy()
    config, source = ClusterConfig.model_validate({"workers": WORKERS}), Segments(tuple(segments), apart=True)
    with worked(config, source, PARTS, Limits(MEMORY, WORKERS)) as parts:
        apart = time.monotonic() - started
        with Reader(parts.segments, memory_limit=f"{MEMORY}B", threads=WORKERS) as reader:
            merged = run_detectors(reader, prepare=parts.prepare)
    walls, cpus = time.monotonic() - started, busy() - spent
    same = _said(whole) == _said(merged)
    print(
        f"{count} spans: whole {cpu:.1f} s of CPU, {wall:.1f} s; in {PARTS} parts {cpus:.1f} s of CPU, {walls:.1f} s "
        f"({apart:.1f} apart); {cpus / cpu:.2f} times the CPU, {walls / wall:.2f} times the clock; "
        f"{len(merged.findings)} findings, {'the same' if same else 'NOT THE SAME'}; load {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    if not same:
        sys.exit(1)
    return cpu, cpus


def _said(draft: Draft) -> list[object]:
    return [(one.title, one.occurrences, one.evidence) for one in draft.findings]


def main() -> None:
    """Build each window, and measure it."""
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        generated = store(pool(), folder / "pool")
        for spans in [int(size) for size in sys.argv[1:]] or [200_000, 600_000]:
            count = multiply(generated, folder / "whole.duckdb", spans)
            segments = split(folder / "whole.duckdb", folder, PARTS)
            (folder / "whole.duckdb").unlink()
            found.append((count, *measure(segments, count)))
            for segment in segments:
                segment.unlink()
    (few, *first), (many, *last) = found[0], found[-1]
    if many > few:
        whole, parts = (1e6 * (b - a) / (many - few) for a, b in zip(first, last, strict=True))
        print(f"a further span: whole {whole:.1f} µs of CPU, in parts {parts:.1f}: {parts / whole:.2f} times")


if __name__ == "__main__":
    main()

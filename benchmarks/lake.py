"""The lake beside storing: CPU µs a span to store, to publish and to pull, and bytes a span in each place.

    python3 -m tests.lake
    PYTHONPATH=$(python3 -m tests.lake --folder) python -m benchmarks.lake

Spans of the tests' fleet, as OTLP requests. Storing is what a loader does with them: decoded, appended, sealed.
PostgreSQL and S3 are processes of their own, whose time is not in the figures; what each publication costs before its
first row (a connection, DuckDB's extensions) is told apart from what each span costs.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from halo_receiver import conventions
from halo_receiver.batch_tables import Tables
from halo_receiver.config import LakeConfig
from halo_receiver.decode.repair import MAX_ATTRIBUTE_BYTES
from halo_receiver.segment_publish import publish
from halo_receiver.store import lake
from halo_receiver.store.lake_reader import Span, pull
from halo_receiver.store.lake_state import LakeState
from halo_receiver.store.segment import SegmentName
from halo_receiver.store.writer import SegmentWriter
from tests.generator.fleet import fleet
from tests.lake.services import BUCKET, KEYS, S3, Postgres, temporary

MEMORY = "1GiB"
TRACES_A_REQUEST = 50
Made = TypeVar("Made")


def cpu(work: Callable[[], Made]) -> tuple[float, Made]:
    """Do something; return the CPU seconds of this process that it took, and what came of it."""
    began = time.process_time()
    made = work()
    return time.process_time() - began, made


def requests(traces: int) -> list[bytes]:
    """Requests of some traces each, as a Collector's batches are."""
    made, bodies = None, []
    for number, (request, _) in enumerate(fleet(traces, seed=7), 1):
        if made is None:
            made = request
        else:
            made.resource_spans.extend(request.resource_spans)
        if number % TRACES_A_REQUEST == 0 or number == traces:
            bodies.append(made.SerializeToString())
            made = None
    return bodies


def store(bodies: list[bytes], directory: Path) -> Path:
    """Write requests as one sealed segment, as the loader does."""
    directory.mkdir()
    name = SegmentName.at(time.time_ns(), 1)
    writer = SegmentWriter(directory, name, memory_limit=MEMORY, threads=1, mapping=conventions.MAPPING_VERSION)
    tables = Tables(max_attribute_bytes=MAX_ATTRIBUTE_BYTES)
    for body in bodies:
        tables.add("traces", "protobuf", body, time.time_ns())
        if tables.full:
            spans, logs = tables.take()
            writer.append(spans=spans, logs=logs)
    if tables.rows:
        spans, logs = tables.take()
        writer.append(spans=spans, logs=logs)
    return writer.seal()


def main() -> None:
    """Measure once, side by side, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--traces", type=int, default=12_000)
    given = parser.parse_args()
    os.environ.update(KEYS)
    bodies = requests(given.traces)
    with temporary("postgres") as cluster, temporary("s3") as bucket, temporary("work") as work:
        postgres, s3 = Postgres(cluster), S3(bucket)
        try:
            config = LakeConfig.model_validate(
                {"catalog": postgres.database("bench"), "data": f"s3://{BUCKET}/bench/", "endpoint": s3.endpoint}
            )
            measure(config, bodies, work)
        finally:
            s3.stop()
            postgres.stop()


def measure(config: LakeConfig, bodies: list[bytes], work: Path) -> None:
    """Store, publish and pull the same spans."""
    storing, segment = cpu(lambda: store(bodies, work / "segments"))
    lake.create(config)
    with LakeState(config.catalog_words() or "") as state:
        state.create(config.data, config.buckets)
    options = {"memory_limit": MEMORY, "threads": 1}
    nothing, _ = cpu(lambda: lake.written(config, 0))
    publishing, told = cpu(
        lambda: publish(config, segment.parent, "bench", [segment.name], reached_ns=0, memory_limit=MEMORY, threads=1)
    )
    spans, (_, size) = told["spans"], lake.size(config)
    (work / "pulled").mkdir()
    window = Span(0, time.time_ns() + 10**12)
    pulling, pulled = cpu(lambda: pull(config, window, work / "pulled", **options))  # type: ignore[arg-type]
    assert len(pulled.segments) == 1
    here = pulled.segments[0].stat().st_size
    print(f"{spans:,} spans, {sum(map(len, bodies)) / spans:,.0f} B each in requests")
    print(f"a connection with extensions {nothing:6.2f} CPU s, in each publication and each pull")
    for name, seconds, bytes_ in (
        ("store", storing, segment.stat().st_size),
        ("publish", publishing - nothing, size),
        ("pull", pulling - nothing, here),
    ):
        print(f"{name:8} {seconds / spans * 1e6:6.1f} CPU µs a span  {bytes_ / spans:6.0f} B a span")
    print(f"publish / store {(publishing - nothing) / storing:.2f}")


if __name__ == "__main__":
    main()

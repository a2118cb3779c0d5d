"""Many spans once through a lake: published in steps, worked in parts by one scheduled run, reported.

    python3 -m tests.lake
    PYTHONPATH=$(python3 -m tests.lake --folder) python -m benchmarks.lake_scale FOLDER --spans 50000000

FOLDER keeps the lake (PostgreSQL's and S3's files): a run that is ended goes on after the last publication, and one
that has all spans goes on with the report. Spans of the tests' fleet are stored once by the store; each further segment
is a copy with trace ids and times of its own, published by the receiver's publisher, and deleted. CPU seconds and
memory (PSS, all processes of halo together, looked at once a second) are of this code; those of PostgreSQL and S3
are told apart.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from benchmarks.detectors_scale import multiply, pool
from halo_receiver.config import LakeConfig
from halo_receiver.segment_publish import publish
from halo_receiver.store import lake
from halo_receiver.store.lake_state import LakeState
from tests.generator.load import store
from tests.lake.services import BUCKET, KEYS, S3, Postgres

STEP_SPANS = 1_000_000  # of one publication
MEMORY = "1GiB"  # of DuckDB, while segments are made and published
LOOK_SECONDS = 1.0
TICKS = os.sysconf("SC_CLK_TCK")
SETTINGS = """
[analysis]
settle_seconds = 0
settle_max_seconds = 1
memory_limit_bytes = {memory}
[schedules.scale]
interval = "1s"
window = "7d"
engine = "detectors"
"""


def tree(root: int) -> dict[int, tuple[str, ...]]:
    """The processes below one, and itself: what /proc says of each after its name."""
    stats = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            stats[int(path.parent.name)] = tuple(path.read_text().rpartition(")")[2].split())
        except OSError:
            continue
    found, waiting = {}, [root]
    while waiting:
        one = waiting.pop()
        if one in stats:
            found[one] = stats[one]
        waiting += [pid for pid, stat in stats.items() if int(stat[1]) == one]
    return found


def cpu(root: int) -> float:
    """CPU seconds of a process, of those below it, and of their children that have ended."""
    return sum(sum(map(int, stat[11:15])) for stat in tree(root).values()) / TICKS


def resident(root: int) -> dict[int, int]:
    """Bytes (PSS) of each process below one, and of itself."""
    found = {}
    for pid in tree(root):
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        found[pid] = int(rollup.partition("\nPss:")[2].split()[0]) * 1024 if "\nPss:" in rollup else 0
    return found


@dataclass
class Peaks:
    """The most that processes took, by name."""

    roots: dict[str, int]
    bytes: dict[str, int] = field(default_factory=dict)
    largest: int = 0  # of one process of halo
    disk: int = 0
    folder: Path | None = None
    _ended: threading.Event = field(default_factory=threading.Event)

    def _watch(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            for name, root in self.roots.items():
                found = resident(root)
                self.bytes[name] = max(self.bytes.get(name, 0), sum(found.values()))
                if name == "halo":
                    self.largest = max(self.largest, *found.values(), 0)
            if self.folder is not None:
                self.disk = max(self.disk, size(self.folder))

    @contextmanager
    def watched(self) -> Iterator[None]:
        thread = threading.Thread(target=self._watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()


def size(folder: Path) -> int:
    """Bytes on disk below a folder."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(place, name)).st_blocks * 512
            except OSError:
                continue
    return total


def copied(base: Path, target: Path, number: int) -> None:
    """Write a segment with the spans of another under trace ids and times of its own."""
    shutil.copyfile(base, target)
    with duckdb.connect(config={"memory_limit": MEMORY, "threads": 2}) as connection:
        connection.execute(f"ATTACH '{target}' AS t")
        # Of the tables of a segment a publication reads the rows of spans and logs.
        connection.execute(
            f"UPDATE t.span_rows SET trace_id = md5(trace_id || '{number}'), "
            f"start_time = start_time + INTERVAL {number} MINUTE, end_time = end_time + INTERVAL {number} MINUTE"
        )
        connection.execute("CHECKPOINT t")


def say(text: str) -> None:
    """Print a line with the time and the load."""
    print(f"{time.strftime('%H:%M:%S')} load {os.getloadavg()[0]:.1f}: {text}", flush=True)


def publishing(config: LakeConfig, folder: Path, spans: int, services: dict[str, int]) -> None:
    """Publish until the lake has so many spans, and say what it took."""
    base = folder / "base.duckdb"
    if not base.exists():
        shutil.rmtree(folder / "pool", ignore_errors=True)
        (folder / "making.duckdb").unlink(missing_ok=True)
        say(f"{multiply(store(pool(), folder / 'pool'), folder / 'making.duckdb', STEP_SPANS):,} spans are stored")
        (folder / "making.duckdb").rename(base)
    segments = folder / "segments"
    shutil.rmtree(segments, ignore_errors=True)
    segments.mkdir()
    before, began, wall = {name: cpu(pid) for name, pid in services.items()}, time.process_time(), time.monotonic()
    made = 0.0
    sent = count = 0
    while (there := visible(config)) < spans:
        lap = time.process_time()
        number = len(publications(config)) + 1
        name = f"spans-20260101T000000Z-{number:06}.duckdb"
        copied(base, segments / name, number)
        made += time.process_time() - lap
        told = publish(config, segments, "scale", [name], reached_ns=time.time_ns(), memory_limit=MEMORY, threads=2)
        (segments / name).unlink()
        sent, count = sent + told["spans"], count + 1
        if count % 5 == 1:
            say(f"{there + told['spans']:,} spans are published")
    if not sent:
        return
    spent = time.process_time() - began - made
    others = ", ".join(f"{name} {(cpu(pid) - before[name]) / sent * 1e6:.1f}" for name, pid in services.items())
    files, bytes_ = lake.size(config)
    say(
        f"published {sent:,} spans in {count} steps: {spent / sent * 1e6:.1f} CPU µs a span ({others}; making segments "
        f"{made / sent * 1e6:.1f}), {time.monotonic() - wall:.0f} s; {files:,} files, {bytes_ / there:.0f} B a span"
    )


def publications(config: LakeConfig) -> Sequence[int]:
    """How many spans each publication has."""
    with LakeState.open(config) as state:
        return [one.spans for one in state.visible()]


def visible(config: LakeConfig) -> int:
    """How many spans the lake has."""
    return sum(publications(config))


def reporting(
    config: LakeConfig, folder: Path, settings: dict[str, str], services: dict[str, int], memory: int
) -> None:
    """Run the schedule once over the lake, and say what it took."""
    spans = visible(config)
    host = folder / f"host-{time.strftime('%H%M%S')}"
    (host / "tmp").mkdir(parents=True)
    (host / "halo.toml").write_text(SETTINGS.format(memory=memory))
    with LakeState.open(config) as state:  # each run reports the window as if it were the first
        for table in ("report_files", "receipts", "records", "reports"):
            state._rows(f"DELETE FROM halo.{table} RETURNING 1")
    before, wall = {name: cpu(pid) for name, pid in services.items()}, time.monotonic()
    words = [sys.executable, "-m", "halo_worker", "schedules", "run", "scale", "--data-dir", str(host / "data")]
    environment = {**os.environ, **settings, "TMPDIR": str(host / "tmp")}
    run = subprocess.Popen(words, env=environment, cwd=host)
    say(f"the report over {spans:,} spans has begun, pid {run.pid}")
    peaks = Peaks({"halo": run.pid, **services}, folder=host / "tmp")
    with peaks.watched():
        _, status, used = os.wait4(run.pid, 0)
    run.returncode = os.waitstatus_to_exitcode(status)
    seconds, spent = time.monotonic() - wall, used.ru_utime + used.ru_stime
    others = ", ".join(f"{name} {(cpu(pid) - before[name]) / spans * 1e6:.1f}" for name, pid in services.items())
    say(f"exit {run.returncode}: {spent:.0f} CPU s, {spent / spans * 1e6:.1f} µs a span ({others}), {seconds:.0f} s")
    taken = ", ".join(f"{name} {value / 2**30:.2f} GiB" for name, value in peaks.bytes.items())
    say(f"peaks: {taken}; one process {peaks.largest / 2**30:.2f} GiB; on disk {peaks.disk / 2**30:.1f} GiB")
    for path in (host / "data" / "reports").glob("*/report.json"):
        report = json.loads(path.read_text())
        covered = report["coverage"]
        say(f"{path.parent.name}: {report['status']}, {len(report['findings'])} findings, {covered['traces']:,} traces")
        say(f"not examined: {covered['not_examined']}; {size(path.parent) / 2**20:.0f} MiB of report")


def main() -> None:
    """Publish what is missing, then report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--spans", type=int, default=1_000_000)
    parser.add_argument("--parts", type=int, default=4)
    parser.add_argument("--buckets", type=int, default=0, help="of the lake, when it is made")
    parser.add_argument("--memory", type=int, default=2 * 2**30, help="[analysis] memory_limit_bytes of the run")
    parser.add_argument("--stage", choices=["publish", "report", "both"], default="both")
    given = parser.parse_args()
    os.environ.update(KEYS)
    folder = given.folder.absolute()
    for name in ("postgres", "s3"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    postgres, s3 = Postgres(folder / "postgres"), S3(folder / "s3", volumes=512)
    try:
        words = {
            "catalog": postgres.database("scale"), "data": f"s3://{BUCKET}/scale/", "endpoint": s3.endpoint,
            "buckets": str(given.buckets), "publish_seconds": "0.2",
        }  # fmt: skip
        config = LakeConfig.model_validate(words)
        lake.create(config)
        with LakeState(words["catalog"]) as state:
            state.create(config.data, config.buckets)
        services = {"PostgreSQL": postgres.pid, "S3": s3.pid}
        if given.stage != "report":
            publishing(config, folder, given.spans, services)
        if given.stage != "publish":
            settings = {f"HALO_LAKE_{key.upper()}": value for key, value in words.items()}
            settings["HALO_CLUSTER_PART_SPANS"] = str(-(-visible(config) // given.parts))
            reporting(config, folder, settings, services, given.memory)
    finally:
        s3.stop()
        postgres.stop()


if __name__ == "__main__":
    main()

"""Rounds of load, each ended by SIGKILL at a random moment: `python -m tests.receiver.killing DIR ROUNDS SEED`.

The writer of the spool and the loader are processes as in a receiver, forked from one that has imported everything, so
that a round costs a tenth of a second. The writer tells over a pipe what is acknowledged; the last line on stdout is
the number of requests that were. What was acknowledged is found with `verify`.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from halo_receiver import commits, spool
from halo_receiver.store.reader import Reader
from tests.fixtures_receiver import trace_request
from tests.receiver.loading import ARRIVAL, load, open_loader

GROUP = 3  # requests of spans in a group, and one of logs
SPANS = 4  # in a request
PAUSE_SECONDS = 0.002  # between two groups: what is written has to be loaded and verified too
ACKNOWLEDGED = "acknowledged"


def _forked(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(1)
    return pid


def _write(data_dir: Path, first: int, pipe: int) -> None:
    writer = spool.SpoolWriter(data_dir / "spool", file_bytes=200_000)
    number = first
    while True:
        frames = [
            spool.encode(
                kind="traces", encoding="protobuf", compression="none", arrival_ns=ARRIVAL + number + place,
                body=trace_request(*((number + place, span) for span in range(1, SPANS + 1)), size=200),
            )
            for place in range(GROUP)
        ]  # fmt: skip
        record = {"body": {"stringValue": str(number)}}
        body = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}).encode()
        frames.append(
            spool.encode(kind="logs", encoding="json", compression="none", arrival_ns=ARRIVAL + number, body=body)
        )
        writer.append(frames)
        os.write(pipe, f"{number}\n".encode())
        number += GROUP
        time.sleep(PAUSE_SECONDS)


def _load(data_dir: Path) -> None:
    commits.BATCH_BYTES = 50_000  # or a backlog that grows is never loaded between two kills
    loader = open_loader(data_dir, rotate_seconds=0.05)
    while True:
        loader.step()
        loader.commit()
        time.sleep(0.002)


def _round(data_dir: Path, generator: random.Random, first: int) -> list[int]:
    """Write and load until some were acknowledged, kill in a random order; return what was acknowledged."""
    reading, writing = os.pipe()
    loader = _forked(lambda: _load(data_dir))
    writer = _forked(lambda: _write(data_dir, first, writing))
    os.close(writing)
    said = b""
    for moment in _moments(data_dir / "segments", generator):
        end = time.monotonic() + moment
        while (left := end - time.monotonic()) > 0:
            if select.select([reading], [], [], left)[0]:
                said += os.read(reading, 65536)
    for pid in generator.sample([writer, loader], 2):
        os.kill(pid, signal.SIGKILL)
        time.sleep(generator.choice([0, 0, 0.01]))
    while part := os.read(reading, 65536):
        said += part
    os.close(reading)
    for pid in (writer, loader):
        if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != -signal.SIGKILL:
            raise AssertionError("a process ended by itself: what it said is above")
    return [int(line) for line in said.decode().splitlines()]


def _moments(segments: Path, generator: random.Random) -> Iterator[float]:
    """Yield pauses up to the kill: a random time, or one around the making or the sealing of a segment."""
    wanted = generator.choice(["", "", "", "*.open", "*.duckdb"])
    before, deadline = set(segments.glob(wanted or "-")), time.monotonic() + 1.5
    while wanted and set(segments.glob(wanted)) <= before and time.monotonic() < deadline:
        yield 0.002
    yield generator.uniform(0, 0.03 if wanted else 0.2)


def run(data_dir: Path, rounds: int, seed: int) -> None:
    """Do so many rounds."""
    generator = random.Random(seed)
    with (data_dir / ACKNOWLEDGED).open("a") as file:
        for number in range(rounds):
            # Each round has numbers of its own: what was written and not acknowledged is not sent again.
            for acknowledged in _round(data_dir, generator, number * 1_000_000 + 1):
                file.write(f"{acknowledged}\n")


def verify(data_dir: Path) -> int:
    """Assert that what was acknowledged is readable exactly once, and return how many groups were."""
    acknowledged = [int(line) for line in (data_dir / ACKNOWLEDGED).read_text().split()]
    load(data_dir)
    with Reader.open(data_dir) as reader:
        assert reader.set_aside == []
        rows = reader.query(
            "SELECT trace_id, count(*) AS n, count(DISTINCT span_id) AS different FROM spans GROUP BY 1"
        )
        spans = {int(row["trace_id"], 16): (row["n"], row["different"]) for row in rows}
        logs = [int(json.loads(row["body"])) for row in reader.query("SELECT body FROM logs")]
        traces = reader.query("SELECT count(*) AS n, sum(span_count) AS spans FROM traces")
    wanted = {number + place for number in acknowledged for place in range(GROUP)}
    assert wanted <= spans.keys(), "an acknowledged span is lost"
    assert set(spans.values()) == {(SPANS, SPANS)}, "a request is stored in part, or a span is shown twice"
    assert set(acknowledged) <= set(logs), "an acknowledged log record is lost"
    assert len(logs) == len(set(logs)), "a log record is stored twice"
    assert traces == [{"n": len(spans), "spans": SPANS * len(spans)}]
    return len(acknowledged)


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))

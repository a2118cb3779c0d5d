"""What the page takes: first byte of each view, memory of its process, bytes of the first page.

`python -m benchmarks.page [--spans 200000] [--reports 100] [--receiving]`. The store is that of `detectors_scale`;
reports are of a small schedule, a day each. Each view is asked for 20 times, over one connection, after once for
nothing and once the index of traces is made. `--receiving`: while a receiver beside it takes 2,000 spans a second.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import re
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks import detectors_scale, h2, payloads
from benchmarks.servers import Receiver, Server
from halo_worker.report.archive import Archive
from tests.builders import finding, report
from tests.generator.load import store

TIMES = 20
SEGMENT = "spans-20260101T000000Z-000001.duckdb"
START_SECONDS = 120.0
SECONDS = 600.0  # for which spans are sent, at most
REQUESTS_A_SECOND = 31  # of 64 spans: 2,000 spans a second
FIRST_PAGE = ("text/html", "text/css", "text/javascript", "image/svg+xml")


def made(folder: Path, spans: int, reports: int) -> int:
    """Make a data directory; return how many spans it has."""
    data_dir = folder / "data"
    (data_dir / "segments").mkdir(parents=True)
    source = store(detectors_scale.pool(), folder / "pool")
    count = detectors_scale.multiply(source, data_dir / "segments" / SEGMENT, spans)
    archive = Archive(data_dir / "reports")
    for day in range(-reports, 0):  # before now: a schedule looks through those of the future, as of a wrong clock
        seen = [finding(f"HALO-{number:08x}", traces=10 + day % 7, text=f"failure {number}") for number in range(12)]
        one = report(*seen, day=day, schedule="daily")
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(one.window.end / 1e9))
        archive.publish(one.model_copy(update={"id": f"{stamp}-aaaaaa"}), {"report.md": "", "report.html": ""})
    return count


def first_bytes(connection: http.client.HTTPConnection, path: str) -> tuple[list[float], int]:
    """Return the milliseconds to the first byte of each time, and the bytes of the last answer as sent."""
    took, size = [], 0
    for _ in range(TIMES + 1):
        began = time.monotonic()
        connection.request("GET", path, headers={"Accept-Encoding": "gzip"})
        answer = connection.getresponse()
        took.append((time.monotonic() - began) * 1e3)
        size = len(answer.read())
        assert answer.status == 200, (path, answer.status)
    return took[1:], size


def address_in(data_dir: Path, server: Server) -> str:
    """Wait for the page to say where it is."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            return urlsplit(json.loads((data_dir / "page.json").read_text())["url"]).netloc
        except (OSError, ValueError):
            time.sleep(0.05)
    raise SystemExit("the page did not start")


def indexed(connection: http.client.HTTPConnection) -> str:
    """Wait for the index of traces; return the path of a trace."""
    began = time.monotonic()
    while time.monotonic() - began < START_SECONDS:
        connection.request("GET", "/traces")
        text = connection.getresponse().read().decode()
        if "to be indexed" not in text and (found := re.search(r'href="(/traces/[^"?]+)"', text)):
            print(f"index made within {time.monotonic() - began:.0f} s")
            return found[1]
        time.sleep(0.5)
    raise SystemExit("the index of traces is not made")


@contextlib.contextmanager
def receiving(data_dir: Path, *, wanted: bool) -> Iterator[None]:
    """Have a receiver on the directory take 2,000 spans a second meanwhile, where that is wanted."""
    if not wanted:
        yield
        return
    server, pool = Receiver(data_dir), payloads.requests("llm", count=16, spans=64)
    sending = threading.Thread(
        target=lambda: h2.send(server.address, pool, seconds=SECONDS, per_second=REQUESTS_A_SECOND), daemon=True
    )
    try:
        sending.start()
        yield
        print("received meanwhile" if sending.is_alive() else "NOT RECEIVED TO THE END")
    finally:
        server.stop()


def measure(data_dir: Path, paths: Sequence[str]) -> None:
    """Serve the directory and print what each view took."""
    words = ["page", "--data-dir", str(data_dir), "--config", os.devnull, "--endpoint", "127.0.0.1:0"]
    server = Server([sys.executable, "-m", "halo_worker", *words])
    try:
        connection = http.client.HTTPConnection(address_in(data_dir, server), timeout=60)
        trace = indexed(connection)
        print("| view | first byte, median ms | p95 | CPU ms | bytes sent |\n|---|---|---|---|---|")
        for path in (*paths, trace):
            before = server.cpu_of_each()[0]
            took, size = first_bytes(connection, path)
            busy = (server.cpu_of_each()[0] - before) / (TIMES + 1) * 1e3
            each = f"{statistics.median(took):.0f} | {sorted(took)[-2]:.0f} | {busy:.0f}"
            print(f"| {path} | {each} | {size:,} |", flush=True)
        static = [first_bytes(connection, f"/static/{name}")[1] for name in ("report.css", "page.css", "page.js")]
        first = first_bytes(connection, "/")[1] + sum(static)
        print(f"first page {first:,} bytes with its styles and script; memory {server.memory_mib()[0]} MiB; ", end="")
        print(f"load {os.getloadavg()[0]:.1f}")
    finally:
        server.stop()


def main() -> None:
    """Make a store, and look at every view of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--spans", type=int, default=200_000)
    parser.add_argument("--reports", type=int, default=100)
    parser.add_argument("--receiving", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        count = made(Path(folder), asked.spans, asked.reports)
        data_dir = Path(folder) / "data"
        print(f"{count:,} spans, {asked.reports} reports")
        newest = Archive(data_dir / "reports").ids()[0]
        views = ["/", "/reports", f"/reports/{newest}", "/issues", "/issues/HALO-00000001", "/sql", "/health"]
        with receiving(data_dir, wanted=asked.receiving):
            measure(data_dir, [*views, "/traces", "/traces?status=failed"])


if __name__ == "__main__":
    main()

"""The page's traces: `python -m benchmarks.page_traces [PART…] [--traces N] [--spans N] [--seconds S]`.

Parts, all without one: list: a page of the list of N traces, by filter. The rows are written straight into the index:
to seal a million traces takes longer than to ask for them, and the index is what is asked. trace: one of N spans, from
the click to the first paint and to the list that draws what is seen, in Chromium. viewers: a receiver's CPU per stored
span and what it acknowledges, without viewers and with 20 of the live list, in turns; the page runs beside it, on the
same cores.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import h2, payloads
from benchmarks.ingest.common import receiver, seal
from halo_worker import inputs
from halo_worker.page.trace_index import TraceIndex, Wanted

PARTS = ("list", "trace", "viewers")
ROUNDS = 3
VIEWERS = 20
REQUESTS_A_SECOND = 31  # of 64 spans: 2,000 spans a second
CHROMIUM = "/usr/bin/chromium"
_SYNTHETIC = """
INSERT INTO traces SELECT format('{:032x}', i), 1790000000000000000 + i * 1000000000,
  1790000000000000000 + i * 1000000000 + (i * 7919 % 60000) * 1000000, 5 + i % 20, (i % 17 = 0)::INTEGER,
  CASE WHEN i % 40 = 0 THEN 'ERROR' ELSE 'OK' END, 'agent.run', ['shop-' || (i % 5)], ['agent-' || (i % 50)],
  ['model-' || (i % 7)], ['tool-' || (i % 90), 'search'], i % 9000, i % 700, (i % 1000) / 10000,
  'session-' || (i // 4), 'user-' || (i % 5000), repeat('words of a question ', 8) || i
FROM range(?) t(i)
"""
_NAMES = """
INSERT INTO names SELECT 'agent', 'agent-' || i FROM range(50) t(i)
UNION ALL SELECT 'tool', 'tool-' || i FROM range(90) t(i)
"""


def list_pages(traces: int) -> dict[str, float]:
    """Milliseconds of a page of 50, the median of ROUNDS, by what is asked."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="halo-benchmark-") as folder:
        index = TraceIndex(Path(folder))
        cursor = index._connection.cursor()
        cursor.execute(_SYNTHETIC, [traces])
        cursor.execute(_NAMES)
        middle = index.page(Wanted(), 1, after=(1790000000000000000 + traces // 2 * 10**9, ""))[0]
        asked = {
            "newest": (Wanted(), None),
            "in the middle": (Wanted(), (middle["start_ns"], middle["trace_id"])),
            "agent": (Wanted(agent="AGENT-7"), None),
            "tool, failed": (Wanted(tool="tool-7", status="failed"), None),
            "user": (Wanted(user="user-4999"), None),
            "dear and slow": (Wanted(min_cost=0.0995, min_seconds=50), None),
            "none": (Wanted(session="nobody's"), None),
        }
        for name, (wanted, after) in asked.items():
            took = []
            for _ in range(ROUNDS):
                begun = time.perf_counter()
                index.page(wanted, 51, after=after)
                took.append(time.perf_counter() - begun)
            found[name] = statistics.median(took) * 1000
            print(f"list of {traces:,}: {name}: {found[name]:.0f} ms", flush=True)
        index.close()
    return found


def _long_trace(spans: int) -> str:
    rows = []
    for number in range(spans):
        start = f"2026-11-24T06:{number // 600 % 60:02d}:{number // 10 % 60:02d}.{number % 10}00Z"
        kind = ("LLM", "TOOL", "CHAIN")[number % 3]
        attributes = {
            "openinference.span.kind": kind,
            "input.value": f"asked {number} " * 20,
            "output.value": "said " * 40,
        }
        rows.append(
            {
                "trace_id": "ab" * 16, "span_id": f"{number + 1:016x}", "name": f"{kind.lower()} {number}",
                "parent_span_id": f"{max(1, number // 8):016x}" if number else None, "kind": "SPAN_KIND_INTERNAL",
                "start_time": start, "end_time": start.replace("00Z", "90Z"), "attributes": attributes,
                "status": {"code": "STATUS_CODE_OK"}, "resource": {"attributes": {"service.name": "shop"}},
            }
        )  # fmt: skip
    return "".join(json.dumps(row) + "\n" for row in rows)


@contextmanager
def page(data_dir: Path) -> Iterator[str]:
    """Serve the page in a process of its own; yields its address."""
    command = [sys.executable, "-m", "halo_worker", "page", "--data-dir", str(data_dir), "--endpoint", "127.0.0.1:0"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not (data_dir / "page.json").exists():
            if time.monotonic() > deadline or process.poll() is not None:
                raise RuntimeError("the page does not start")
            time.sleep(0.05)
        yield json.loads((data_dir / "page.json").read_text())["url"]
    finally:
        process.terminate()
        process.wait(20)


def one_trace(spans: int) -> dict[str, float]:
    """Milliseconds from the click, in Chromium; the median of ROUNDS."""
    from playwright.sync_api import sync_playwright  # the other parts do without

    with tempfile.TemporaryDirectory(prefix="halo-benchmark-") as folder:
        data_dir = Path(folder) / "data"
        data_dir.mkdir()
        (data_dir / "spans.jsonl").write_text(_long_trace(spans))
        inputs.import_files([str(data_dir / "spans.jsonl")], data_dir, now_ns=time.time_ns(), arrival="now", say=print)
        with page(data_dir) as url, sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
            tab = browser.new_page(viewport={"width": 1600, "height": 900})
            tab.goto(f"{url}/traces")
            took: dict[str, list[float]] = {"first byte": [], "first paint": [], "drawn": [], "a jump in the list": []}
            for _ in range(ROUNDS + 1):
                begun = time.perf_counter()
                tab.goto(f"{url}/traces/{'ab' * 16}", wait_until="commit")
                took["first byte"].append(time.perf_counter() - begun)
                tab.wait_for_selector(".w-list.virtual")
                took["drawn"].append(time.perf_counter() - begun)
                paint = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
                took["first paint"].append(tab.evaluate(paint) / 1000)
                took["a jump in the list"].append(tab.evaluate(_JUMP) / 1000)
            browser.close()
    found = {name: statistics.median(each[1:]) * 1000 for name, each in took.items()}
    for name, value in found.items():
        print(f"trace of {spans:,} spans: {name}: {value:.0f} ms", flush=True)
    return found


# From a jump to the middle until the rows there are in the page, the mean of 20.
_JUMP = """async () => {
  const box = document.querySelector('.w-scroll'), frame = () => new Promise(requestAnimationFrame);
  const begun = performance.now();
  for (let step = 1; step <= 20; step++) { box.scrollTop = step / 21 * box.scrollHeight; await frame(); await frame(); }
  return (performance.now() - begun) / 20;
}"""


@contextmanager
def viewers(url: str, count: int) -> Iterator[list[int]]:
    """Read the live list with so many connections; yields the bytes that each has read."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    read, sockets = [0] * count, []

    def follow(number: int, connection: socket.socket) -> None:
        try:
            while data := connection.recv(65536):
                read[number] += len(data)
        except OSError:
            return

    for number in range(count):
        connection = socket.create_connection((host, int(port)))
        connection.sendall(f"GET /traces/live HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        sockets.append(connection)
        threading.Thread(target=follow, args=(number, connection), daemon=True).start()
    yield read
    for connection in sockets:
        connection.close()


def watched(seconds: float) -> dict[str, float]:
    """Receiver's CPU per span, and spans acknowledged, with 20 viewers as a share of without; the median of ROUNDS."""
    pool = payloads.requests("llm", count=16, spans=64)
    cpu: dict[int, list[float]] = {0: [], VIEWERS: []}
    acknowledged: dict[int, list[float]] = {0: [], VIEWERS: []}
    with receiver() as server, page(server.data_dir) as url:
        h2.send(server.address, pool, seconds=1)
        for turn in range(2 * ROUNDS):
            count = (0, VIEWERS)[turn % 2]
            seal(server)
            with viewers(url, count) as read:
                before = server.cpu_seconds()
                start = 1000 * (turn + 1)
                got = h2.send(server.address, pool, seconds=seconds, per_second=REQUESTS_A_SECOND, renew_from=start)
                seal(server)
                cpu[count].append((server.cpu_seconds() - before) / got.spans * 1e6)
                acknowledged[count].append(got.spans / got.seconds)
            told = f", {min(read):,} bytes to each" if count else ""
            print(
                f"{count} viewers: {cpu[count][-1]:.0f} µs a span, {acknowledged[count][-1]:,.0f} spans/s{told}",
                flush=True,
            )
    found = {
        "CPU with / without": statistics.median(cpu[VIEWERS]) / statistics.median(cpu[0]),
        "acknowledged with / without": statistics.median(acknowledged[VIEWERS]) / statistics.median(acknowledged[0]),
    }
    print(
        ", ".join(f"{name}: {value:.2f}" for name, value in found.items()), f"load {os.getloadavg()[0]:.0f}", flush=True
    )
    return found


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=list(PARTS))
    parser.add_argument("--traces", type=int, default=1_000_000)
    parser.add_argument("--spans", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    for part in options.parts:
        if part == "list":
            list_pages(options.traces)
        elif part == "trace":
            one_trace(options.spans)
        else:
            watched(options.seconds)


if __name__ == "__main__":
    main()

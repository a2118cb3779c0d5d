"""Every tool of a model over windows of two sizes: seconds, and the memory of who asks and who answers, in one run.

    python -m benchmarks.analysis_scale [--spans 200000 1000000]

The windows are those of `detectors_scale`. No model is asked: what is measured is what stands between its question and
the answer. "asks" is the process that holds the run, "answers" the one that reads the window for it.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import detectors_scale
from halo_receiver.store.reader import Reader
from halo_worker.analysis import routes
from halo_worker.analysis.questions import Questions
from halo_worker.analysis.tools import Desk, window_tools
from halo_worker.analysis.tools.overview import dataset_overview
from halo_worker.rlm.agent.session import SubResult
from halo_worker.rlm.tool import MODEL_BYTES
from tests.generator.load import store

CALLS: list[tuple[str, dict[str, Any]]] = [
    ("count_traces", {"filters": {"has_errors": True}}),
    ("query_traces", {"filters": {"agent_names": ["shop-assistant"]}, "sort": "slowest"}),
    ("view_trace", {"trace_id": "?"}),
    ("search_trace", {"trace_id": "?", "regex_pattern": "order"}),
    ("count_traces", {"filters": {"tool_names": ["find_order"]}}),
    ("count_traces", {"filters": {"regex_pattern": "never said by anyone"}}),
    ("search_spans", {"pattern": "(?i)never said by anyone"}),
    ("query_sql", {"sql": "SELECT name, count(*), count(DISTINCT trace_id) FROM spans GROUP BY 1"}),
    ("query_sql", {"sql": "SELECT count(*) FROM spans WHERE output_text LIKE '%refund%'"}),
]


def resident(pid: int | str) -> float:
    """MiB of a process, now."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 / 2**20


async def measure(segment: Path) -> None:
    """Ask everything once and print a line each."""
    idle = resident("self")
    with (
        Reader([segment], start_ns=0, end_ns=2**62, whole_traces=True) as reader,
        tempfile.TemporaryDirectory() as folder,
    ):
        questions = Questions.of(reader, Path(folder) / "questions")
        desk = Desk(questions)
        lap = time.monotonic()

        def told(name: str) -> None:
            nonlocal lap
            pid = questions._idle[0].process.pid
            took = time.monotonic() - lap
            print(f"| {name} | {took:.2f} | {resident('self') - idle:.0f} | {resident(pid):.0f} |", flush=True)
            lap = time.monotonic()

        print("| question | s | asks, MiB over idle | answers, MiB |\n|---|---|---|---|")
        await questions.start()
        told("open the window, roll it up")
        overview = await dataset_overview(desk, None, MODEL_BYTES)
        told("get_dataset_overview")
        await routes.measured(desk)
        told("choose a route")
        tools = {tool.name: tool for tool in window_tools(desk, _nobody)}
        for name, arguments in CALLS:
            given = {**arguments}
            if "trace_id" in given:
                given["trace_id"] = overview["sample_trace_ids"][0]
            await tools[name].call(given, MODEL_BYTES)
            told(f"{name} {' '.join(f'{key}={value}' for key, value in arguments.items() if key != 'trace_id')}")
        await questions.close()


async def _nobody(prompt: str) -> SubResult:
    return SubResult(prompt[:0])


def main() -> None:
    """Build each window, then measure in a fresh process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--spans", type=int, nargs="+", default=[200_000, 1_000_000])
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure is not None:
        asyncio.run(measure(given.measure))
        return
    with tempfile.TemporaryDirectory() as folder:
        source = store(detectors_scale.pool(), Path(folder) / "pool")
        for spans in given.spans:
            target = Path(folder) / f"spans-20260101T000000Z-{spans:06d}.duckdb"
            count = detectors_scale.multiply(source, target, spans)
            print(f"\n{count:,} spans, {target.stat().st_size / 2**20:.0f} MiB", flush=True)
            subprocess.run([sys.executable, "-m", "benchmarks.analysis_scale", "--measure", str(target)], check=True)
            target.unlink()


if __name__ == "__main__":
    main()

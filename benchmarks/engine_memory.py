"""How much memory a run with a model takes as its window grows. `python -m benchmarks.engine_memory [SPANS...]`.

The window is stored; a scripted model behind real HTTP asks for the overview, failing traces, one trace, a count by SQL
and by code, and answers. All processes of the run are added up. Said apart: the peak until the first request, which is
the detectors' pass over the whole window, and the peak from then on, which is the engine's.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import detectors_scale, watched
from benchmarks.engine_peers import ANSWER, QUESTION, REPOSITORY
from halo_receiver.store.reader import Reader
from tests.generator.load import store
from tests.scripted_model import Request, Say, ScriptedModel

SIZES = (10_000, 100_000, 1_000_000)


def measure(spans: int, pool: Path, folder: Path) -> dict[str, Any]:
    """Run once over a window of about that many spans."""
    segments = folder / "data" / "segments"
    segments.mkdir(parents=True)
    stored = detectors_scale.multiply(pool, segments / "spans-20260101T000000Z-000001.duckdb", spans)
    with Reader.open(folder / "data") as reader:
        trace = reader.query("SELECT min(trace_id) AS t FROM traces WHERE error_count > 0")[0]["t"]
    turns: list[tuple[str, dict[str, Any]]] = [
        ("get_dataset_overview", {}),
        ("query_traces", {"filters": {"has_errors": True}, "limit": 50}),
        ("view_trace", {"trace_id": trace}),
        ("query_sql", {"sql": "SELECT model, count(*) AS n, sum(input_tokens) FROM spans GROUP BY 1 ORDER BY n DESC"}),
        ("count_traces", {"filters": {"regex_pattern": "timeout"}}),
        ("run_code", {"code": "print(len(query_traces(limit=500)['traces']))"}),
        ("final_answer", {"answer": ANSWER}),
    ]
    began: list[float] = []

    def script(request: Request) -> Say:
        began.append(time.monotonic())
        return Say(calls=[turns[min(len(began), len(turns)) - 1]])

    argv = [sys.executable, "-m", "halo_worker", "run", "--data-dir", str(folder / "data"), "-p", QUESTION]
    argv += ["--since", "1970-01-01", "--until", "2100-01-01", "--route", "loop", "--format", "markdown"]
    with ScriptedModel(script) as model:
        done = watched.run(argv, env={**os.environ, "OPENAI_API_KEY": "none", "OPENAI_BASE_URL": model.base_url},
                           cwd=REPOSITORY)  # fmt: skip
    if done.code or not began:
        print(done.output[-2000:], file=sys.stderr)
        raise SystemExit(1)
    return {
        "spans": stored,
        "first_request_s": began[0] - done.started,
        "wall_s": done.seconds,
        "before_mib": max(size for at, size in done.series if at < began[0]) / 2**20,
        "engine_mib": done.peak_after(began[0]) / 2**20,
    }


def main() -> None:
    """Measure all sizes, and print a table."""
    sizes = [int(word.replace("_", "")) for word in sys.argv[1:]] or list(SIZES)
    print("| spans | peak until the first request, MiB | peak from then on, MiB | first request, s | wall, s |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as whole:
        pool = store(detectors_scale.pool(), Path(whole))
        for spans in sizes:
            with tempfile.TemporaryDirectory() as folder:
                row = measure(spans, pool, Path(folder))
            print(
                f"| {row['spans']:,} | {row['before_mib']:.0f} | {row['engine_mib']:.0f} "
                f"| {row['first_request_s']:.1f} | {row['wall_s']:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()

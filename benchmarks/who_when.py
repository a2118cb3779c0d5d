"""Who&When, without a model: the agent and the step to blame, by subset, beside the trivial baselines.

`python -m benchmarks.who_when [SHARED]`, with the folder that holds `benchmarks/who-when-dev` (default: $HALO_SHARED).
Every run failed, so a trace with several findings is blamed on the earliest span that one of them names, and a trace
without any on what the baseline says. Nothing but figures is printed.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from halo_worker.analysis.detectors import run_detectors
from tests.generator.load import reader_of, spans_of, store

Steps = list[dict[str, Any]]


def main() -> None:
    """Detect, attribute, score, print."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ["HALO_SHARED"]) / "benchmarks" / "who-when-dev"
    gold = [json.loads(line) for line in (folder / "gold.jsonl").read_text("utf-8").splitlines()]
    with (
        tempfile.TemporaryDirectory() as scratch,
        reader_of([store(spans_of([folder / "traces.otlp.jsonl.gz"]), Path(scratch))]) as reader,
    ):
        draft = run_detectors(reader)
        rows = reader.query(
            "SELECT trace_id, span_id, agent_name, span_type, failed OR regexp_matches(coalesce(output_head, ''), "
            "'(?i)traceback|exitcode: [1-9]|error:') AS bad FROM _s WHERE parent_span_id IS NOT NULL "
            "ORDER BY trace_id, start_time"
        )
    traces: dict[str, Steps] = {}
    for row in rows:
        traces.setdefault(row["trace_id"], []).append(row)
    named: dict[str, set[str | None]] = {}
    for finding in draft.findings:
        for item in finding.occurrences:
            named.setdefault(item.trace_id, set()).add(item.span_id)

    def first_error(trace: str, steps: Steps) -> int:
        """The step before the first execution error, else step 1."""
        at = next((n for n, step in enumerate(steps) if step["span_type"] == "tool" and step["bad"]), None)
        return max(0, at - 1) if at else min(1, len(steps) - 1)

    def halo(trace: str, steps: Steps) -> int:
        """The earliest span that a finding names, else as the baseline."""
        at = next((n for n, step in enumerate(steps) if step["span_id"] in named.get(trace, ())), None)
        return first_error(trace, steps) if at is None else at

    ways: dict[str, Callable[[str, Steps], int]] = {
        "halo, no model": halo,
        "before the first error": first_error,
        "constant step 1": lambda _, steps: min(1, len(steps) - 1),
    }
    print(f"{'':<52}{'runs':>6}{'agent':>8}{'step':>8}{'within 1':>10}{'findings':>10}")
    for subset in sorted({row["subset"] for row in gold}):
        part = [row for row in gold if row["subset"] == subset]
        for name, way in ways.items():
            agent = step = near = 0
            for row in part:
                steps = traces[row["trace_id"]]
                guess = way(row["trace_id"], steps)
                agent += steps[guess]["agent_name"] == row["agent"]
                step += guess == row["step"]
                near += abs(guess - row["step"]) <= 1
            found = sum(row["trace_id"] in named for row in part)
            shares = "".join(f"{value / len(part):>{width}.3f}" for value, width in ((agent, 8), (step, 8), (near, 10)))
            print(f"{subset + ', ' + name:<52}{len(part):>6}{shares}{found if name.startswith('halo') else '':>10}")


if __name__ == "__main__":
    main()

"""What each fault of a provider, and each misstep of a model, does to a run: outcome, requests, seconds.

    python -m benchmarks.faults [--api chat|responses] [--halo PYTHON] [--only WORDS] [--json FILE]

The scenarios are those of tests/worker/rlm/provider/faults.py, which the suite also asserts. With the Python of an
environment that has halo-engine (engine_peers.py says how it is made), HALO's command line is put through each of them
too, without its sandbox, over the responses API it speaks, and ended after HALO_SECONDS.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import flat_spans, watched
from benchmarks.engine_peers import HALO_WITHOUT_SANDBOX, REPOSITORY
from halo_worker.rlm.agent.session import Session
from halo_worker.rlm.budget import BudgetLimits
from halo_worker.rlm.interpreter.monty_interpreter import OpenMonty
from halo_worker.rlm.provider.openai_model import OpenAIModel
from tests.scripted_model import ScriptedModel
from tests.worker.rlm.conftest import task
from tests.worker.rlm.provider.faults import MAX_RETRIES, SCENARIOS, Scenario

HALO_SECONDS = 130.0
HALO_LOOK = ("get_dataset_overview", {"filters": {}})


async def run(scenario: Scenario, api: Any) -> dict[str, Any]:
    """Put our engine through a scenario, as it is configured by default but for quick timeouts and backoff."""
    with ScriptedModel(scenario.script(("flood", {}))) as server, tempfile.TemporaryDirectory() as folder:
        model = OpenAIModel("m", base_url=server.base_url, api_key="none", api=api, request_timeout_seconds=0.5)
        session = Session(
            root=model, sub=model, limits=BudgetLimits(), open_interpreter=OpenMonty(), work_dir=Path(folder),
            max_retries=MAX_RETRIES, refusal_retries=1, emit=lambda _: None, backoff_seconds=0.01,
        )  # fmt: skip
        began = time.perf_counter()
        outcome = await session.loop(task())
        seconds = time.perf_counter() - began
        await session.close()
        ended = "answer" if outcome.arguments is not None else "no answer"
        return {
            "scenario": scenario.name,
            "outcome": ended + (f", stopped by {outcome.stopped_by}" if outcome.stopped_by else ""),
            "reason": outcome.reason[:60],
            "requests": len(server.requests),
            "seconds": round(seconds, 2),
        }


def run_halo(scenario: Scenario, python: str, file: Path) -> dict[str, Any]:
    """Put HALO through the same."""
    with ScriptedModel(scenario.script(HALO_LOOK)) as server:
        argv = [
            python,
            "-c",
            HALO_WITHOUT_SANDBOX,
            str(file),
            "-p",
            "Why?",
            "-m",
            "gpt-5.4-mini",
            "--refusal-retries",
            "1",
        ]
        environment = {**os.environ, "OPENAI_API_KEY": "none", "OPENAI_BASE_URL": server.base_url}
        done = watched.run(argv, env=environment, cwd=REPOSITORY, seconds=HALO_SECONDS)
        requests = len(server.requests)
    answered = "final=True" in done.output or "the answer" in done.output
    if done.seconds >= HALO_SECONDS:
        outcome = f"still at it after {HALO_SECONDS:.0f} s"
    elif done.code:
        outcome = f"exit {done.code}, {'with' if answered else 'no'} answer"
    else:
        outcome = "answer" if answered else "no answer, exit 0"
    return {"scenario": scenario.name, "outcome": outcome, "requests": requests, "seconds": round(done.seconds, 1)}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--api", choices=["chat", "responses"], default="chat")
    parser.add_argument("--halo", default=os.environ.get("HALO_PEER"), help="Python with halo-engine")
    parser.add_argument("--only", default="", help="scenarios whose name holds this")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    scenarios = [one for one in SCENARIOS if given.only in one.name]
    rows = []
    print(f"| fault | ours | requests | s |{' HALO 0.3.5 | requests | s |' if given.halo else ''}")
    print(f"|---|---|---|---|{'---|---|---|' if given.halo else ''}")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "traces.jsonl"
        flat_spans.write(file, 200)
        for scenario in scenarios:
            row = asyncio.run(run(scenario, given.api))
            reason = f" ({row['reason']})" if row["reason"] else ""
            line = f"| {row['scenario']} | {row['outcome']}{reason} | {row['requests']} | {row['seconds']} |"
            if given.halo:
                peer = row["halo"] = run_halo(scenario, given.halo, file)
                line += f" {peer['outcome']} | {peer['requests']} | {peer['seconds']} |"
            rows.append(row)
            print(line, flush=True)
    if not given.halo:
        print("halo-engine is skipped: it is not installed, see --help", file=sys.stderr)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()

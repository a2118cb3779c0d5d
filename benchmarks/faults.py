"""What each fault of a provider, and each misstep of a model, does to a run: outcome, requests, seconds.

    python -m benchmarks.faults [--api chat|responses] [--json FILE]

The scenarios are those of tests/worker/rlm/faults.py, which the suite also asserts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from halo_worker.rlm.budget import BudgetLimits
from halo_worker.rlm.monty_interpreter import OpenMonty
from halo_worker.rlm.openai_model import OpenAIModel
from halo_worker.rlm.session import Session
from tests.scripted_model import ScriptedModel
from tests.worker.rlm.conftest import task
from tests.worker.rlm.faults import MAX_RETRIES, SCENARIOS, Scenario


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


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--api", choices=["chat", "responses"], default="chat")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows = [asyncio.run(run(scenario, given.api)) for scenario in SCENARIOS]
    print("| fault | outcome | requests | seconds |\n|---|---|---|---|")
    for row in rows:
        reason = f" ({row['reason']})" if row["reason"] else ""
        print(f"| {row['scenario']} | {row['outcome']}{reason} | {row['requests']} | {row['seconds']} |")
    if given.json:
        given.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()

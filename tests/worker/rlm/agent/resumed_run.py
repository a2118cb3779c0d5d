"""A run in a process of its own, to be killed.

python -m tests.worker.rlm.agent.resumed_run BASE_URL WORK_DIR [resume]
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from halo_worker.rlm.agent.session import Event, Session
from halo_worker.rlm.budget import BudgetLimits
from halo_worker.rlm.interpreter.monty_interpreter import OpenMonty
from halo_worker.rlm.provider.openai_model import OpenAIModel
from tests.worker.rlm.conftest import task


async def main(base_url: str, work_dir: Path, *, resume: bool) -> None:
    model = OpenAIModel("scripted", base_url=base_url, api_key="none")
    events: list[Event] = []
    session = Session(
        root=model, sub=model, limits=BudgetLimits(turns=10), open_interpreter=OpenMonty(), work_dir=work_dir,
        emit=events.append, resume=resume,
    )  # fmt: skip
    outcome = await session.loop(task())
    ledger = session.ledger
    said = {
        "arguments": outcome.arguments, "turns": outcome.turns, "calls": ledger.model_calls,
        "first": events[0].sequence,
        "tokens": ledger.usage.input_tokens + ledger.usage.output_tokens, "seconds": ledger.seconds,
    }  # fmt: skip
    print(json.dumps(said))
    await session.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), resume=sys.argv[3:] == ["resume"]))

"""200 sub-calls of half a second at parallelism 20, beside the ideal of 5 s: what the engine adds.

    python -m benchmarks.subcalls [--calls 200] [--parallel 20] [--seconds 0.5]

The model is a scripted server behind real HTTP in a process of its own; no prompt is asked twice. `session` asks
through Session.batch; `code` is the same from model-written code, through run_code and llm_query_batched with a schema.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

from halo_worker.rlm.agent.session import Session
from halo_worker.rlm.budget import BudgetLimits
from halo_worker.rlm.interpreter.monty_interpreter import OpenMonty
from halo_worker.rlm.provider.openai_model import OpenAIModel
from tests.scripted_model import Request, Say, ScriptedModel
from tests.worker.rlm.conftest import task


def serve(seconds: float, code: str, to: Connection) -> None:
    """Answer a sub-call after a while, and the root with one piece of code and then the end."""

    def script(request: Request) -> Say:
        if not request.tools:
            return Say("1", delay=seconds)
        done = any("stdout" in text for text in request.texts)
        return Say(calls=[("final_answer", {"answer": request.texts[-2]}) if done else ("run_code", {"code": code})])

    with ScriptedModel(script) as server:
        to.send(server.base_url)
        to.recv()


async def measure(base_url: str, calls: int, parallel: int) -> tuple[float, float]:
    """Seconds of the batch by the session, and of the same from code, after one call to warm up."""
    with tempfile.TemporaryDirectory() as folder:
        model = OpenAIModel("m", base_url=base_url, api_key="none")
        session = Session(
            root=model, sub=model, limits=BudgetLimits(parallel=parallel, tokens=None), open_interpreter=OpenMonty(),
            work_dir=Path(folder),
        )  # fmt: skip
        await session.query("warm up")
        began = time.perf_counter()
        results = await session.batch([f"question {n}" for n in range(calls)])
        direct = time.perf_counter() - began
        assert all(result.value == "1" for result in results)
        began = time.perf_counter()
        outcome = await session.loop(task())
        code = time.perf_counter() - began
        assert outcome.arguments is not None
        assert f'"stdout":"{calls} {calls}\\n"' in outcome.arguments["answer"], outcome
        await session.close()
        return direct, code


def main(arguments: list[str] | None = None) -> float:
    """Print seconds and ratios; return the worse ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--parallel", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=0.5)
    given = parser.parse_args(arguments)
    prompts = f"['other question ' + str(n) for n in range({given.calls})]"
    code = f"r = llm_query_batched({prompts}, schema={{'type': 'integer'}})\nprint(len(r), sum(r))"
    here, there = multiprocessing.get_context("spawn").Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(given.seconds, code, there))
    server.start()
    direct, through = asyncio.run(measure(here.recv(), given.calls, given.parallel))
    here.send("stop")
    server.join(10)
    ideal = -(-given.calls // given.parallel) * given.seconds
    print(f"ideal {ideal:.2f} s")
    for name, seconds in (("session", direct), ("code", through)):
        print(f"{name:8} {seconds:.2f} s  {seconds / ideal:.3f} x of ideal")
    return max(direct, through) / ideal


if __name__ == "__main__":
    main()

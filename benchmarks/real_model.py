"""The loop with a real model of any size: does it end in an answer, and how did it get there? Opt-in, never in CI.

    python -m benchmarks.real_model --base-url http://127.0.0.1:8080/v1 --model local [--turns 8] [--seconds 900]

A small question over forty made-up orders, with one tool, code, and the answer. It says nothing of the quality of a
report: only whether what a model writes is understood, and whether the run ends. A model small enough for this machine
can be served by llama.cpp (`xllamacpp` on PyPI brings it built).
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from halo_worker.rlm.agent.session import Check, Event, Session, Task
from halo_worker.rlm.budget import BudgetLimits
from halo_worker.rlm.interpreter.monty_interpreter import OpenMonty
from halo_worker.rlm.messages import Message, ToolSpec
from halo_worker.rlm.provider.openai_model import OpenAIModel
from halo_worker.rlm.tool import Tool

ERRORS = ("timeout", "card declined", "timeout", "address unknown", "timeout")
ORDERS = [{"id": n, "status": "failed" if n % 4 == 0 else "done", "error": ERRORS[n // 4 % 5] if n % 4 == 0 else None}
          for n in range(40)]  # fmt: skip
FAILED = sum(order["status"] == "failed" for order in ORDERS)
QUESTION = "How many orders failed, and which error is the most frequent among them?"
SYSTEM = (
    "You answer a question about a list of orders. Look with list_orders, or count with Python in run_code, in which "
    "list_orders(status='failed') returns {'orders': [{'id', 'status', 'error'}, …]}. When you know it, call "
    "final_answer."
)
ANSWER = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}


async def list_orders(given: dict[str, Any], _: int) -> Any:
    """The tool."""
    return {"orders": [order for order in ORDERS if given.get("status") in (None, "", order["status"])]}


async def accept(_: dict[str, Any]) -> Check:
    """Take any answer: what is measured is whether there is one."""
    return Check()


def told(event: Event) -> None:
    """Show what happens."""
    if event.text_delta is not None:
        sys.stderr.write(event.text_delta)
        sys.stderr.flush()
    elif event.item is not None and event.item.role == "tool":
        sys.stderr.write(f"\n--- {event.item.name}: {(event.item.content or '')[:300]}\n")
    elif event.item is not None and event.item.tool_calls:
        sys.stderr.write("".join(f"\n--- calls {call.name} {call.arguments}" for call in event.item.tool_calls))


async def run(given: argparse.Namespace) -> None:
    """One run, and what came of it."""
    schema = {"type": "object", "properties": {"status": {"type": "string", "enum": ["failed", "done"]}}}
    tool = Tool(ToolSpec("list_orders", "List orders, all or those of one status.", schema), list_orders)
    task = Task(SYSTEM, SYSTEM, (Message("user", QUESTION),), (tool,), ANSWER, accept)
    model = OpenAIModel(
        given.model, base_url=given.base_url, api_key=given.api_key, temperature=0, max_output_tokens=400,
        request_timeout_seconds=given.seconds,
    )  # fmt: skip
    limits = BudgetLimits(turns=given.turns, depth=0, seconds=given.seconds, cost_usd=None)
    kinds: Counter[str] = Counter()

    def tell(event: Event) -> None:
        told(event)
        if event.item is not None and event.item.role == "tool":
            kinds[event.item.name or ""] += 1

    with tempfile.TemporaryDirectory() as folder:
        session = Session(
            root=model, sub=model, limits=limits, open_interpreter=OpenMonty(), work_dir=Path(folder), emit=tell
        )
        began = time.monotonic()
        outcome = await session.loop(task)
        seconds = time.monotonic() - began
        await session.close()
    usage = session.ledger.usage
    print(f"\nends with {'an answer' if outcome.arguments else 'no answer'}, stopped by {outcome.stopped_by}")
    print(f"{outcome.reason}\nanswer: {outcome.arguments or outcome.salvaged}\n(right: {FAILED}, timeout)")
    tokens = f"{usage.input_tokens} + {usage.output_tokens} tokens"
    print(f"turns {outcome.turns}, calls {dict(kinds)}, {tokens}, {seconds:.0f} s")


def main() -> None:
    """Read the arguments, run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--api-key")
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=900)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()

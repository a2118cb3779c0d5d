"""Whatever a model does: the budget holds, the run ends in an Outcome, nothing raises. Random models, by seed.

HALO_PROPERTY_RUNS=5000 runs that many, from HALO_PROPERTY_SEED on; a failure names its seed.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from halo_worker.errors import ModelRefused, ModelUnavailable
from halo_worker.rlm.agent.session import Check, Event, Outcome, Session
from halo_worker.rlm.budget import BudgetLimits, Ledger
from halo_worker.rlm.interpreter.monty_interpreter import OpenMonty
from halo_worker.rlm.interpreter.protocol import Limits
from halo_worker.rlm.messages import Message, Reply, ToolCall, ToolSpec, Usage
from halo_worker.rlm.tool import MODEL_BYTES
from tests.worker.rlm.conftest import task

RUNS = int(os.environ.get("HALO_PROPERTY_RUNS", "300"))
FIRST = int(os.environ.get("HALO_PROPERTY_SEED", "0"))
AT_ONCE = 8
CODES = ["invalid_api_key", "context_length_exceeded", "content_filter", "invalid_request", "insufficient_quota"]
WORDS = ["", "hm", "{", "}", "```python\n", "\n```", "final_answer", "(", ")", "<tool_call>", "</tool_call>", '"', "é",
         "null", "[1]", "\ud800", "</result>", "\x00", "list_numbers", "```json\n", '{"name": "run_code"}',
         "x = 1"]  # fmt: skip
SNIPPETS = ["print(1)", "x = list_numbers(limit=5)", "1/0", "while True: pass", "print(llm_query('a'))",
            "print(llm_query_batched(['a', 'b', 'c'], schema={'type': 'integer'}))", "rlm_query('deeper')", "(",
            "rlm_query_batched(['a', 'b'])", "final_answer(answer='from code')", "flood()", "broken()", "print(x)",
            "final_answer()", "call_subagent(input='x')['answer']", "get_context_item('item-1')"]  # fmt: skip


class RandomModel:
    """Does anything a model or a provider could do, also at the worst moment; and watches the ledger meanwhile."""

    name = "random"

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.ledger: Ledger | None = None
        self.overshoot = 0  # tokens used beyond what was granted, of all calls
        self.granted: list[int] = []
        self.evil = dice.choice([0.0, 0.05, 0.3])  # how much of it is faults
        self.lies = dice.random() < 0.2  # about how many tokens it will use
        self.price = dice.choice([None, 1e-6, 1e-4])

    async def ask(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[ToolSpec] = (),
        schema: dict[str, Any] | None = None,
        max_output_tokens: int | None = None,
        on_delta: Callable[[str], None] | None = None,
    ) -> Reply:
        assert self.ledger is not None
        limit, spent = self.ledger.limits.tokens, self.ledger.usage.input_tokens + self.ledger.usage.output_tokens
        given = self.estimate(messages, tools)
        assert max_output_tokens is not None
        if limit is not None:  # a call begins only when all of it still fits
            assert spent + given + max_output_tokens <= limit or self.overshoot
        assert all(
            len((m.content or "").encode("utf-8", "replace")) <= MODEL_BYTES + 100 for m in messages if m.role == "tool"
        )
        answered = {m.tool_call_id for m in messages if m.role == "tool"}
        called = [call.id for m in messages for call in m.tool_calls]
        assert len(called) == len(set(called))
        assert answered == set(called)
        if self.dice.random() < 0.3:
            await asyncio.sleep(0)
        if self.dice.random() < self.evil:
            fault = self.fault()
            self.overshoot += max((getattr(fault, "received", None) or 0) // 3 - max_output_tokens, 0)
            raise fault
        reply = self.reply([tool.name for tool in tools])
        if on_delta:
            on_delta(reply.content)
        said = self.dice.randint(1, max(max_output_tokens, 1))
        if self.lies:
            said *= 3
            given *= 2
        usage = Usage(given, said, given // 2, said // 3)
        if self.dice.random() < 0.1:  # it reports none, and is counted by what it said
            usage = Usage()
            said = len(reply.content) + sum(len(call.arguments) + len(call.name) for call in reply.tool_calls)
        self.overshoot += max(given + said - self.estimate(messages, tools) - max_output_tokens, 0)
        return Reply(
            reply.content,
            reply.tool_calls,
            usage,
            reply.finish_reason,
            reply.refusal,
            self.dice.choice(["", "random-1"]),
        )

    def fault(self) -> Exception:
        return self.dice.choice(
            [
                ModelUnavailable("down", retry_after=self.dice.choice([None, 0.0, 1e9])),
                ModelUnavailable("broke off", received=self.dice.randint(0, 1_000)),
                ModelRefused("no", code=self.dice.choice(CODES)),
                ValueError("a bug of the implementation"),
                TimeoutError(),
            ]
        )

    def text(self) -> str:
        return "".join(self.dice.choice(WORDS) for _ in range(self.dice.randint(0, 8)))

    def reply(self, tools: list[str]) -> Reply:
        dice = self.dice
        kind = dice.random()
        reason = dice.choice(["stop", "stop", "stop", "length", "content_filter", "other", "tool_calls"])
        if kind < 0.1:
            return Reply(self.text(), finish_reason=reason, refusal=dice.random() < 0.2)
        if kind < 0.25:
            return Reply(f"```{dice.choice(['python', '', 'repl'])}\n{dice.choice(SNIPPETS)}\n```")
        if (kind < 0.4 or len(tools) == 1) and "final_answer" in tools:
            return Reply("", (self.call("final_answer"),), finish_reason=reason)
        return Reply(
            self.text(), tuple(self.call(dice.choice([*tools, "nonsense", ""])) for _ in range(dice.randint(1, 4))),
            finish_reason=reason,
        )  # fmt: skip

    def call(self, name: str) -> ToolCall:
        dice = self.dice
        if dice.random() < 0.7:  # mostly it knows what it does
            plain = {
                "final_answer": {"answer": "an answer"}, "list_numbers": {"limit": dice.choice([3, 900])},
                "run_code": {"code": dice.choice(SNIPPETS)}, "call_subagent": {"input": "look"},
                "get_context_item": {"item_id": "item-1"},
            }  # fmt: skip
            return ToolCall(f"id-{dice.randint(0, 10**6)}", name, json.dumps(plain.get(name, {})))
        arguments = dice.choice(
            [
                json.dumps({"answer": "an answer", "findings": [{"id": 1}]}),
                json.dumps({"limit": dice.choice([1, "3", None, [], 10**9, -1])}),
                json.dumps({"code": dice.choice(SNIPPETS)}),
                json.dumps({"input": "look"}),
                json.dumps({"item_id": "item-1"}),
                "", "null", "[]", '"x"', "{", self.text(), "{}", '{"kwargs": {"limit": 1}}', "[" * 5_000,
                '{"findings": ' + "[" * 300 + "]" * 300 + "}",
            ]
        )  # fmt: skip
        return ToolCall(dice.choice(["", "same", f"id-{dice.randint(0, 10**6)}"]), name, arguments)

    def estimate(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> int:
        return sum(len(message.content or "") for message in messages) // 4 + 20

    def cost(self, usage: Usage) -> float | None:
        return None if self.price is None else (usage.input_tokens + usage.output_tokens) * self.price

    async def close(self) -> None:
        return


async def run(seed: int, folder: Path) -> None:
    dice = random.Random(seed)
    model = RandomModel(dice)
    limits = BudgetLimits(
        turns=dice.choice([1, 2, 4, 8, 20]),
        depth=dice.randint(0, 2),
        parallel=dice.randint(1, 3),
        tokens=dice.choice([None, 500, 20_000, 100_000, 1_000_000]),
        cost_usd=dice.choice([None, 0.01, 5.0]),
        seconds=dice.choice([None, 3.0, 30.0]),
    )
    stop_after = dice.choice([10**9, 10**9, 10**9, 3])
    events: list[Event] = []
    looks = dice.random()

    async def check(_: dict[str, Any]) -> Check:
        if looks < 0.1:
            raise KeyError("a bug of the task")
        return Check(("a quote is nowhere",) if dice.random() < looks else ())

    session = Session(
        root=model, sub=model, limits=limits, open_interpreter=OpenMonty(), work_dir=folder / str(seed),
        cache_dir=None, max_retries=dice.randint(0, 2), refusal_retries=dice.randint(0, 2), emit=events.append,
        interrupted=lambda: session.ledger.model_calls >= stop_after, backoff_seconds=0.0001,
        code_limits=Limits(seconds=0.2, host_calls=50),
        context_tokens=dice.choice([2_000, 100_000]),
    )  # fmt: skip
    model.ledger = session.ledger
    async with asyncio.timeout(60):
        outcome = await session.loop(task(check))
    await session.close()

    ledger = session.ledger
    assert isinstance(outcome, Outcome)
    assert outcome.turns <= limits.turns
    assert outcome.stopped_by is None or outcome.reason
    assert outcome.arguments is not None or outcome.stopped_by is not None
    spent = ledger.usage.input_tokens + ledger.usage.output_tokens
    assert limits.tokens is None or spent <= limits.tokens + model.overshoot
    if limits.cost_usd is not None and model.price is not None:
        assert (ledger.usage.cost_usd or 0) <= limits.cost_usd * 1.0001 + model.overshoot * model.price
    sequences = [event.sequence for event in events]
    assert sequences == sorted(set(sequences))
    assert sum(event.final for event in events) == (outcome.arguments is not None)
    lines = [orjson.loads(line) for line in (folder / str(seed) / "trajectory.jsonl").read_bytes().splitlines()]
    assert lines[-1]["kind"] == "end"
    assert sum(line["kind"] == "asked" for line in lines) == ledger.model_calls
    assert sum(line.get("input_tokens", 0) for line in lines if line["kind"] == "model") == ledger.usage.input_tokens


@pytest.mark.slow
async def test_whatever_a_model_does_the_budget_holds_and_the_run_ends(tmp_path: Path) -> None:
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(seed: int) -> str | None:
        async with gate:
            try:
                await run(seed, tmp_path)
            except Exception as error:  # noqa: BLE001
                return f"seed {seed}: {type(error).__name__}: {error}"
            return None

    failed = [text for text in await asyncio.gather(*(one(seed) for seed in range(FIRST, FIRST + RUNS))) if text]
    assert failed[:5] == [], f"{len(failed)} of {RUNS} runs"

"""The budget holds: reserve, reconcile, and a run that always ends in what it established."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from halo_worker.rlm.budget import BudgetLimits, Denied, Ledger
from halo_worker.rlm.messages import Message, Reply, ToolSpec, Usage
from halo_worker.rlm.provider.openai_model import OpenAIModel
from halo_worker.rlm.provider.retrying_client import RetryingClient
from tests.scripted_model import Fault, Request, Say, Scripted
from tests.worker.rlm.conftest import NewSession, task

FINAL = ("final_answer", {"answer": "three"})


def free(_: Usage) -> float | None:
    return None


def a_cent_a_thousand(usage: Usage) -> float:
    return (usage.input_tokens + usage.output_tokens) / 1_000 * 0.01


def spent(ledger: Ledger) -> int:
    return ledger.usage.input_tokens + ledger.usage.output_tokens


async def test_a_time_in_which_no_model_answered_ended_by_what_kept_it_from_answering(
    scripted_model: Scripted, session: NewSession
) -> None:
    """And not by the clock, so that it is told as a model that could not be asked."""
    dead, alive = (
        session(scripted_model(script), max_retries=0) for script in ([Fault(503)], [Say("three"), Fault(503)])
    )
    for question in ("how many?", "how many more?"):
        await dead.query(question)
        await alive.query(question)
    assert dead.ledger.cause("seconds", "time is up") == ("error", "503 scripted fault; time is up")
    assert alive.ledger.cause("seconds", "time is up") == ("seconds", "time is up"), "it has answered once"


async def test_what_is_reserved_is_not_left_and_what_was_not_used_comes_back() -> None:
    ledger = Ledger(BudgetLimits(tokens=100_000, cost_usd=None))
    one = await ledger.reserve(1_000, 4_000, free)
    assert ledger.tokens_left(final=True) == 95_000
    await ledger.settle(one, Usage(900, 100))
    assert ledger.tokens_left(final=True) == 99_000


async def test_the_answer_is_clipped_to_what_is_left_and_too_little_is_denied() -> None:
    ledger = Ledger(BudgetLimits(tokens=10_000, cost_usd=None))
    one = await ledger.reserve(5_000, 20_000, free, final=True)
    assert one.output_tokens == 5_000
    await ledger.settle(one, Usage(5_000, 1_000))
    with pytest.raises(Denied) as caught:
        await ledger.reserve(3_900, 1_000, free, final=True)
    assert caught.value.stop == "tokens"
    assert "4,000 are left, the call needs 3,900" in caught.value.reason


async def test_calls_in_flight_are_waited_for_before_one_is_denied() -> None:
    ledger = Ledger(BudgetLimits(tokens=10_000, cost_usd=None))
    first = await ledger.reserve(1_000, 8_000, free, final=True)
    second = asyncio.create_task(ledger.reserve(1_000, 4_000, free, final=True))
    await asyncio.sleep(0)
    assert not second.done()
    await ledger.settle(first, Usage(1_000, 10))
    assert (await second).output_tokens == 4_000


async def test_dollars_are_reserved_like_tokens() -> None:
    ledger = Ledger(BudgetLimits(tokens=None, cost_usd=1.0))
    one = await ledger.reserve(10_000, 1_000_000, a_cent_a_thousand, final=True)
    assert one.output_tokens == pytest.approx(90_000, abs=2)
    await ledger.settle(one, Usage(10_000, 85_000, cost_usd=0.95))
    with pytest.raises(Denied) as caught:
        await ledger.reserve(10_000, 1_000, a_cent_a_thousand, final=True)
    assert caught.value.stop == "cost"


async def test_a_third_at_most_is_held_back_for_the_last_call() -> None:
    ledger = Ledger(BudgetLimits(tokens=30_000, cost_usd=3.0))
    ledger.hold_back(50_000, 10.0)
    assert (ledger.tokens_left(), ledger.tokens_left(final=True)) == (20_000, 30_000)
    assert (ledger.cost_left(), ledger.cost_left(final=True)) == (2.0, 3.0)


class Meter:
    """A model whose every call uses all it was allowed, and remembers how much was in flight."""

    name = "meter"

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.calls = 0

    async def ask(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[ToolSpec] = (),
        schema: dict[str, Any] | None = None,
        max_output_tokens: int | None = None,
        on_delta: Callable[[str], None] | None = None,
    ) -> Reply:
        self.calls += 1
        await asyncio.sleep(0.001)
        given = self.estimate(messages, tools)
        self.used += given + (max_output_tokens or 0)
        assert self.used <= self.limit
        return Reply("x", usage=Usage(given, max_output_tokens or 0))

    def estimate(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> int:
        return sum(len(message.content or "") for message in messages)

    def cost(self, usage: Usage) -> float | None:
        return None

    async def close(self) -> None:
        return


async def test_parallel_calls_cannot_overspend_together(session: NewSession) -> None:
    """Each of 100 calls at parallelism 50 uses all it is granted: the sum stays within the limit, to the token."""
    meter = Meter(limit=200_000)
    one = session(meter, limits=BudgetLimits(tokens=200_000, parallel=50))
    results = await one.batch([f"question {n}" for n in range(100)])
    assert spent(one.ledger) == meter.used <= 200_000
    assert {result.error["type"] for result in results if result.error} == {"budget"}
    assert one.ledger.stopped == "tokens"
    assert meter.calls > 10


async def test_one_question_that_is_too_large_does_not_stop_the_run(
    scripted_model: Scripted, session: NewSession
) -> None:
    one = session(scripted_model([Say("x")]), limits=BudgetLimits(tokens=20_000))
    large, small = await one.batch(["word " * 20_000, "word"])
    assert large.error
    assert large.error["type"] == "budget"
    assert (small.value, one.ledger.stopped) == ("x", None)


async def test_retries_count(scripted_model: Scripted, session: NewSession) -> None:
    one = session(scripted_model([Fault(500), Fault(429, retry_after=0), Say("x")]))
    assert (await one.query("?")).value == "x"
    assert one.ledger.model_calls == 3


async def test_the_deadline_cancels_the_call_in_flight_and_the_run_still_ends(
    scripted_model: Scripted, session: NewSession
) -> None:
    def script(request: Request) -> Say | Fault:
        return Say(calls=[FINAL]) if request.tools == ["final_answer"] else Fault(kind="hang")

    server = scripted_model(script)
    one = session(server, limits=BudgetLimits(seconds=3.0))
    began = time.monotonic()
    outcome = await one.loop(task())
    assert time.monotonic() - began < 8
    assert (outcome.arguments, outcome.stopped_by) == ({"answer": "three"}, "seconds")


async def test_what_had_been_written_when_time_ended_is_kept_and_counted(
    scripted_model: Scripted, session: NewSession
) -> None:
    server = scripted_model(lambda _: Say("so far, three of them failed. " * 100, pause=0.02))
    one = session(server, limits=BudgetLimits(seconds=2.0, turns=1))
    outcome = await one.loop(task())
    assert outcome.stopped_by == "turns"
    assert (outcome.salvaged or "").startswith("so far, three of them failed.")
    assert one.ledger.usage.output_tokens > 5


async def test_the_deadline_ends_code_that_runs(scripted_model: Scripted, session: NewSession) -> None:
    def script(request: Request) -> Say:
        endless = Say(calls=[("run_code", {"code": "while True: pass"})])
        return Say(calls=[FINAL]) if request.tools == ["final_answer"] else endless

    one = session(scripted_model(script), limits=BudgetLimits(seconds=4.0))
    began = time.monotonic()
    outcome = await one.loop(task())
    assert time.monotonic() - began < 12
    assert (outcome.arguments, outcome.stopped_by) == ({"answer": "three"}, "seconds")


async def test_an_interruption_ends_the_call_in_flight(scripted_model: Scripted, session: NewSession) -> None:
    server = scripted_model([Fault(kind="hang")])
    one = session(server, interrupted=lambda: len(server.requests) > 0)
    async with asyncio.timeout(5):
        outcome = await one.loop(task())
    assert (outcome.arguments, outcome.stopped_by) == (None, "interrupted")
    assert one.ledger.stopped == "interrupted"


async def test_a_long_wait_that_the_deadline_does_not_allow_is_not_begun(
    scripted_model: Scripted, session: NewSession
) -> None:
    one = session(scripted_model([Fault(429, retry_after=60)] * 9), limits=BudgetLimits(seconds=20))
    began = time.monotonic()
    outcome = await one.loop(task())
    assert time.monotonic() - began < 5
    assert (outcome.stopped_by, outcome.arguments) == ("error", None)
    assert outcome.reason.startswith("429")


async def test_usage_that_nobody_reports_is_estimated_and_said_so(
    scripted_model: Scripted, session: NewSession
) -> None:
    one = session(scripted_model([Say("a" * 300, usage=False)]))
    await one.query("question " * 100)
    assert one.ledger.estimated_calls == 1
    assert one.ledger.usage.input_tokens > 200
    assert 90 <= one.ledger.usage.output_tokens <= 120


async def test_what_a_broken_call_may_cost_is_counted(scripted_model: Scripted, session: NewSession) -> None:
    """A timeout, or a stream that broke off, was worked on; a refused connection or a 500 was not."""
    one = session(scripted_model([Fault(kind="reset"), Fault(500), Say("x", input_tokens=10, output_tokens=1)]))
    await one.query("?")
    assert one.ledger.estimated_calls == 1
    assert spent(one.ledger) > 11


async def test_cost_comes_from_usage_cached_and_reasoning_tokens_included(
    scripted_model: Scripted, session: NewSession
) -> None:
    server = scripted_model([Say("x", input_tokens=1_000_000, output_tokens=0, reasoning_tokens=100_000)])
    model = OpenAIModel(
        "m", base_url=server.base_url, api_key="x", input_usd_per_million=1.0, output_usd_per_million=10.0
    )
    one = session(model, limits=BudgetLimits(tokens=None, cost_usd=3.0))
    await one.query("?")
    assert one.ledger.usage.cost_usd == pytest.approx(2.0)
    assert one.ledger.cost_left(final=True) == pytest.approx(1.0)


async def test_where_no_price_is_known_the_limit_in_dollars_is_not_claimed(
    scripted_model: Scripted, session: NewSession
) -> None:
    one = session(scripted_model([Say("x")]))
    await one.query("?")
    assert one.ledger.unpriced_calls == 1
    assert "$" not in one.ledger.left()


async def test_a_provider_that_is_down_is_not_asked_for_every_item(
    scripted_model: Scripted, session: NewSession
) -> None:
    server = scripted_model(lambda request: Fault(503) if request.number else Say("x"))
    one = session(server, max_retries=2, limits=BudgetLimits(parallel=1))
    results = await one.batch([str(n) for n in range(50)])
    assert {result.error["type"] for result in results if result.error} == {"unavailable"}
    assert len(server.requests) == 1 + 9  # three calls of three attempts
    assert one.ledger.stopped == "error"


@pytest.mark.parametrize(
    ("fault", "requests"),
    [(Fault(503), 3), (Fault(kind="reset"), 3), (Fault(404, kind="html"), 1), (Fault(400, "invalid_request", "no"), 1)],
)
async def test_an_endpoint_that_never_answered_costs_one_call(
    scripted_model: Scripted, session: NewSession, fault: Fault, requests: int
) -> None:
    """A map sends many at once: the first goes ahead alone."""
    server = scripted_model(lambda _: fault)
    one = session(server, max_retries=2)
    results = await one.batch([str(n) for n in range(50)])
    assert all(result.error for result in results)
    assert len(server.requests) == requests
    assert one.ledger.stopped == "error"


async def test_what_concerns_every_call_is_asked_once(scripted_model: Scripted, session: NewSession) -> None:
    server = scripted_model(lambda _: Fault(429, "insufficient_quota", "You exceeded your current quota"))
    one = session(server, limits=BudgetLimits(parallel=1))
    results = await one.batch([str(n) for n in range(50)])
    assert all(result.error and result.error["message"].startswith("insufficient_quota") for result in results)
    assert len(server.requests) == 1


async def test_a_sub_model_that_is_down_does_not_take_the_root_down(
    scripted_model: Scripted, session: NewSession
) -> None:
    down = scripted_model(lambda _: Fault(404, "model_not_found", "no such model"))
    sub = OpenAIModel("sub", base_url=down.base_url, api_key="x")
    server = scripted_model([Say(calls=[FINAL])])
    one = session(server, sub=sub)
    assert [r.error and r.error["type"] for r in await one.batch(["a", "b"])] == ["refused"] * 2
    assert len(down.requests) <= 2
    assert (await one.loop(task())).arguments


async def test_an_error_of_the_implementation_is_one_that_may_pass(session: NewSession) -> None:
    class Odd(Meter):
        async def ask(self, messages: Sequence[Message], **given: Any) -> Reply:
            self.calls += 1
            if self.calls < 3:
                raise ZeroDivisionError("odd")
            return await super().ask(messages, **given)

    one = session(Odd(10**9))
    assert (await one.query("?")).value == "x"
    one = session(Odd(10**9), max_retries=1)
    result = await one.query("another")
    assert result.error
    assert result.error["type"] == "unavailable"


class Unanswering:
    """A model that never answers, and the trajectory that counts what it was asked."""

    name, price, max_output_tokens = "mute", None, None

    def __init__(self) -> None:
        self.asked = 0

    def write(self, kind: str, **_: Any) -> None:
        self.asked += kind == "asked"

    def estimate(self, *_: Any) -> int:
        return 1_000

    def cost(self, _: Usage) -> float | None:
        return None

    async def ask(self, *_: Any, **__: Any) -> Reply:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")


async def test_whenever_a_call_is_cancelled_its_reservation_comes_back() -> None:
    asked = 0
    for steps in range(12):
        ledger, model = Ledger(BudgetLimits(tokens=100_000, cost_usd=None)), Unanswering()
        client = RetryingClient(ledger, model, max_retries=0)  # type: ignore[arg-type]
        call = asyncio.create_task(client.ask(model, [], purpose="sub", agent_id="a"))  # type: ignore[arg-type]
        for _ in range(steps):
            await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert ledger.model_calls == model.asked, steps
        if not model.asked:
            assert ledger.tokens_left(final=True) == 100_000, steps
        asked += model.asked
    assert 0 < asked < 12

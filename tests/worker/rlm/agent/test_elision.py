"""A long conversation: old results give way by rule, nothing is lost, the beginning stays byte-equal."""

from __future__ import annotations

import itertools
import json

from halo_worker.rlm.budget import BudgetLimits
from tests.scripted_model import Fault, Request, Say, Scripted
from tests.worker.rlm.conftest import NewSession, task

FINAL = ("final_answer", {"answer": "three"})
LIMITS = BudgetLimits(turns=40, tokens=None)


def numbers(limit: int) -> Say:
    return Say(calls=[("list_numbers", {"limit": limit})])


async def test_old_results_give_way_to_a_line_that_names_them(scripted_model: Scripted, session: NewSession) -> None:
    """No model is asked for it, and the latest results stay."""
    server = scripted_model([numbers(1_000 + n) for n in range(20)] + [Say(calls=[FINAL])])
    outcome = await session(server, limits=LIMITS, context_tokens=12_000).loop(task())
    assert outcome.arguments
    assert len(server.requests) == 21
    last = server.requests[-1]
    elided = [text for text in last.texts if "elided to save room" in text]
    assert elided[0].startswith("[list_numbers: ")
    assert 'get_context_item("item-1")' in elided[0]
    assert "[0,1,2" in last.texts[-2]
    assert max(request.size for request in server.requests) < 12_000 * 4.5


async def test_an_elided_result_can_be_seen_again_also_from_code(scripted_model: Scripted, session: NewSession) -> None:
    see = Say(calls=[("get_context_item", {"item_id": "item-1"})])
    code = Say(calls=[("run_code", {"code": "print(len(get_context_item('item-1')))"})])
    server = scripted_model([*(numbers(1_000 + n) for n in range(6)), see, code, Say(calls=[FINAL])])
    await session(server, limits=LIMITS, context_tokens=6_000).loop(task())
    assert "[0,1,2" in server.requests[7].texts[-2]
    assert json.loads(server.requests[8].texts[-2].split("\n")[1])["stdout"].strip().isdigit()


async def test_the_beginning_stays_byte_equal_between_elisions(scripted_model: Scripted, session: NewSession) -> None:
    """Many results go at once, so that most turns repeat the whole prefix of the one before."""
    server = scripted_model([numbers(700 + n) for n in range(30)] + [Say(calls=[FINAL])])
    await session(server, limits=LIMITS, context_tokens=15_000).loop(task())
    kept = [json.dumps(request.messages[:-1])[:-1] for request in server.requests]
    broken = sum(not after.startswith(before) for before, after in itertools.pairwise(kept))
    assert 1 <= broken <= 5


async def test_a_context_overflow_is_answered_by_eliding(scripted_model: Scripted, session: NewSession) -> None:
    """The endpoint's window is smaller than we thought: the run goes on, and remembers."""

    def script(request: Request) -> Say | Fault:
        if request.size > 30_000:
            return Fault(400, "context_length_exceeded", "This model's maximum context length is 8192 tokens")
        done = sum("list_numbers" in text for text in request.texts)
        return Say(calls=[FINAL]) if done >= 12 else numbers(900 + done)

    server = scripted_model(script)
    one = session(server, limits=LIMITS)
    outcome = await one.loop(task())
    assert outcome.arguments
    refused = sum(request.size > 30_000 for request in server.requests)
    assert 1 <= refused <= 4


async def test_one_result_larger_than_the_window_is_elided_too(scripted_model: Scripted, session: NewSession) -> None:
    def script(request: Request) -> Say | Fault:
        if request.size > 16_000:
            return Fault(400, "context_length_exceeded")
        return Say(calls=[FINAL]) if "elided" in json.dumps(request.texts) else Say(calls=[("flood", {})])

    outcome = await session(scripted_model(script), limits=LIMITS).loop(task())
    assert outcome.arguments


async def test_an_overflow_that_nothing_helps_ends_the_run_with_its_reason(
    scripted_model: Scripted, session: NewSession
) -> None:
    server = scripted_model(lambda _: Fault(400, "context_length_exceeded", "too long"))
    outcome = await session(server).loop(task())
    assert (outcome.stopped_by, outcome.arguments) == ("error", None)
    assert outcome.reason.startswith("context_length_exceeded")
    assert len(server.requests) == 1


async def test_results_of_actions_in_text_give_way_too(scripted_model: Scripted, session: NewSession) -> None:
    script = [Say(f"```python\nprint(list_numbers(limit={1_000 + n}))\n```") for n in range(12)]
    server = scripted_model([*script, Say("```python\nfinal_answer(answer='x')\n```")])
    outcome = await session(server, limits=LIMITS, context_tokens=8_000).loop(task())
    assert outcome.arguments == {"answer": "x"}
    assert any("elided to save room" in text for text in server.requests[-1].texts)

"""A title, follow-up questions, a summary or a verdict after the answer is not the answer."""

# ruff: noqa: E501 - a case reads best on one line

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from halo_receiver.span import Span
from halo_worker.analysis.detectors import run_detectors
from tests.sampled import sampled
from tests.small_spans import MODEL, agent, found, llm, opened, said, span, tool

TOLD = "I'm sorry, I could not look up your order: the order service is down."
FAILED = {"error": "order service is down"}
VERDICT = (
    "The assistant was polite and clear. It named the cause of the problem, and it did not promise anything that it "
    "cannot keep. A better reply would have offered to try again in an hour."
)


def looked_up(trace: int, answer: str, **about: Any) -> list[Span]:
    """An agent's loop: a call, its result, which is an error, and the answer."""
    return [
        agent(trace, **about),
        llm(trace, 2, call=("get_order", {"id": trace}), prompt="Where is my order?", at=10),
        tool(trace, 3, "get_order", {"id": trace}, FAILED, at=200),
        llm(trace, 4, answer, at=500),
    ]


def small(trace: int, text: str, **about: Any) -> Span:
    return llm(trace, 9, text, **{"at": 900, **about})


AFTER: dict[str, Callable[[int], list[Span]]] = {
    "a title": lambda n: [small(n, "Order status question")],
    "a longer title": lambda n: [small(n, "📦 The status of an order, and an order service that is down today")],
    "a title asked for at the start, slower than the answer": lambda n: [small(n, "Order status question", at=5, lasts=1500)],
    "a title in Japanese": lambda n: [small(n, "注文状況の問い合わせ")],
    "follow-up questions as JSON": lambda n: [small(n, '{"follow_ups": ["When will it be back?", "Can I cancel?"]}')],
    "follow-up questions as lines": lambda n: [small(n, "When will my order be back in the shop?\nCan I cancel it now?")],
    "tags": lambda n: [small(n, '["orders", "outage"]')],
    "a verdict as JSON": lambda n: [small(n, '```json\n{"score": 1, "reasoning": "polite"}\n```')],
    "a short verdict": lambda n: [small(n, "Score: 4. It is polite.")],
    "a summary": lambda n: [small(n, "The customer asked about the status of order 1.")],
    "a verdict that is asked about the answer": lambda n: [small(n, VERDICT, prompt=f"Judge this reply.\n<reply>{TOLD}</reply>")],
    "a verdict within an evaluator": lambda n: [
        span(n, 8, "judge", {"openinference.span.kind": "EVALUATOR"}, parent=1, at=880),
        span(n, 7, "chain", {"openinference.span.kind": "CHAIN"}, parent=8, at=885),
        small(n, VERDICT, parent=7),
    ],
    "a verdict of a guardrail": lambda n: [
        span(n, 8, "guard", {"openinference.span.kind": "GUARDRAIL"}, parent=1, at=880), small(n, VERDICT, parent=8),
    ],
    "a call after the run": lambda n: [small(n, VERDICT, at=5000)],
    "a call with a small limit": lambda n: [
        small(n, "The order service is not there now, and that is what was said to the customer who had asked for it.",
              more={"gen_ai.request.max_tokens": 60}),
    ],
    "several of them": lambda n: [
        small(n, "Order status question"),
        llm(n, 10, '{"tags": ["orders"]}', at=1000), llm(n, 11, '["When will it be back?"]', at=1100),
        llm(n, 12, "Score: 4. It is polite.", at=1200),
    ],
    "all at once": lambda n: [
        small(n, "Order status question"), llm(n, 10, '{"tags": ["orders"]}', at=901), llm(n, 11, '["When?"]', at=902),
    ],
}  # fmt: skip


@pytest.mark.parametrize("after", sampled(AFTER, 5))
def test_what_is_asked_after_the_answer_does_not_hide_that_the_user_was_told(tmp_path: Path, after: str) -> None:
    made = [one for n in range(1, 4) for one in (*looked_up(n, TOLD), *AFTER[after](n))]
    assert found(made, tmp_path) == {}


def test_nor_does_it_hide_that_the_user_was_not_told(tmp_path: Path) -> None:
    """A verdict that speaks of the failure is no answer."""
    judged = '{"score": 0, "reasoning": "It could not look up the order and does not say so."}'
    made = [one for n in range(1, 4) for one in (*looked_up(n, "Your order arrives on Monday."), small(n, judged))]
    assert set(found(made, tmp_path)) == {"swallowed_error"}


def finals(spans: list[Span], directory: Path) -> list[str]:
    with opened(spans, directory) as reader:
        run_detectors(reader)
        return [row["answer"] for row in reader.query("SELECT answer FROM answers ORDER BY trace_id")]


LONG = "It is made of down and weighs 900 grams. It keeps you warm to minus five degrees, and packs small."


@pytest.mark.parametrize(
    ("spans", "answer"),
    [
        # A pipeline: the last is the answer.
        ([agent(1), llm(1, 2, "First I look at the bag, then at the reviews.", at=10), llm(1, 3, LONG, at=200)], LONG),
        # A draft, and what the user gets.
        ([agent(1), llm(1, 2, "A bag.", at=10), llm(1, 3, LONG, at=200), llm(1, 4, f"{LONG} Enjoy!", at=400)], f"{LONG} Enjoy!"),
        # A word on the way, and the real answer.
        ([*looked_up(1, "Let me see."), llm(1, 5, TOLD, at=700)], TOLD),
        # A plan in JSON first.
        ([agent(1), llm(1, 2, '{"steps": ["look", "tell"]}', at=10), llm(1, 3, LONG, at=200)], LONG),
        # A workflow's own call puts together what an agent found out.
        (
            [span(1, 20, "workflow", {"gen_ai.operation.name": "invoke_workflow"}, lasts=3000),
             *looked_up(1, "The service is down.", parent=20), llm(1, 9, TOLD, at=2500, parent=20)],
            TOLD,
        ),
        # The run returned the first of two: the second is not part of it, whatever it looks like.
        ([agent(1, answer=LONG), llm(1, 2, LONG, at=10), llm(1, 3, f"A rather good answer. {LONG} {LONG}", at=200)], LONG),
        # The run returned the short one.
        ([agent(1, answer="42"), llm(1, 2, LONG, at=10), llm(1, 3, "42", at=200)], "42"),
        # The run's own output wraps the answer.
        (
            [span(1, 1, "LangGraph", {"openinference.span.kind": "CHAIN", "output.value": said(LONG)}, lasts=2000),
             llm(1, 2, LONG, at=10), llm(1, 3, f"That was fine, and it is long enough. {LONG}", at=200)],
            LONG,
        ),
        # Two turns of one conversation.
        (
            [span(1, 20, "session", lasts=9000), *looked_up(1, TOLD, parent=20),
             agent(1, 30, parent=20, at=3000), llm(1, 31, "You are welcome, come back any time.", parent=30, at=3100)],
            "You are welcome, come back any time.",
        ),
    ],
)  # fmt: skip
def test_the_answer_is_what_ended_the_work(tmp_path: Path, spans: list[Span], answer: str) -> None:
    assert finals(spans, tmp_path) == [answer]


def test_a_title_does_not_make_a_run_that_stopped_look_finished(tmp_path: Path) -> None:
    """The tools answered and the model is never asked again, but for a title."""
    made = []
    for n in range(1, 31):
        made += [
            agent(n),
            llm(n, 2, call=("get_order", {"id": n}), at=10),
            tool(n, 3, "get_order", {"id": n}, {"ok": 1}, at=200),
        ]
        if n <= 28:
            made += [llm(n, 4, "Your order arrives on Monday.", at=500)]
        made += [small(n, "Order status question", model=f"{MODEL}-mini")]
    findings = found(made, tmp_path)
    assert {name: len(one.occurrences) for name, one in findings.items()} == {"ended_in_mid_work": 2}

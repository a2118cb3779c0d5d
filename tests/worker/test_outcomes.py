"""How runs end, by what is recorded and by their structure, and what is found of those that fail."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from halo_receiver.span import Span
from halo_worker.analysis import overview
from halo_worker.analysis.detectors import run_detectors
from tests.small_spans import agent, found, llm, opened, said, span, tool

ASK = ("find_order", {"id": 1})


def worked(
    trace: int, *, answer: str | None = None, result: str = '{"order": 1}', more: list[Span] | None = None
) -> list[Span]:
    """A run of one call, its result, and maybe an answer."""
    spans = [agent(trace), llm(trace, 2, call=ASK, at=10), tool(trace, 3, *ASK, result, at=200)]
    return [*spans, *(more or []), *([llm(trace, 4, answer, at=400)] if answer is not None else [])]


def handed(trace: int, *, back: bool = True) -> list[Span]:
    """A manager that hands work to two others, and takes the turn after each of them, or not after the last."""
    turns = ["manager", "browser", "manager", "reader", "manager", "browser", *(["manager"] if back else [])]
    return [
        agent(trace, 1, "team"),
        *(
            agent(trace, number, name, answer=f"{name} says {number}.", parent=1, at=100 * number, lasts=50)
            for number, name in enumerate(turns, 2)
        ),
    ]


RUNS: dict[str, tuple[list[Span], str, str | None]] = {
    "an answer after the work": (worked(1, answer="Your order is on its way."), "served", "structure"),
    "an answer in another language": (worked(1, answer="ご注文は発送済みです。"), "served", "structure"),
    "an answer of the outer span alone": (
        [agent(1, answer="It is on its way."), llm(1, 2, call=ASK), tool(1, 3, *ASK, {}, at=200)],
        "served", "structure",
    ),
    "the result is the last that happens": (worked(1), "ended in mid-work", "structure"),
    "the call is the last that happens": ([agent(1), llm(1, 2, call=ASK)], "ended in mid-work", "structure"),
    "nothing is said after the result": (
        [*worked(9, answer="Done."), *worked(1, answer="")], "ended in mid-work", "structure",
    ),
    "a recorded success above a run that stops": (
        [agent(1, status="OK"), llm(1, 2, call=ASK), tool(1, 3, *ASK, {}, at=200)],
        "ended in mid-work", "structure",
    ),
    "the program saves after the answer": (
        worked(1, answer="It is on its way.", more=[tool(1, 5, "save_history", {}, "saved", at=900)]),
        "served", "structure",
    ),
    "a tool that ends runs": (
        [agent(1), llm(1, 2, call=("final_answer", {"text": "4"})), tool(1, 3, "final_answer", {}, "4", at=200)],
        "served", "structure",
    ),
    "the outer span returns what was said with the call": (
        [agent(1, answer="Let me see."), llm(1, 2, "Let me see.", call=ASK), tool(1, 3, *ASK, {}, at=200)],
        "ended in mid-work", "structure",
    ),
    "one call of a model": ([llm(1, 2, call=ASK, parent=None)], "unknown", None),
    "an error, and an answer after it": (
        worked(1, answer="Bestellung nicht gefunden.", result='{"error": "no such order"}'),
        "told but not served", "structure",
    ),
    "an error that a later call mends": (
        worked(1, answer="It is on its way.", result='{"error": "no such order"}',
               more=[llm(1, 6, call=ASK, at=300), tool(1, 5, *ASK, {"order": 1}, at=350)]),
        "served", "structure",
    ),
    "handed to a person": (
        [agent(1), llm(1, 2, call=("transfer_to_human", {})), tool(1, 3, "transfer_to_human", {}, "ok", at=200)],
        "gave up", "structure",
    ),
    "the notice of a limit": (worked(1, answer="Agent stopped due to max iterations."), "limit reached", "structure"),
    "cut at the output limit": (
        [
            agent(1), tool(1, 3, *ASK, {}, at=5, lasts=9),
            llm(1, 2, more={"gen_ai.output.messages": said("The first of", reason="length")}, at=100),
        ],
        "limit reached", "structure",
    ),
    "a root in error": ([agent(1, status="ERROR", message="boom"), llm(1, 2, "Hi.")], "error", "recorded"),
    "an evaluation outweighs the structure": (
        [
            agent(1, more={"gen_ai.evaluation.name": "helpful", "gen_ai.evaluation.score.label": "pass"}),
            llm(1, 2, call=ASK),
        ],
        "served", "recorded",
    ),
    "the manager comes back": ([span for n in range(2, 6) for span in handed(n)] + handed(1), "served", "structure"),
    "the manager never comes back": (
        [span for n in range(2, 6) for span in handed(n)] + handed(1, back=False), "ended in mid-work", "structure",
    ),
}  # fmt: skip


def moved(spans: list[Span], service: str, first: int) -> list[Span]:
    """Give spans a service of their own, and traces from `first` on."""
    scope = replace(spans[0].scope, resource_attributes={"service.name": service})
    return [replace(one, scope=scope, trace_id=f"{first + int(one.trace_id, 16):032x}") for one in spans]


def test_how_runs_end(tmp_path: Path) -> None:
    spans = [one for place, name in enumerate(RUNS) for one in moved(RUNS[name][0], name, 100 * place)]
    with opened(spans, tmp_path) as reader:
        run_detectors(reader)
        rows = {int(row["trace_id"], 16): row for row in reader.query("FROM _ended")}
        totals = overview.totals(reader, [], [])
    ended = {name: rows[100 * place + 1] for place, name in enumerate(RUNS)}
    assert {name: (row["outcome"], row["basis"]) for name, row in ended.items()} == {
        name: (outcome, basis) for name, (_, outcome, basis) in RUNS.items()
    }
    assert all(0 < row["risk"] < 1 for row in rows.values())
    assert sum(one.traces for one in totals.outcomes) == totals.traces
    assert {(one.outcome, one.basis) for one in totals.outcomes} == {(r["outcome"], r["basis"]) for r in rows.values()}


def test_what_is_systemic_is_reported_and_not_taken_for_normal(tmp_path: Path) -> None:
    spans = [span for trace in range(30) for span in worked(trace, answer="Done." if trace < 4 else None)]
    # The same tool in the middle of runs: it is none that ends them.
    spans += [span for trace in range(30, 40) for span in worked(trace, answer="Done.")]
    one = found(spans, tmp_path)["ended_in_mid_work"]
    assert len({item.trace_id for item in one.occurrences}) == 26
    assert one.title == "Runs of support end in mid-work, without an answer"


def test_every_root_that_ends_in_error_is_in_a_finding(tmp_path: Path) -> None:
    """Also where what failed below it worked later, and where the error says nothing; control flow is no failure."""
    mended = [tool(2, 6, *ASK, parent=1, at=20, status="ERROR", message="locked"), *worked(2, answer="Done.")[1:]]
    spans = [
        agent(1, status="ERROR"), llm(1, 2, "Hi."),
        agent(2, status="ERROR"), *mended,
        agent(3, status="ERROR", message="boom"),
        agent(4, status="ERROR", raised=("asyncio.exceptions.CancelledError", "")),
        *worked(5, answer="Sorry.", result='{"error": "no such order"}')[1:], agent(5, status="ERROR"),
    ]  # fmt: skip
    with opened(spans, tmp_path) as reader:
        findings = run_detectors(reader).findings
    named = {(one.detector_name, item.trace_id[-1]) for one in findings for item in one.occurrences}
    assert {trace for _, trace in named} == {"1", "2", "3", "5"}
    assert {trace for name, trace in named if name == "cause_not_known"} == {"2"}


def test_a_request_that_goes_to_a_person_after_a_failed_call_names_the_call(tmp_path: Path) -> None:
    to_person = [llm(1, 6, call=("transfer_to_human", {}), at=500), tool(1, 7, "transfer_to_human", {}, "ok", at=600)]
    failed = worked(1, result='{"error": "order is locked"}', more=to_person)
    plain = [
        agent(2), llm(2, 2, call=("transfer_to_human", {})), tool(2, 3, "transfer_to_human", {}, "ok", at=200)
    ]  # fmt: skip
    one = found([*failed, *plain], tmp_path)["handed_to_a_person"]
    assert [item.trace_id[-1] for item in one.occurrences] == ["1"]
    assert one.title == 'Requests go to a person after find_order fails: "order is locked"'
    assert "order is locked" in one.evidence[0].quote


def test_of_what_ran_elsewhere_nothing_is_said(tmp_path: Path) -> None:
    """A client that runs its tools itself, and goes on in the next trace of its session."""
    steps = [
        one
        for trace in (1, 2, 3)
        for one in (
            span(trace, 1, "POST /chat", {"session.id": "s"}, at=trace * 5000),
            llm(trace, 2, call=ASK, at=trace * 5000) if trace < 3 else llm(trace, 2, "Done.", at=trace * 5000),
        )
    ]
    assert "ended_in_mid_work" not in found(steps, tmp_path)


@pytest.mark.parametrize(
    ("folder", "named"),
    [
        ("/app", "update_plan (lead.py)"),
        ("/usr/lib/python3.12/site-packages/group_chat", "update_plan (lead.py)"),
        ("/usr/lib/python3.12/site-packages/openai", "surfer"),
    ],
)
def test_an_exception_is_told_of_the_code_that_called_what_raised_it(folder: str, named: str, tmp_path: Path) -> None:
    """Not of the agent that holds its text, unless no other code is known: neither of the client that raised it."""
    packages = "/usr/lib/python3.12/site-packages"
    dump = (
        f'Traceback (most recent call last):\n  File "{folder}/lead.py", line 88, in update_plan\n'
        f'  File "{packages}/chat_models/openai/client.py", line 9, in create\n'
        f'  File "{packages}/openai/_client.py", line 12, in create\n'
        "openai.BadRequestError: Error code: 400 - the response was filtered"
    )
    last = agent(1, 3, "surfer", answer=dump, parent=1, at=500)
    finding = found([agent(1, 1, "team"), llm(1, 2, "Please look up the tide."), last], tmp_path)["uncaught_exception"]
    assert named in finding.title

"""Facts of a finding, from stored spans to report.json: calls, place, who was told otherwise, what they share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from halo_receiver.span import Span
from halo_worker import assembly
from halo_worker.analysis.detectors import run_detectors
from halo_worker.analysis.evidence import verify
from halo_worker.report.memory import IssueMemory
from halo_worker.report.model import Finding, Report
from halo_worker.window import Window
from tests.small_spans import START, agent, llm, opened, tool

STEP = 10_000  # milliseconds between traces
CLAIM = "I have issued a refund of the whole amount to your card; it will be there within five days."
DENIAL = "I could not make this refund, I am sorry. A colleague will look at it and write to you today."


def shop(
    failing: range = range(20, 34),
    *,
    answer: str = CLAIM,
    users: int | None = 11,
    traces: int = 41,
    again: bool = False,
) -> Iterator[Span]:
    """Runs that look an order up and refund it; from the first that fails on they are of another release."""
    for n in range(traces):
        bad, at, price = n in failing, n * STEP, 10 + n
        more: dict[str, Any] = {"resource": {"service.version": "2.4.0" if n >= failing.start else "2.3.1"}}
        user = {} if users is None else {"user.id": f"user-{n % users}"}
        call = {"amount": price * 100 if bad else price, "order_id": f"LO-{n}"}
        refused = ("ValueError", f"refund amount {price * 100}.00 exceeds the order total of {price}.00 EUR")
        yield agent(n + 1, answer=answer if bad else CLAIM, at=at, status="OK", more=user, **more)
        yield llm(n + 1, 2, call=("lookup_order", {"order_id": f"LO-{n}"}), at=at + 100, **more)
        yield tool(
            n + 1, 3, "lookup_order", {"order_id": f"LO-{n}"}, {"total": price, "paid": True}, at=at + 200, **more
        )
        yield llm(n + 1, 4, call=("issue_refund", call), at=at + 400, **more)
        if bad:
            yield tool(n + 1, 5, "issue_refund", call, at=at + 600, status="ERROR", raised=refused, **more)
        if not bad or again:
            yield tool(n + 1, 6, "issue_refund", call | {"amount": price}, {"refunded": price}, at=at + 800, **more)
        yield llm(n + 1, 7, answer if bad else CLAIM, at=at + 1000, **more)


def reported(spans: Iterator[Span], directory: Path) -> Report:
    with opened(list(spans), directory) as reader:
        draft = run_detectors(reader)
        about = assembly.About("run", Window(START, START + 10**15), START + 10**15, None, None)
        return assembly.assemble(reader, about, draft, verify(reader, draft), IssueMemory([]), not_examined=()).report


def refund(report: Report) -> Finding:
    return next(one for one in report.findings if one.calls and one.calls.name == "issue_refund")


def test_all_facts_of_a_tool_that_refuses_and_an_agent_that_says_it_did(tmp_path: Path) -> None:
    made = reported(shop(), tmp_path)
    found = refund(made)
    assert (found.calls.affected, found.calls.of) == (14, 41) if found.calls else False
    assert found.place is not None
    assert found.place.model_dump() == {
        "tool": "issue_refund",
        "agent": "support",
        "version": "2.4.0",
        "only_version": True,
    }
    assert found.told_otherwise is not None
    assert (found.told_otherwise.users, found.told_otherwise.traces) == (11, 14)
    assert {one.kind for one in found.common} == {"ratio", "since"}, "a quarter of the calls that work are of 2.4.0 too"
    assert found.impact is not None
    assert (found.impact.users, found.impact.seconds) == (11, 28.0)
    assert (found.impact.not_served, found.impact.abandoned) == (14, 0), "what is said to be done is not served"
    assert 0 < found.impact.waited_seconds < 28
    assert made.headline == (
        "Since 21 Sep issue_refund fails in support 2.4.0: 14 of 41 calls (amount 100 times the order total); "
        "11 users were told it succeeded."
    )
    claims = next(one for one in made.findings if one.title == "support claims refunds it did not make")
    assert (claims.group_id, found.symptoms) == (found.issue_id, [claims.issue_id]), "the failed call leads"
    assert made.report_version == 1
    assert Report.model_validate_json(made.to_json()) == made


@pytest.mark.parametrize(
    ("users", "answer", "told"), [(None, CLAIM, (None, 14)), (11, DENIAL, None), (1, CLAIM, (1, 14))]
)
def test_who_was_told_otherwise_is_said_where_it_is_known(
    tmp_path: Path, users: int | None, answer: str, told: tuple[int | None, int] | None
) -> None:
    found = refund(reported(shop(users=users, answer=answer), tmp_path)).told_otherwise
    assert (found and (found.users, found.traces)) == told


def test_a_claim_of_something_else_is_not_laid_at_the_failed_tool(tmp_path: Path) -> None:
    """The refund fails, and what the answer claims is a message: of the refund nobody was told anything."""
    other = "I have emailed the whole history of your order to your lawyer, as you asked me to do this morning."
    assert refund(reported(shop(answer=other), tmp_path)).told_otherwise is None


def test_failures_of_every_release_have_no_release(tmp_path: Path) -> None:
    """All traces are of one release: it is where they are, and no reason."""
    found = refund(reported(shop(range(14)), tmp_path))
    assert found.place is not None
    assert (found.place.version, found.place.only_version) == ("2.4.0", False)
    assert not {"version", "since"} & {one.kind for one in found.common}


def test_calls_that_worked_the_second_time_are_no_finding(tmp_path: Path) -> None:
    assert not any(one.calls for one in reported(shop(again=True), tmp_path).findings)

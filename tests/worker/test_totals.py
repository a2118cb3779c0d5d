"""The totals of a report add up, whoever told of a call, and say how runs ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from halo_receiver.span import Span
from halo_worker.analysis import overview
from halo_worker.report.model import GroupTotals, Totals
from tests.receiver.test_agents import CASES
from tests.small_spans import agent, llm, opened, span


def totals(spans: list[Span], directory: Path) -> Totals:
    with opened(spans, directory) as reader:
        overview.prepare(reader)
        return overview.totals(reader, [], [])


@pytest.mark.parametrize("case", CASES)
def test_by_agent_model_and_service_tokens_and_costs_are_those_of_the_window(tmp_path: Path, case: str) -> None:
    spans, tokens = CASES[case]
    made = totals(spans, tmp_path)
    assert made.input_tokens == tokens
    for groups in (made.by_agent, made.by_model, made.by_service):
        assert sum(group.input_tokens for group in groups) == made.input_tokens
        assert sum(group.output_tokens for group in groups) == made.output_tokens
        assert sum(group.cost_usd or 0 for group in groups) == pytest.approx(made.cost_usd)
    assert [group.name for group in made.by_agent] == ["support"]


def test_what_has_no_agent_and_what_is_beyond_the_list_have_rows_of_their_own(tmp_path: Path) -> None:
    spans = [llm(50, 2, "Hi.", tokens=(7, 1), parent=None, service="")]
    for number in range(1, 31):
        spans += [agent(number, name=f"a{number:02}"), llm(number, 2, "Hi.", tokens=(100, 10), model=f"m-{number:02}")]
    made = totals(spans, tmp_path)

    def tail(groups: list[GroupTotals]) -> list[tuple[str, int, int]]:
        return [(group.name, group.traces, group.input_tokens) for group in groups[overview.MAX_GROUPS :]]

    assert tail(made.by_agent) == [("(no agent)", 1, 7), ("(others)", 10, 1000)]
    assert [group.name for group in made.by_service] == ["shop", "(no service name)"]
    for groups in (made.by_agent, made.by_model, made.by_service):
        assert sum(group.input_tokens for group in groups) == made.input_tokens == 3007


def test_an_alias_and_its_dated_release_are_one_model(tmp_path: Path) -> None:
    spans = [
        llm(1, 2, "Hi.", tokens=(100, 10), parent=None, more={"gen_ai.response.model": "gpt-4o-2024-08-06"}),
        llm(2, 2, tokens=(50, 0), parent=None, status="ERROR"),
    ]
    assert [(group.name, group.traces) for group in totals(spans, tmp_path).by_model] == [("gpt-4o", 2)]


def test_every_trace_ended_in_one_way_and_unknown_is_one(tmp_path: Path) -> None:
    cancelled = ("asyncio.exceptions.CancelledError", "")
    spans = [
        agent(1, status="OK"),
        agent(2, status="ERROR", message="no", raised=("ValueError", "no")),
        agent(3, status="ERROR", raised=cancelled),
        agent(4, status="OK"), span(4, 2, "approve", parent=1, status="ERROR", raised=("GraphInterrupt", "sure?")),
        agent(5),  # its service says when runs fail: this one did not
        agent(6, service="silent"),
        agent(7, service="silent", more={"gen_ai.evaluation.name": "helpful", "gen_ai.evaluation.score.label": "fail"}),
    ]  # fmt: skip
    made = totals(spans, tmp_path)
    assert {one.outcome: (one.traces, one.basis) for one in made.outcomes} == {
        "served": (2, "recorded"), "error": (2, "recorded"), "cancelled": (1, "recorded"), "paused": (1, "recorded"),
        "unknown": (1, None),
    }  # fmt: skip
    assert sum(one.traces for one in made.outcomes) == made.traces
    assert [(one.kind, one.name, one.traces) for one in made.control_flow] == [
        ("aborted", "CancelledError", 1), ("paused", "GraphInterrupt", 1),
    ]  # fmt: skip
    assert made.error_traces == 1

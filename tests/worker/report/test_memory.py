"""A failure mode keeps its identity, and its state says no more than the counts do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halo_worker.report.memory import IssueMemory, fingerprint, severity_of, state_of
from halo_worker.report.model import Report
from halo_worker.report.statistics import benjamini_hochberg, fisher_exact, wilson
from halo_worker.report.words import since
from tests.builders import START, finding, report

ID = "HALO-00000001"


def windows(*seen: tuple[int, int]) -> list[Report]:
    return [
        report(*([finding(ID, traces=traces, of=of)] if traces else []), day=day, of=of)
        for day, (traces, of) in enumerate(seen)
    ]


@pytest.mark.parametrize(
    ("before", "now", "state"),
    [
        ([], (10, 1000), "new"),
        ([(10, 1000)], (12, 1000), "ongoing"),
        ([(31, 1000)], (74, 1000), "worsening"),
        ([(74, 1000)], (31, 1000), "improving"),
        ([(10, 1000), (0, 1000)], (10, 1000), "regressed"),
        ([(10, 1000), (0, 50)], (10, 1000), "ongoing"),  # fifty traces could not have shown it
        ([(10, 1000), (0, 0)], (10, 1000), "ongoing"),  # an empty window says nothing
        ([(1, 20)], (3, 20), "ongoing"),  # too little to tell
    ],
)
def test_the_state_follows_from_the_counts(before: list[tuple[int, int]], now: tuple[int, int], state: str) -> None:
    memory = IssueMemory(windows(*before), None)
    assert memory.assess(ID, traces=now[0], of=now[1], first_seen=START).state == state


def test_an_issue_is_resolved_once_and_only_when_its_absence_means_something() -> None:
    few = IssueMemory(windows((10, 1000)), None)
    assert few.resolved_now(set(), of=100) == []
    assert [issue.issue_id for issue in few.resolved_now(set(), of=1000)] == [ID]
    gone = IssueMemory(windows((10, 1000), (0, 1000)), None)
    assert gone.resolved_now(set(), of=1000) == []
    assert state_of(gone.issues[ID]) == "resolved"
    slowly = IssueMemory(windows((10, 1000), (0, 300)), None)
    assert state_of(slowly.issues[ID]) == "ongoing"
    assert [issue.issue_id for issue in slowly.resolved_now(set(), of=300)] == [ID]


def test_decisions_are_kept_and_a_return_after_them_is_a_regression(tmp_path: Path) -> None:
    path = tmp_path / "decisions.jsonl"
    reports = windows((10, 1000))
    IssueMemory(reports, path).decide(ID, "resolve", note="fixed in 2.4.1", now_ns=START + 10)
    with path.open("a", encoding="utf-8") as file:
        file.write('{"issue_id": "HALO')  # a torn last line
    memory = IssueMemory(reports, path)
    assert memory.assess(ID, traces=10, of=1000, first_seen=START + 20).state == "regressed"
    assert memory.issues[ID].decisions[0].note == "fixed in 2.4.1"


@given(st.integers(0, 10**9), st.uuids())
def test_the_fingerprint_survives_ids_and_numbers(number: int, identity: object) -> None:
    def key(n: int, i: object) -> str:
        return f"KeyError: order {n} of {i} at line {n}"

    assert fingerprint("Timeout", "errors", key(number, str(identity).replace("-", ""))) == fingerprint(
        "Timeout", "errors", key(7, "deadbeefdeadbeef")
    )


def test_near_equal_titles_of_a_model_are_one_issue() -> None:
    known = finding(ID, source="rlm", text="Agent issues refunds larger than the order total in cents")
    memory = IssueMemory([report(known)], None)
    same = memory.identify(known.category, "rlm", "Agent issues refunds larger than order total in cents")
    assert same == ID
    assert memory.identify(known.category, "rlm", "Planner never ends") != ID


def test_statistics_agree_with_published_values() -> None:
    low, high = wilson(8, 10)
    assert (round(low, 4), round(high, 4)) == (0.4902, 0.9433)
    assert round(fisher_exact(3, 1, 1, 3), 4) == 0.4857  # Fisher's tea
    assert round(fisher_exact(1, 9, 11, 3), 6) == 0.002759
    assert [round(q, 4) for q in benjamini_hochberg([0.01, 0.04, 0.03, 0.005])] == [0.02, 0.04, 0.04, 0.02]
    assert wilson(0, 0) == (0.0, 1.0)


def test_a_signature_that_changed_a_word_is_the_same_issue() -> None:
    """Numbers, ids and line positions never count; of eight words one may differ, the exception's name may not."""
    known = finding(ID, signature="toolerror: cannot read order # of shop berlin at line # in <path>")
    memory = IssueMemory([report(known)], None)
    detector = known.detector.name if known.detector else ""
    same = "ToolError: cannot read order 7f3a9b2c11 of shop hamburg at line 88 in <path>"
    assert memory.identify(known.category, detector, same) == ID
    assert memory.identify(known.category, detector, same.replace("ToolError", "KeyError")) != ID
    assert memory.identify(known.category, "another", same) != ID
    assert memory.identify("Service Errors", detector, same) != ID


@pytest.mark.parametrize(
    ("before", "now", "enough"),
    [
        ([(31, 1000)], (74, 1000), True),
        ([(1, 20)], (3, 20), False),  # four in all: however they fell, it would show nothing
        ([(2, 40), (2, 40), (2, 40)], (20, 40), True),
        ([(1, 40), (1, 40), (1, 40), (1, 40)], (4, 40), True),  # earlier windows together hold enough
    ],
)
def test_too_little_data_is_an_answer(before: list[tuple[int, int]], now: tuple[int, int], enough: bool) -> None:
    assessed = IssueMemory(windows(*before), None).assess(ID, traces=now[0], of=now[1], first_seen=START)
    assert assessed.enough is enough
    told = finding(ID, traces=now[0], of=now[1], state=assessed.state)
    prevalence = told.prevalence.model_copy(update={"previous_rate": assessed.previous_rate, "enough": assessed.enough})
    assert ("too little data" in since(told.model_copy(update={"prevalence": prevalence}))) is not enough


def test_small_windows_are_taken_together_until_a_change_can_show() -> None:
    """Each hour alone shows nothing; the last seven do."""
    memory = IssueMemory(windows(*[(1, 60)] * 10), None)
    assert memory.assess(ID, traces=9, of=60, first_seen=START).state == "worsening"


def test_severity_weighs_prevalence_outcome_trend_and_recovery() -> None:
    def severity(**changes: Any) -> tuple[str, str]:
        facts: dict[str, Any] = {"rate": 0.2, "traces": 200, "failed_share": 1.0, "state": "ongoing", "hint": None}
        return severity_of(**(facts | changes))

    assert severity(state="worsening") == (
        "critical",
        "200 traces affected (20 %); 100 % of them end in an error; it is getting worse",
    )
    assert severity()[0] == "high"
    assert severity(rate=0.006, failed_share=0.0)[0] == "low"
    level, reason = severity(failed_share=0.0, recovered_share=1.0, state="new")
    assert (level, "go on after it" in reason) == ("high", True)
    assert "no error status shows it" in severity(failed_share=0.0)[1]


def test_schedules_that_look_at_different_agents_do_not_resolve_each_other_s_issues() -> None:
    """A window of other agents says nothing of an issue that it could not hold; its rate is no rate to compare with."""
    reports = [report(finding(traces=40), day=0, schedule="support")]
    reports += [report(day=day, schedule="coding") for day in range(1, 6)]
    listed = IssueMemory(reports, None).issues["HALO-00000001"]
    assert state_of(listed) == "new"
    assert len(listed.history) == 1
    asked = IssueMemory(reports, None, schedule="coding")
    assert asked.resolved_now(set(), of=1000) == []
    found = asked.assess("HALO-00000001", traces=2, of=400, first_seen=START)
    assert (found.state, found.previous_rate) == ("ongoing", None), "known, and nothing to compare with"
    own = IssueMemory([*reports, report(day=6, schedule="support")], None, schedule="support")
    assert state_of(own.issues["HALO-00000001"]) == "resolved"

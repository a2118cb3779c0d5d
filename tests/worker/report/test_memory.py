"""A failure mode keeps its identity, and its state says no more than the counts do."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halo_worker.report.decisions import Decision
from halo_worker.report.facts import Impact
from halo_worker.report.formats import since
from halo_worker.report.identity import fingerprint
from halo_worker.report.issue import Seen
from halo_worker.report.memory import IssueMemory
from halo_worker.report.model import Detector, Report, SetAside
from halo_worker.report.severity import order_of, severity_of
from halo_worker.report.statistics import benjamini_hochberg, fisher_exact, wilson
from tests.builders import DAY, START, finding, report

ID = "HALO-00000001"


def seen(traces: int, of: int, **more: Any) -> Seen:
    return Seen(traces=traces, of=of, first_seen=START, **more)


def windows(*seen: tuple[int, int]) -> list[Report]:
    return [
        report(*([finding(ID, traces=traces, of=of)] if traces else []), day=day, of=of, schedule="daily")
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
    memory = IssueMemory(windows(*before))
    assert memory.assess(ID, seen(*now)).state == state


def test_an_issue_is_resolved_once_and_only_when_its_absence_means_something() -> None:
    few = IssueMemory(windows((10, 1000)))
    assert few.resolved_now(set(), of=100) == []
    assert [issue.issue_id for issue in few.resolved_now(set(), of=1000)] == [ID]
    gone = IssueMemory(windows((10, 1000), (0, 1000)))
    assert gone.resolved_now(set(), of=1000) == []
    assert gone.issues[ID].state == "resolved"
    slowly = IssueMemory(windows((10, 1000), (0, 300)))
    assert slowly.issues[ID].state == "ongoing"
    assert [issue.issue_id for issue in slowly.resolved_now(set(), of=300)] == [ID]


def test_a_window_in_which_a_model_refuted_an_issue_says_nothing_of_it() -> None:
    before = windows((10, 1000))
    aside = SetAside(issue_id=ID, title="t", verdict="refuted", traces=9, of=9, why="the rule at work", evidence=[])
    refuted = report(day=1, of=1000, schedule="daily", set_aside=[aside])
    memory = IssueMemory([*before, refuted])
    assert memory.assess(ID, seen(10, 1000)).state == "ongoing", "not back: it was not gone"
    assert [point.traces for point in memory.issues[ID].history] == [10]


@given(st.integers(0, 10**9), st.uuids())
def test_the_fingerprint_survives_ids_and_numbers(number: int, identity: object) -> None:
    def key(n: int, i: object) -> str:
        return f"KeyError: order {n} of {i} at line {n}"

    assert fingerprint("Timeout", "errors", key(number, str(identity).replace("-", ""))) == fingerprint(
        "Timeout", "errors", key(7, "deadbeefdeadbeef")
    )


def test_near_equal_titles_of_a_model_are_one_issue() -> None:
    known = finding(ID, source="rlm", text="Agent issues refunds larger than the order total in cents")
    memory = IssueMemory([report(known, schedule="daily")])
    same, _ = memory.identify(known.category, "rlm", "Agent issues refunds larger than order total in cents")
    assert same == ID
    assert memory.identify(known.category, "rlm", "Planner never ends")[0] != ID


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
    memory = IssueMemory([report(known, schedule="daily")])
    detector = known.detector.name if known.detector else ""
    same = "ToolError: cannot read order 7f3a9b2c11 of shop hamburg at line 88 in <path>"
    assert memory.identify(known.category, detector, same)[0] == ID
    assert memory.identify(known.category, detector, same.replace("ToolError", "KeyError"))[0] != ID
    assert memory.identify(known.category, "another", same)[0] != ID
    assert memory.identify("Service Errors", detector, same)[0] != ID


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
    assessed = IssueMemory(windows(*before)).assess(ID, seen(*now))
    assert assessed.derived.enough is enough
    told = finding(ID, traces=now[0], of=now[1], state=assessed.state)
    compared = {"previous_rate": assessed.derived.previous_rate, "enough": assessed.derived.enough}
    told = told.model_copy(update={"prevalence": told.prevalence.model_copy(update=compared)})
    assert ("too few traces" in since(told)) is not enough


def test_small_windows_are_taken_together_until_a_change_can_show() -> None:
    """Each hour alone shows nothing; the last seven do."""
    memory = IssueMemory(windows(*[(1, 60)] * 10))
    assert memory.assess(ID, seen(9, 60)).state == "worsening"


def test_severity_weighs_prevalence_outcome_trend_and_recovery() -> None:
    def severity(**changes: Any) -> tuple[str, str]:
        facts: dict[str, Any] = {"rate": 0.2, "traces": 200, "failed_share": 1.0, "state": "ongoing", "hint": None}
        return severity_of(**(facts | changes))

    assert severity(state="worsening") == (
        "critical",
        "200 traces affected (20 %); 100 % of them end in an error; rate rising",
    )
    assert severity()[0] == "high"
    assert severity(rate=0.006, failed_share=0.0)[0] == "low"
    level, reason = severity(failed_share=0.0, recovered_share=1.0, state="new")
    assert (level, "the runs continue" in reason) == ("high", True)
    assert severity(state="new")[0] == "critical"
    assert severity(state="new", first_window=True) == severity(), "there, everything is new"
    assert severity(state="worsening", first_window=True)[0] == "critical"
    assert "no error status shows it" in severity(failed_share=0.0)[1]


def test_what_each_run_costs_outranks_how_many_runs_there_are() -> None:
    loop = Impact(tokens=9, seconds=29_000, waited_seconds=8 * 3600, not_served=1)
    cheap = Impact(tokens=9, seconds=500, waited_seconds=50)
    rare = severity_of(rate=0.001, traces=1, failed_share=0, state="ongoing", hint="low", impact=loop)
    assert rare[0] == "critical"
    assert rare[1].endswith("each affected run costs 480 minutes of waiting for nothing")
    stumbles = severity_of(rate=0.05, traces=50, failed_share=0, state="ongoing", hint="low", impact=cheap)
    assert stumbles[0] == "low"
    one = finding("HALO-00000001", severity="high", traces=1, impact=loop)
    many = finding("HALO-00000002", severity="high", traces=50, impact=cheap)
    assert sorted([many, one], key=order_of) == [one, many]


def test_schedules_that_look_at_different_agents_do_not_resolve_each_other_s_issues() -> None:
    """A window of other agents says nothing of an issue that it could not hold; its rate is no rate to compare with."""
    reports = [report(finding(traces=40), day=0, schedule="support")]
    reports += [report(day=day, schedule="coding") for day in range(1, 6)]
    listed = IssueMemory(reports).issues["HALO-00000001"]
    assert listed.state == "new"
    assert len(listed.history) == 1
    asked = IssueMemory(reports, scope="coding")
    assert asked.resolved_now(set(), of=1000) == []
    found = asked.assess("HALO-00000001", seen(2, 400))
    assert (found.state, found.derived.previous_rate) == ("ongoing", None), "known, and nothing to compare with"
    own = IssueMemory([*reports, report(day=6, schedule="support")], scope="support")
    assert own.issues["HALO-00000001"].state == "resolved"


def decided(action: str, at: int, **more: Any) -> dict[str, list[Decision]]:
    return {ID: [Decision(ID, action, "because", at, **more)]}


def test_what_a_person_resolved_regresses_once_and_goes_on() -> None:
    """Traces of before the decision do not bring it back; the first of after it does, in that window alone."""
    after_first = START + DAY + 1
    resolved = IssueMemory(windows((10, 1000)), decided("resolve", after_first))
    assert resolved.issues[ID].state == "resolved"
    assert resolved.assess(ID, seen(4, 1000, since=lambda _: 0)).state == "resolved"
    back = resolved.assess(ID, seen(4, 1000, since=lambda _: 1))
    assert (back.state, back.since) == ("regressed", 1)
    told = [*windows((10, 1000)), report(finding(ID, traces=4, of=1000, state="regressed"), day=1, schedule="daily")]
    later = IssueMemory(told, decided("resolve", after_first))
    assert later.issues[ID].state == "regressed"
    assert later.assess(ID, seen(4, 1000, since=lambda _: 4)).state == "ongoing"


@pytest.mark.parametrize(
    ("confidence", "since", "state"),
    [(0.95, 1, "regressed"), (0.9, 1, "regressed"), (0.8, 1, "resolved"), (0.8, 2, "regressed"), (0.5, 3, "resolved")],
)
def test_less_sure_detectors_need_more_traces_to_say_that_it_is_back(confidence: float, since: int, state: str) -> None:
    memory = IssueMemory(windows((10, 1000)), decided("resolve", START + DAY + 1))
    assert memory.assess(ID, seen(5, 1000, confidence=confidence, since=lambda _: since)).state == state


def test_no_state_is_derived_from_windows_in_which_it_was_muted() -> None:
    """Gone and back while nobody listened is no regression; nor is it resolved by its absence there."""
    reports = windows((10, 1000), (0, 1000), (10, 1000), (0, 1000))
    quiet = {
        ID: [
            Decision(ID, "mute", "", reports[0].created_at + 1),
            Decision(ID, "unmute", "", reports[3].created_at + 1),
        ]
    }
    memory = IssueMemory(reports, quiet)
    assert [point.muted for point in memory.issues[ID].history] == [False, True, True, True]
    assert memory.issues[ID].state == "new"
    assert memory.assess(ID, seen(10, 1000)).state == "ongoing"
    muted = IssueMemory(reports, {ID: quiet[ID][:1]})
    assert muted.issues[ID].state == "muted"
    assert muted.assess(ID, seen(10, 1000)).muted
    assert muted.resolved_now(set(), of=1000) == []


def test_what_was_called_wrong_is_struck_from_the_history() -> None:
    reports = windows((10, 1000), (10, 1000))
    whole = IssueMemory(reports, decided("wrong", reports[1].created_at + 1))
    assert [point.struck for point in whole.issues[ID].history] == [True, True]
    assert whole.issues[ID].state == "wrong"
    assert whole.resolved_now(set(), of=1000) == []
    some = IssueMemory(
        reports, decided("wrong", reports[1].created_at + 1, traces=("t7",)),
        traces_of=lambda run_id, _: {"t7"} if run_id == reports[0].id else {"t8"},
    )  # fmt: skip
    assert [point.struck for point in some.issues[ID].history] == [True, False]


def renamed(category: str = "Service Errors", **changes: Any) -> Any:
    return finding(ID, detector=Detector(name="new_rule", version=1), category=category, **changes)


def test_a_rule_that_takes_the_place_of_another_keeps_its_issues() -> None:
    """Two rules of before may become one: the older id goes on, the other leads to it, with its decisions."""
    signature = "toolerror: cannot read order # of shop berlin"
    reports = [
        report(
            finding(ID, signature=signature),
            finding("HALO-00000002", signature=signature, detector=Detector(name="other_rule")),
            day=0, schedule="daily",
        )
    ]  # fmt: skip
    replaced = {"error_other": "new_rule", "other_rule": "new_rule"}
    memory = IssueMemory(reports, replaced=replaced)
    assert memory.identify("Service Errors", "new_rule", signature) == (ID, ["HALO-00000002"])
    found = memory.assess(ID, seen(19, 427, rule="new_rule@1"))
    assert (found.state, found.derived.comparable) == ("ongoing", False)
    reports.append(report(renamed(replaces=["HALO-00000002"]), day=1, schedule="daily"))
    muted = {"HALO-00000002": [Decision("HALO-00000002", "mute", "", reports[0].created_at)]}
    later = IssueMemory(reports, muted, replaced=replaced)
    assert list(later.issues) == [ID]
    assert later.find("HALO-00000002").issue_id == ID
    assert later.issues[ID].muted


def test_no_state_is_derived_across_a_change_of_the_rule() -> None:
    before = [report(finding(ID, traces=40, of=400), day=0, schedule="daily")]
    memory = IssueMemory(before)
    assert memory.assess(ID, seen(2, 400, rule="error_other@1")).state == "improving"
    changed = memory.assess(ID, seen(2, 400, rule="error_other@2"))
    assert (changed.state, changed.derived.comparable, changed.derived.previous_rate) == ("ongoing", False, None)
    assert memory.resolved_now(set(), of=400, rules={"error_other": 1})
    assert memory.resolved_now(set(), of=400, rules={"error_other": 2}) == []
    assert memory.resolved_now(set(), of=400, rules={"another": 1}) == [], "nothing measures it any more"


def test_runs_by_hand_know_the_issues_and_change_nothing() -> None:
    other = finding("HALO-00000002", signature="another thing altogether went wrong")
    reports = [*windows((10, 1000)), report(finding(ID), other, day=1)]
    memory = IssueMemory(reports)
    assert list(memory.issues) == [ID]
    assert (memory.issues[ID].state, len(memory.issues[ID].history)) == ("new", 1)
    assert memory.find("00000002").history == []
    kept = IssueMemory([*windows((10, 1000)), report(finding(ID), day=1, remembered=True, memory="daily")])
    assert len(kept.issues[ID].history) == 2

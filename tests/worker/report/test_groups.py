"""Findings that one cause shows as several are named with each other."""

from __future__ import annotations

from typing import Any

from halo_worker.report.groups import Member, grouped, seen_together


def traces(*numbers: int) -> set[str]:
    return {f"{number:032x}" for number in numbers}


def test_findings_of_nearly_the_same_traces_are_seen_together() -> None:
    loop, ping_pong, other = traces(*range(10)), traces(*range(1, 11)), traces(*range(50, 60))
    assert seen_together({"loop": loop, "ping": ping_pong, "other": other}) == {"loop": ["ping"], "ping": ["loop"]}


def test_a_finding_within_a_much_larger_one_is_not() -> None:
    """Most of the fleet failing says nothing of the few that fail otherwise, too."""
    assert seen_together({"few": traces(*range(5)), "all": traces(*range(100))}) == {}


def test_two_traces_may_fall_together_by_chance() -> None:
    assert seen_together({"a": traces(1, 2), "b": traces(1, 2)}) == {}


def test_the_closest_comes_first() -> None:
    same = traces(*range(20))
    found = seen_together({"a": same, "near": same - traces(0), "same": set(same)})
    assert found["a"] == ["same", "near"]


def member(issue_id: str, *numbers: int, detector: str | None = "error_service", **about: Any) -> Member:
    made = {"category": "Service Errors", "signature": issue_id, "names": frozenset(), "spans": frozenset()}
    return Member(issue_id=issue_id, detector=detector, traces=frozenset(traces(*numbers)), **{**made, **about})


def groups_of(*members: Member, leads: dict[str, str] | None = None, of: int = 1000) -> dict[str, list[str]]:
    return grouped(members, leads or {}, of=of)


def test_the_lead_of_a_group_stays_while_it_is_in_it() -> None:
    a, b, c = (member(name, *range(30), detector=name) for name in "abc")
    assert groups_of(a, b, c) == {"a": ["b", "c"]}
    assert groups_of(b, a, c, leads={"a": "a", "b": "a", "c": "a"}) == {"a": ["b", "c"]}
    assert groups_of(b, c, leads={"a": "a", "b": "a", "c": "a"}) == {"b": ["c"]}
    assert groups_of(a, member("d", *range(100, 130), detector="d")) == {}


def test_one_error_of_two_agents_and_two_exceptions_is_one_cause() -> None:
    about = {"names": frozenset({"Front Desk", "gpt-4o"})}
    one = member("1", *range(40), signature="valueerror: front desk got no schema in step #", **about)
    same = member("2", *range(50, 90), signature="toolerror: gpt-4o got no schema in step #", **about)
    other = member("3", *range(200, 240), signature="toolerror: connection refused by db-#")
    assert groups_of(one, same, other) == {"1": ["2"]}


def test_what_is_rare_is_one_row_by_its_kind_and_what_is_frequent_its_own() -> None:
    rare = [member(str(n), n, signature=f"error {n}") for n in range(4)]
    large = member("large", *range(100, 140), signature="quite another")
    assert groups_of(large, *rare) == {"0": ["1", "2", "3"]}
    unlike = [member(str(n), n, signature=f"text {n}", detector="error_other") for n in range(4)]
    assert groups_of(*unlike) == {}
    muted = [member(str(n), n, signature=f"error {n}", alone=True) for n in range(4)]
    assert groups_of(*muted) == {}


def test_the_same_spans_are_one_event_and_traces_within_others_too() -> None:
    spans = frozenset({"1", "2"})
    assert groups_of(
        member("storm", 1, 2, detector="retry_storm", spans=spans), member("error", 1, 2, spans=spans)
    ) == {"storm": ["error"]}
    few, many = member("few", *range(5), detector="loop"), member("many", *range(30))
    assert groups_of(many, few) == {"many": ["few"]}
    # Where most of the window fails so, lying within it says nothing.
    assert groups_of(member("most", *range(900)), few) == {}


def test_a_model_finding_of_another_category_is_never_folded() -> None:
    seen = member("model", *range(30), detector=None, category="Goal Deviation")
    assert groups_of(member("a", *range(30)), seen) == {}
    assert groups_of(member("a", *range(30), category="Goal Deviation"), seen) == {"a": ["model"]}

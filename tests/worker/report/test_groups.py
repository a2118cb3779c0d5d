"""Findings that one cause shows as several are named with each other."""

from __future__ import annotations

from halo_worker.report.groups import grouped, seen_together


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


def test_the_lead_of_a_group_stays_while_it_is_in_it() -> None:
    together = {"a": ["b", "c"], "b": ["a", "c"], "c": ["a", "b"]}
    assert grouped(together, ["a", "b", "c"], {}) == {"a": ["b", "c"]}
    assert grouped(together, ["b", "a", "c"], {"a": "a", "b": "a", "c": "a"}) == {"a": ["b", "c"]}
    alone = {"b": ["c"], "c": ["b"]}
    assert grouped(alone, ["b", "c"], {"a": "a", "b": "a", "c": "a"}) == {"b": ["c"]}
    assert grouped({}, ["a", "b"], {}) == {}

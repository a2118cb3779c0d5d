"""Runs by hand beside a schedule, and what people decide, from the command line to the next report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from halo_worker import issues, run
from halo_worker.config import Settings, load_settings
from halo_worker.errors import InputError
from halo_worker.report.decisions import Decisions
from halo_worker.report.model import Finding, Report
from halo_worker.request import Request
from tests.worker.conftest import Halo
from tests.worker.days import DAY, FIRST, HOUR, SECOND, TITLE, import_day, trace_id, window


class Shop:
    """One data directory, its schedule, and runs by hand beside it."""

    def __init__(self, folder: Path) -> None:
        self.data_dir = folder / "data"
        overrides: dict[str, Any] = {"store": {"data_dir": self.data_dir}, "analysis": {"settle_seconds": 0}}
        self.settings: Settings = load_settings(environment={}, overrides=overrides)
        self.decisions = Decisions(self.data_dir / "reports")

    def day(self, day: int, failing: int, **more: Any) -> Report:
        """A scheduled window with its traffic."""
        import_day(self.data_dir, day, failing, **more)
        end = window(day).end_ns
        return run.run_schedule(self.settings, "daily", window(day), now_ns=end + SECOND).report

    def by_hand(self, day: int, **more: Any) -> Report:
        request = Request(window=window(day), seal=False, **more)
        return run.run(self.settings, request, now_ns=window(day).end_ns + HOUR * SECOND).report

    def decide(self, day: int, action: Any, issue_id: str, **more: Any) -> None:
        """Decide an hour before a window ends."""
        self.decisions.append(issue_id, action, now_ns=(FIRST + (day + 1) * DAY - HOUR) * SECOND, **more)

    def states(self, issue_id: str) -> list[str]:
        return [point.state for point in issues.memory(self.settings).issues[issue_id].history]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def only(report: Report) -> Finding:
    [found] = report.findings
    return found


def test_a_run_by_hand_reads_the_memory_and_leaves_it_as_it_was(shop: Shop) -> None:
    """The window of the schedule looked at again is still new; the day after, by hand, knows it."""
    first = only(shop.day(0, 10))
    again = shop.by_hand(0)
    assert (only(again).issue_id, only(again).state) == (first.issue_id, "new")
    assert (again.is_remembered, again.scope) == (False, "daily")
    import_day(shop.data_dir, 1, 10)
    assert only(shop.by_hand(1)).state == "ongoing"
    assert only(shop.by_hand(1)).state == "ongoing"
    assert shop.states(first.issue_id) == ["new"]
    kept = shop.by_hand(1, remember=True)
    assert kept.is_remembered
    assert shop.states(first.issue_id) == ["new", "ongoing"]
    assert only(shop.by_hand(1)).state == "ongoing", "its own window is no past"


def test_an_issue_that_only_a_run_by_hand_saw_can_be_shown_and_muted(shop: Shop, halo: Halo) -> None:
    import_day(shop.data_dir, 0, 10)
    found = only(shop.by_hand(0))
    where = ("--data-dir", str(shop.data_dir))
    listed = halo("issues", *where)
    assert found.issue_id in listed.out
    assert "as runs by hand found them" in listed.err
    assert TITLE in halo("issues", "show", found.issue_id, *where).out
    assert halo("issues", "mute", found.issue_id, *where).code == 0
    assert only(shop.by_hand(0)).muted
    scheduled = run.run_schedule(shop.settings, "daily", window(0), now_ns=window(0).end_ns + SECOND).report
    assert (only(scheduled).state, only(scheduled).muted) == ("new", True)


def test_files_with_a_directory_are_compared_and_a_schedule_must_exist(shop: Shop, halo: Halo) -> None:
    shop.day(0, 10)
    where = ("--data-dir", str(shop.data_dir))
    unknown = halo("run", "--schedule", "dayly", *where)
    assert (unknown.code, "no schedule" in unknown.err) == (2, True)
    outside = halo("run", "--input", str(shop.data_dir.parent / "day0.jsonl"), "--remember")
    assert (outside.code, "--data-dir" in outside.err) == (2, True)
    halo("run", "--input", str(shop.data_dir.parent / "day0.jsonl"), "--detectors-only", *where)
    assert shop.states(next(iter(issues.memory(shop.settings).issues))) == ["new"]


def test_a_fix_in_a_release_is_tried_by_that_release_and_later_ones(shop: Shop) -> None:
    """Version 1.0 goes on failing beside it, which says nothing of the fix."""
    first = only(shop.day(0, 10))
    shop.decide(1, "resolve", first.issue_id, release="2.0", note="the account is checked")
    old = only(shop.day(1, 10, version="1.0"))
    assert (old.state, old.resolution and old.resolution.traces) == ("resolved", 0)
    back = only(shop.day(2, 10, version="2.0"))
    assert (back.state, back.resolution and back.resolution.release) == ("regressed", "2.0")
    assert only(shop.day(3, 10, version="2.0")).state == "ongoing"
    shop.decide(4, "resolve", first.issue_id, release="2.0")
    assert only(shop.day(4, 10, version="1.0")).state == "resolved", "first seen before 2.0"
    assert only(shop.day(5, 10, version="2.1")).state == "regressed", "first seen after 2.0"


def test_what_a_person_calls_wrong_does_not_count(shop: Shop, halo: Halo) -> None:
    """First two traces, then every hit; the report says what it left out, on whose word and why."""
    first = only(shop.day(0, 10))
    shop.decide(0, "wrong", first.issue_id, note="a drill", traces=[trace_id(1, 0), trace_id(1, 1)], by="ada")
    some = shop.day(1, 10)
    assert only(some).prevalence.traces == 8
    assert len(only(some).evidence) == 3
    named = {trace_id(1, 0), trace_id(1, 1)}
    assert not named & {one.trace_id for one in (*only(some).evidence, *only(some).affected)}
    [left] = some.left_out
    assert (left.traces, left.named, left.because, left.by) == (2, True, "a drill", "ada")
    assert some.totals.affected_traces == 8
    shop.decide(1, "wrong", first.issue_id, note="no failure: the bank says so", by="ada")
    none = shop.day(2, 10)
    assert none.findings == []
    assert none.headline.startswith("No failure modes found in 100 traces")
    [left] = none.left_out
    assert (left.traces, left.named) == (10, False)
    page = (shop.data_dir / "reports" / none.id / "report.md").read_text()
    assert "the issue was marked wrong by ada on 2026-11-25: no failure: the bank says so" in page
    shown = halo("issues", "show", first.issue_id, "--data-dir", str(shop.data_dir)).out
    assert shown.count("marked wrong, not counted") == 3
    assert halo("issues", "reopen", first.issue_id, "--data-dir", str(shop.data_dir)).code == 0
    assert only(shop.day(3, 10)).state == "ongoing"


def test_a_decision_that_lacks_something_is_told_what(shop: Shop, halo: Halo) -> None:
    first = only(shop.day(0, 10))
    where = ("--data-dir", str(shop.data_dir))
    wrong = halo("issues", "wrong", first.issue_id, *where)
    assert (wrong.code, "--because" in wrong.err) == (2, True)
    nobody = halo("issues", "mute", "HALO-ffffffff", *where)
    assert nobody.code == 2
    assert "there is no issue" in nobody.err
    with pytest.raises(InputError, match="takes no release"):
        shop.decisions.append(first.issue_id, "mute", now_ns=1, release="2")
    rows = json.loads(halo("issues", "list", "--schedule", "daily", "--format", "json", *where).out)
    assert [row["issue_id"] for row in rows] == [first.issue_id]
    assert halo("issues", "--schedule", "nightly", *where).code == 2

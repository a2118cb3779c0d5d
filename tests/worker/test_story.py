"""Twelve windows of one schedule, and what every form of the report says of one failure mode in each.

Real segments, detectors, reports and a Slack webhook on loopback; the table below was written by hand.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from halo_worker import issues, run
from halo_worker.analysis import detectors
from halo_worker.analysis.detectors import Unit
from halo_worker.config import Settings, load_settings
from halo_worker.report import archive
from halo_worker.report.decisions import Action, Decisions
from halo_worker.report.markdown import escaped
from halo_worker.scheduler import Scheduler
from halo_worker.window import SECOND, Window
from tests.worker.conftest import Halo
from tests.worker.days import DAY, FIRST, FOUND_BY, HOUR, TITLE, import_day
from tests.worker.delivery.test_delivery import Endpoint


@dataclass(frozen=True)
class Told:
    """What is expected of one window: `traces` fail, the headline begins with `says`, `halo issues` lists `listed`."""

    traces: int
    state: str | None
    says: str
    listed: str
    slack: bool
    muted: bool = False
    comparable: bool = True
    before: Action | None = None  # decided an hour before the window ends
    started: str = "inside"  # or "before": the failing traces began before that decision


FAILS = "fails in agent 1.0"
WHY = "InsufficientFunds: the account cannot be charged back"
OTHER = "No other failure modes found in 100 traces"
STORY = [
    Told(10, "new", f"refund {FAILS}: 10 of 100 calls ({WHY}).", "new", slack=True),
    Told(10, "ongoing", f"Since Tue 05:29 refund {FAILS}: 10 of 100 calls ({WHY}).", "ongoing", slack=False),
    Told(
        6,
        "ongoing",
        "No other failure modes found in 100 traces; 1 muted (6 traces).",
        "muted",
        slack=False,
        muted=True,
        before="mute",
    ),
    Told(10, "ongoing", f"Since Tue 05:29 refund {FAILS}: 10 of 100", "ongoing", slack=False, before="unmute"),
    Told(
        4,
        "resolved",
        f"{OTHER}; resolved: refund fails (4 traces started before).",
        "resolved",
        slack=False,
        before="resolve",
        started="before",
    ),
    Told(9, "regressed", "Since Sun 05:29 refund fails again in agent 1.0: 9 of 100", "regressed", slack=True),
    Told(10, "ongoing", f"Since Tue 05:29 refund {FAILS}: 10 of 100", "ongoing", slack=False),
    Told(0, "resolved", "No failure modes found in 100 traces; resolved: refund fails.", "resolved", slack=True),
    Told(0, None, "No failure modes found in 100 traces.", "resolved", slack=False),
    Told(10, "regressed", "Since Thu 05:29 refund fails again in agent 1.0: 10 of 100", "regressed", slack=True),
    Told(-1, None, "No agent traffic in this window.", "regressed", slack=False),
    Told(10, "ongoing", f"Since 24 Nov refund {FAILS}: 10 of 100", "ongoing", slack=False, comparable=False),
]
KILLED = 11


@pytest.fixture
def slack() -> Iterator[Endpoint]:
    made = Endpoint()
    yield made
    made.close()


@pytest.fixture
def settings(tmp_path: Path, slack: Endpoint) -> Settings:
    file = tmp_path / "halo.toml"
    file.write_text(
        '[schedules.daily]\ncron = "0 6 * * *"\nsinks = ["team"]\n[analysis]\nsettle_seconds = 0\n'
        f'[sinks.team]\ntype = "slack"\nurl = "{slack.url}/services/T0"\n[store]\ndata_dir = "{tmp_path}/data"\n'
    )
    return load_settings(file=file, environment={})


class Worker:
    """A scheduled worker whose clock is set by hand."""

    def __init__(self, settings: Settings, *, begun: int) -> None:
        self.now = begun * SECOND
        self.windows: list[Window] = []

        def work(name: str, window: Window) -> bool:
            self.windows.append(window)
            return run.run_schedule(settings, name, window, now_ns=self.now).report.status == "complete"

        self._scheduler = Scheduler(
            settings.schedules, data_dir=settings.store.data_dir, work=work, watermark=issues.watermarks(settings),
            clock=lambda: self.now, say=lambda *_, **__: None,
        )  # fmt: skip

    def wake(self, seconds: int) -> None:
        self.now = seconds * SECOND
        self._scheduler.run_due("daily")


def renamed() -> tuple[Unit, ...]:
    """The detectors of a later build, in which the one that finds this failure has another name and category."""
    return tuple(
        replace(unit, name="tool_failed", category="Service Errors", replaces=(FOUND_BY,))
        if unit.name == FOUND_BY
        else unit
        for unit in detectors.DETECTORS
    )


def newest(settings: Settings) -> tuple[dict[str, Any], Path]:
    folder = max((settings.store.data_dir / "reports").glob("*/report.json")).parent
    return json.loads((folder / "report.json").read_text()), folder


def check(told: Told, report: dict[str, Any], folder: Path, issue_id: str) -> None:
    """Hold report.json, Markdown and HTML against the table."""
    page, text = (folder / "report.html").read_text(), (folder / "report.md").read_text()
    assert report["headline"].startswith(told.says), told
    assert escaped(told.says) in text
    found = {item["issue_id"]: item for item in report["findings"]}
    assert set(found) == ({issue_id} if told.state else set())
    if told.state is None:
        assert issue_id not in page
        return
    item = found[issue_id]
    assert (item["state"], item["muted"], item["comparable"]) == (told.state, told.muted, told.comparable)
    assert item["prevalence"]["traces"] == told.traces
    shown = "muted" if told.muted else told.state
    assert f'state-{shown}">{shown}' in page
    assert (f"Muted: {TITLE}" in text) is told.muted
    assert (f"| {TITLE} | {told.traces} of 100 | {told.state} | {issue_id} |" in text) is not told.muted
    assert (f'id="{issue_id}"' in page) is not told.muted, "the details of a muted one are not shown"


def test_one_failure_mode_over_twelve_windows(
    settings: Settings, slack: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, halo: Halo
) -> None:
    data_dir = settings.store.data_dir
    decisions, worker, issue_id = Decisions(data_dir / "reports"), Worker(settings, begun=FIRST), ""
    for day, told in enumerate(STORY):
        end = FIRST + (day + 1) * DAY
        if told.before:
            decisions.append(issue_id, told.before, now_ns=(end - HOUR) * SECOND, note="said so", by="ada")
        if told.traces >= 0:
            import_day(data_dir, day, told.traces, started=told.started)
        if day == KILLED:
            monkeypatch.setattr(detectors, "DETECTORS", renamed())
            monkeypatch.setattr("halo_worker.analysis.detectors.REPLACED", {FOUND_BY: "tool_failed"})
            with monkeypatch.context() as patch:
                patch.setattr(archive, "_sync", killed)  # the folder is written, and has no name yet
                with pytest.raises(KeyboardInterrupt):
                    worker.wake(end + 60)
        messages = len(slack.asked)
        worker.wake(end + 120)  # a little late, as any worker is
        report, folder = newest(settings)
        issue_id = issue_id or report["findings"][0]["issue_id"]
        check(told, report, folder, issue_id)
        assert len(slack.asked) - messages == told.slack, f"window {day}"
        if told.slack:
            assert told.says in json.loads(slack.asked[-1][2])["text"]
        listed = json.loads(halo("issues", "--format", "json", "--data-dir", str(data_dir)).out)
        assert [(row["issue_id"], row["state"], row["schedule"]) for row in listed] == [
            (issue_id, told.listed, "daily")
        ], f"window {day}"
        index = (data_dir / "reports" / "index.html").read_text()
        assert f'state-{told.listed}">{told.listed}' in index
        assert "as of the last window of schedule daily" in index
    whole = [Window((FIRST + n * DAY) * SECOND, (FIRST + (n + 1) * DAY) * SECOND) for n in range(len(STORY))]
    assert worker.windows == [*whole, whole[KILLED]], "each ends when it was planned; the killed one is done again"
    shown = halo("issues", "show", issue_id, "--data-dir", str(data_dir)).out
    assert shown.count("  muted\n") == 1
    assert "resolve 2026-11-28 05:00 by ada: said so" in shown


def killed(_: Path) -> None:
    raise KeyboardInterrupt

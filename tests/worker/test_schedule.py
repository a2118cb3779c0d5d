"""When analyses run."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halo_worker.config import ScheduleConfig, load_settings, moment
from halo_worker.errors import ConfigError
from halo_worker.report.model import iso_nano
from halo_worker.schedule import (
    Ran,
    Scheduler,
    check,
    due_windows,
    missed_fires,
    next_fire,
    run_lock,
    trigger_of,
)
from halo_worker.window import SECOND, Window

HOUR = 3600 * SECOND
NOON = moment("2026-03-10T12:00Z")


def config(**settings: object) -> ScheduleConfig:
    return ScheduleConfig.model_validate({"interval": "1h"} | settings if "cron" not in settings else settings)


def test_a_window_starts_where_the_last_one_ended() -> None:
    assert due_windows("x", config(), NOON - HOUR, NOON) == [Window(NOON - HOUR, NOON)]
    assert due_windows("x", config(overlap="10m"), NOON - HOUR, NOON) == [Window(NOON - HOUR - 600 * SECOND, NOON)]
    assert due_windows("x", config(), None, NOON) == [Window(NOON - 24 * HOUR, NOON)]
    assert due_windows("x", config(window="6h"), NOON - HOUR, NOON) == [Window(NOON - 6 * HOUR, NOON)]


def test_after_downtime_the_policy_says_how_to_catch_up() -> None:
    watermark = NOON - 5 * HOUR
    assert due_windows("x", config(), watermark, NOON) == [Window(watermark, NOON)]
    every = due_windows("x", config(catch_up="all"), watermark, NOON)
    assert [window.seconds for window in every] == [3600] * 5
    assert due_windows("x", config(catch_up="none"), watermark, NOON) == [Window(NOON - HOUR, NOON)]
    assert due_windows("x", config(max_window="2h"), watermark, NOON) == [Window(NOON - 2 * HOUR, NOON)]


@pytest.mark.parametrize(
    ("cron", "timezone", "since", "until", "fires"),
    [
        ("0 6 * * *", "Europe/Berlin", "03-27T12", "03-30T12", ["03-28T05:00", "03-29T04:00", "03-30T04:00"]),
        ("0 6 * * *", "Europe/Berlin", "10-23T12", "10-26T12", ["10-24T04:00", "10-25T05:00", "10-26T05:00"]),
        # 02:30 is skipped on 29 March, and made up right after the gap; on 25 October it comes twice, and counts once.
        ("30 2 * * *", "Europe/Berlin", "03-28T12", "03-30T12", ["03-29T01:30", "03-30T00:30"]),
        ("30 2 * * *", "Europe/Berlin", "10-24T12", "10-26T12", ["10-25T00:30", "10-26T01:30"]),
        ("30 1 * * *", "America/New_York", "10-31T12", "11-02T12", ["11-01T05:30", "11-02T06:30"]),
        ("15 2 * * *", "Australia/Lord_Howe", "10-02T12", "10-05T12", ["10-02T15:45", "10-03T15:45", "10-04T15:15"]),
        # Every hour means every hour, also through the one that comes twice.
        ("0 * * * *", "Europe/Berlin", "03-28T23:30", "03-29T03", [f"03-29T0{hour}:00" for hour in range(4)]),
        ("0 * * * *", "Europe/Berlin", "10-24T23:30", "10-25T03", [f"10-25T0{hour}:00" for hour in range(4)]),
    ],
)
def test_a_cron_line_over_daylight_saving(cron: str, timezone: str, since: str, until: str, fires: list[str]) -> None:
    trigger = trigger_of("x", config(cron=cron, timezone=timezone), anchor_ns=0)
    found = missed_fires(trigger, at(since), at(until))
    assert [iso_nano(fire)[5:16] for fire in found] == fires


def at(text: str) -> int:
    return moment(f"2026-{text}{'' if ':' in text else ':00'}Z")


def test_a_day_that_begins_an_hour_late_is_not_passed_over() -> None:
    """In São Paulo of 2018 midnight was the hour that was skipped."""
    trigger = trigger_of("x", config(cron="0 0 * * *", timezone="America/Sao_Paulo"), anchor_ns=0)
    fires = missed_fires(trigger, moment("2018-11-02T12:00Z"), moment("2018-11-05T12:00Z"))
    assert [iso_nano(fire)[8:16] for fire in fires] == ["03T03:00", "04T03:00", "05T02:00"]


@given(
    start=st.integers(moment("2026-03-26T00:00Z") // SECOND, moment("2026-04-02T00:00Z") // SECOND),
    line=st.sampled_from(["30 2 * * *", "0 3 * * *", "15,45 1-3 * * *", "0 0 * * *"]),
)
def test_every_local_day_has_its_fires_wherever_one_starts_to_look(start: int, line: str) -> None:
    """What fires next does not depend on where the looking began, near a gap or not."""
    trigger = trigger_of("x", config(cron=line, timezone="Europe/Berlin"), anchor_ns=0)
    every = missed_fires(trigger, moment("2026-03-25T00:00Z"), moment("2026-04-04T00:00Z"))
    assert next_fire(trigger, start * SECOND) == next(fire for fire in every if fire > start * SECOND)


@pytest.mark.parametrize(
    ("weekday", "days"),
    [
        ("0", [15]), ("7", [15]), ("1", [16]), ("sun", [15]), ("6,0", [14, 15]), ("1-5", [11, 12, 13, 16]),
        ("0-6", [11, 12, 13, 14, 15, 16]), ("5-7", [13, 14, 15]), ("sat-mon", [14, 15, 16]), ("*/2", [12, 14, 15]),
        ("MON", [16]), ("?", [11, 12, 13, 14, 15, 16]),
    ],
)  # fmt: skip
def test_weekdays_are_counted_as_cron_does_from_sunday(weekday: str, days: list[int]) -> None:
    """10 March 2026 is a Tuesday."""
    trigger = trigger_of("x", config(cron=f"0 0 * * {weekday}"), anchor_ns=0)
    fires = missed_fires(trigger, NOON, NOON + 6 * 24 * HOUR)
    assert [int(iso_nano(fire)[8:10]) for fire in fires] == days


def test_a_day_of_the_month_and_a_weekday_mean_either() -> None:
    trigger = trigger_of("x", config(cron="0 0 13 * 0"), anchor_ns=0)
    fires = missed_fires(trigger, NOON, NOON + 8 * 24 * HOUR)
    assert [int(iso_nano(fire)[8:10]) for fire in fires] == [13, 15]


@pytest.mark.parametrize("weekday", ["8", "mon-", "*/0", "x", "1-9"])
def test_a_weekday_that_is_none_is_named(weekday: str) -> None:
    with pytest.raises(ConfigError, match="weekday"):
        trigger_of("x", config(cron=f"0 0 * * {weekday}"), anchor_ns=0)


def test_a_wrong_cron_line_is_named() -> None:
    with pytest.raises(ConfigError, match=r"\[schedules.x\] cron '99 6"):
        trigger_of("x", config(cron="99 6 * * *"), anchor_ns=0)


def test_a_missed_run_is_made_up_at_the_start_and_a_running_one_is_not_started_twice(tmp_path: Path) -> None:
    worked: list[Window] = []
    done = threading.Event()

    def work(_: str, window: Window) -> bool:
        worked.append(window)
        done.set()
        return True

    said: list[str] = []
    scheduler = Scheduler(
        {"hourly": config()}, data_dir=tmp_path, work=work, watermark=lambda _: NOON - 3 * HOUR,
        clock=lambda: NOON, say=said.append,
    )  # fmt: skip
    scheduler.start()
    assert done.wait(10)
    scheduler.stop()
    assert worked == [Window(NOON - 3 * HOUR, NOON)]
    with run_lock(tmp_path, "hourly"):
        assert scheduler.run_due("hourly") == Ran(0, skipped=True)
    assert "running already" in said[-1]


def test_a_run_in_another_process_is_not_started_a_second_time(tmp_path: Path) -> None:
    """The lock is the system's: it holds across processes, and ends with its holder, however that ends."""
    program = (
        "import sys, pathlib; from halo_worker.schedule import run_lock\n"
        "with run_lock(pathlib.Path(sys.argv[1]), 'hourly'): print('held', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdout is not None
    assert other.stdout.readline() == b"held\n"
    worked: list[Window] = []
    scheduler = Scheduler(
        {"hourly": config()}, data_dir=tmp_path, work=lambda _, window: not worked.append(window),
        watermark=lambda _: None, clock=lambda: NOON, say=lambda _: None,
    )  # fmt: skip
    assert scheduler.run_due("hourly") == Ran(0, skipped=True)
    other.kill()
    other.wait()
    assert scheduler.run_due("hourly") == Ran(1)
    assert len(worked) == 1


def test_a_window_that_fails_ends_the_catching_up_and_is_tried_again(tmp_path: Path) -> None:
    """Later windows wait: the watermark of the archive must not pass over the one that failed."""
    worked: list[Window] = []
    scheduler = Scheduler(
        {"hourly": config(catch_up="all")}, data_dir=tmp_path, work=lambda _, window: bool(worked.append(window)),
        watermark=lambda _: NOON - 3 * HOUR, clock=lambda: NOON, say=lambda _: None,
    )  # fmt: skip
    assert scheduler.run_due("hourly") == Ran(0, failed=True)
    assert worked == [Window(NOON - 3 * HOUR, NOON - 2 * HOUR)]


@pytest.mark.parametrize(
    ("schedule", "says"),
    [
        ({"cron": "0 25 * * *"}, "cron"),
        ({"interval": "1h", "prompt": "Why?"}, "needs a model"),
        ({"interval": "1h", "engine": "rlm"}, "no model can be reached"),
    ],
)
def test_what_no_run_could_mend_is_said_before_the_start(schedule: dict[str, str], says: str, tmp_path: Path) -> None:
    file = tmp_path / "halo.toml"
    lines = "\n".join(f"{name} = {json.dumps(value)}" for name, value in schedule.items())
    file.write_text(f"[schedules.x]\n{lines}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=says) as caught:
        check(load_settings(file=file, environment={}), NOON)
    assert "[schedules.x]" in str(caught.value)
    assert caught.value.hint

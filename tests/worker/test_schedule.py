"""When analyses run."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from halo_worker.config import ScheduleConfig, moment
from halo_worker.errors import ConfigError
from halo_worker.schedule import Scheduler, due_windows, missed_fires, next_fire, run_lock, trigger_of
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


def test_a_cron_line_keeps_local_time_over_daylight_saving() -> None:
    trigger = trigger_of("x", config(cron="0 6 * * *", timezone="Europe/Berlin"), anchor_ns=0)
    fires = missed_fires(trigger, moment("2026-03-28T00:00Z"), moment("2026-03-30T12:00Z"))
    assert fires == [moment("2026-03-28T05:00Z"), moment("2026-03-29T04:00Z"), moment("2026-03-30T04:00Z")]


@pytest.mark.parametrize(("weekday", "day"), [("0", 15), ("7", 15), ("1", 16), ("1-5", 11), ("sun", 15), ("6,0", 14)])
def test_weekdays_are_counted_as_cron_does_from_sunday(weekday: str, day: int) -> None:
    trigger = trigger_of("x", config(cron=f"0 0 * * {weekday}"), anchor_ns=0)
    assert next_fire(trigger, NOON) == moment(f"2026-03-{day}T00:00Z")


def test_a_wrong_cron_line_is_named() -> None:
    with pytest.raises(ConfigError, match=r"\[schedules.x\] cron '99 6"):
        trigger_of("x", config(cron="99 6 * * *"), anchor_ns=0)


def test_a_missed_run_is_made_up_at_the_start_and_a_running_one_is_not_started_twice(tmp_path: Path) -> None:
    worked: list[Window] = []
    done = threading.Event()

    def work(_: str, window: Window) -> None:
        worked.append(window)
        done.set()

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
        assert scheduler.run_due("hourly") == 0
    assert "running in another process" in said[-1]

"""When analyses run."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest
from apscheduler.triggers.base import BaseTrigger
from hypothesis import given
from hypothesis import strategies as st

from halo_worker.config import load_settings
from halo_worker.config_schedules import ScheduleConfig
from halo_worker.errors import ConfigError, LakeUnavailable
from halo_worker.moments import moment
from halo_worker.report.model import iso_nano
from halo_worker.schedule import (
    check,
    due_window,
    latest_fire,
    next_fire,
    run_lock,
    trigger_of,
)
from halo_worker.scheduler import Ran, Scheduler
from halo_worker.window import SECOND, Window
from tests.fixtures_receiver import eventually

HOUR = 3600 * SECOND
NOON = moment("2026-03-10T12:00Z")


def config(**settings: object) -> ScheduleConfig:
    return ScheduleConfig.model_validate({"interval": "1h"} | settings if "cron" not in settings else settings)


def due_windows(name: str, settings: ScheduleConfig, watermark: int | None, now: int) -> list[Window]:
    """All that is due, one after the other, as a scheduler works through them."""
    found: list[Window] = []
    while (window := due_window(name, settings, watermark, now, begun_ns=now - 1)) is not None:
        found.append(window)
        watermark = window.end_ns
    return found


def fires_between(trigger: BaseTrigger, since: int, until: int) -> list[int]:
    fires = []
    while (following := next_fire(trigger, since)) is not None and following <= until:
        fires.append(following)
        since = following
    return fires


def test_a_window_starts_where_the_last_one_ended() -> None:
    assert due_windows("x", config(), NOON - HOUR, NOON) == [Window(NOON - HOUR, NOON)]
    assert due_windows("x", config(overlap="10m"), NOON - HOUR, NOON) == [Window(NOON - HOUR - 600 * SECOND, NOON)]
    assert due_windows("x", config(), None, NOON) == [Window(NOON - 24 * HOUR, NOON)]
    assert due_windows("x", config(window="6h"), NOON - HOUR, NOON) == [Window(NOON - 6 * HOUR, NOON)]
    yesterday = config(max_window="3h")
    assert due_windows("x", yesterday, NOON - 9 * HOUR, NOON) == [Window(NOON - 3 * HOUR, NOON)]


def test_after_downtime_the_policy_says_how_to_catch_up() -> None:
    watermark = NOON - 5 * HOUR
    assert due_windows("x", config(), watermark, NOON) == [Window(watermark, NOON)]
    every = due_windows("x", config(catch_up="all"), watermark, NOON)
    assert [window.seconds for window in every] == [3600] * 5
    assert due_windows("x", config(catch_up="none"), watermark, NOON) == [Window(NOON - HOUR, NOON)]
    assert due_windows("x", config(max_window="2h"), watermark, NOON) == [Window(NOON - 2 * HOUR, NOON)]


def test_a_window_ends_when_it_was_planned_however_late_it_runs() -> None:
    late = NOON + 17 * 60 * SECOND
    assert due_windows("x", config(), NOON - HOUR, late) == [Window(NOON - HOUR, NOON)]
    assert due_windows("x", config(), NOON, late) == []
    assert due_windows("x", config(), None, NOON) == [Window(NOON - 24 * HOUR, NOON)], "the first one"


def test_another_length_overlaps_by_exactly_what_is_set() -> None:
    assert due_windows("x", config(window="1h"), NOON - 3 * HOUR, NOON) == [Window(NOON - 3 * HOUR, NOON)]
    assert due_windows("x", config(window="90m"), NOON - HOUR, NOON) == [Window(NOON - 90 * 60 * SECOND, NOON)]
    assert due_windows("x", config(window="2h"), NOON - 5 * HOUR, NOON) == [Window(NOON - 5 * HOUR, NOON)]
    assert due_windows("x", config(window="10m"), NOON - HOUR, NOON) == [Window(NOON - 600 * SECOND, NOON)]
    berlin = config(cron="0 6 * * *", timezone="Europe/Berlin", window="24h")
    before, after = at("10-24T04:00"), at("10-25T05:00")  # a day of 25 hours
    assert due_windows("x", berlin, before, after) == [Window(before, after)]


SCHEDULES = [
    {"interval": "15m"}, {"interval": "7h"}, {"cron": "*/20 * * * *"}, {"cron": "0 6 * * 1-5"},
    {"cron": "30 2 * * *", "timezone": "Europe/Berlin"}, {"cron": "0 * * * *", "timezone": "Europe/Berlin"},
    {"cron": "0 6 * * *", "timezone": "Europe/Berlin", "window": "24h"}, {"interval": "1h", "window": "1h"},
]  # fmt: skip


@given(
    settings=st.sampled_from(SCHEDULES),
    catch_up=st.sampled_from(["one", "all", "none"]),
    begin=st.sampled_from(["2026-03-27T12:00Z", "2026-10-23T12:00Z", "2026-12-30T12:00Z"]),
    wakes=st.lists(st.tuples(st.integers(1, 100_000), st.sampled_from(["runs", "dies", "fails"])), max_size=25),
)
def test_windows_tile_the_time_whatever_delays_and_kills(
    settings: dict[str, str], catch_up: str, begin: str, wakes: list[tuple[int, str]]
) -> None:
    """Every window ends at a planned time and starts where the one before ended; nothing is looked at twice."""
    chosen = config(**settings, catch_up=catch_up, max_window="52w")
    trigger, now, begun = trigger_of("x", chosen), moment(begin), moment(begin)
    published: list[Window] = []
    for seconds, happens in wakes:
        now += seconds * SECOND + 123
        last = published[-1].end_ns if published else None
        while (window := due_window("x", chosen, last, now, begun_ns=begun)) is not None:
            assert next_fire(trigger, window.end_ns - 1000) == window.end_ns, "its end was planned"
            assert window.end_ns <= now
            if happens == "fails":
                break
            published.append(window)
            last = window.end_ns
            if happens == "dies":
                begun = now  # and starts again, when it wakes next
                break
    for before, after in pairwise(published):
        if catch_up == "none":
            assert after.start_ns >= before.end_ns
            assert latest_fire(trigger, after.start_ns, after.end_ns - 1) is None, "it is the last part"
        else:
            assert after.start_ns == before.end_ns
        if catch_up == "all":
            assert next_fire(trigger, before.end_ns) == after.end_ns, "none is left out"


@given(
    since=st.integers(0, 10**6), length=st.integers(0, 10**6),
    line=st.sampled_from(["*/7 * * * *", "0 6 * * *", "0 0 29 2 *", "15 2 1 * *"]),
)  # fmt: skip
def test_the_latest_time_is_found_without_going_through_all(since: int, length: int, line: str) -> None:
    trigger = trigger_of("x", config(cron=line, timezone="Europe/Berlin"))
    start = moment("2027-12-28T00:00Z") + since * SECOND
    until = start + length * SECOND
    fires = fires_between(trigger, start, until)
    assert latest_fire(trigger, start, until) == (fires[-1] if fires else None)


def test_a_run_that_is_asked_for_reaches_up_to_now_and_the_next_one_starts_there(tmp_path: Path) -> None:
    mark, clock = [NOON], [NOON + 1000 * SECOND]
    worked: list[Window] = []

    def work(_: str, window: Window) -> bool:
        worked.append(window)
        mark[0] = window.end_ns
        return True

    scheduler = Scheduler(
        {"hourly": config()}, data_dir=tmp_path, work=work, watermark=lambda *_: mark[0], clock=lambda: clock[0],
        say=lambda *_, **__: None,
    )  # fmt: skip
    assert scheduler.run_due("hourly") == Ran(0), "nothing is due"
    assert scheduler.run_now("hourly") == Ran(1)
    clock[0] = NOON + 2 * HOUR
    assert scheduler.run_due("hourly") == Ran(1)
    assert worked == [Window(NOON, NOON + 1000 * SECOND), Window(NOON + 1000 * SECOND, NOON + 2 * HOUR)]


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
    trigger = trigger_of("x", config(cron=cron, timezone=timezone))
    found = fires_between(trigger, at(since), at(until))
    assert [iso_nano(fire)[5:16] for fire in found] == fires


def at(text: str) -> int:
    return moment(f"2026-{text}{'' if ':' in text else ':00'}Z")


def test_a_day_that_begins_an_hour_late_is_not_passed_over() -> None:
    """In São Paulo of 2018 midnight was the hour that was skipped."""
    trigger = trigger_of("x", config(cron="0 0 * * *", timezone="America/Sao_Paulo"))
    fires = fires_between(trigger, moment("2018-11-02T12:00Z"), moment("2018-11-05T12:00Z"))
    assert [iso_nano(fire)[8:16] for fire in fires] == ["03T03:00", "04T03:00", "05T02:00"]


@given(
    start=st.integers(moment("2026-03-26T00:00Z") // SECOND, moment("2026-04-02T00:00Z") // SECOND),
    line=st.sampled_from(["30 2 * * *", "0 3 * * *", "15,45 1-3 * * *", "0 0 * * *"]),
)
def test_every_local_day_has_its_fires_wherever_one_starts_to_look(start: int, line: str) -> None:
    """What fires next does not depend on where the looking began, near a gap or not."""
    trigger = trigger_of("x", config(cron=line, timezone="Europe/Berlin"))
    every = fires_between(trigger, moment("2026-03-25T00:00Z"), moment("2026-04-04T00:00Z"))
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
    trigger = trigger_of("x", config(cron=f"0 0 * * {weekday}"))
    fires = fires_between(trigger, NOON, NOON + 6 * 24 * HOUR)
    assert [int(iso_nano(fire)[8:10]) for fire in fires] == days


def test_a_day_of_the_month_and_a_weekday_mean_either() -> None:
    trigger = trigger_of("x", config(cron="0 0 13 * 0"))
    fires = fires_between(trigger, NOON, NOON + 8 * 24 * HOUR)
    assert [int(iso_nano(fire)[8:10]) for fire in fires] == [13, 15]


@pytest.mark.parametrize("weekday", ["8", "mon-", "*/0", "x", "1-9"])
def test_a_weekday_that_is_none_is_named(weekday: str) -> None:
    with pytest.raises(ConfigError, match="weekday"):
        trigger_of("x", config(cron=f"0 0 * * {weekday}"))


def test_a_wrong_cron_line_is_named() -> None:
    with pytest.raises(ConfigError, match=r"\[schedules.x\] cron '99 6"):
        trigger_of("x", config(cron="99 6 * * *"))


def test_a_missed_run_is_made_up_at_the_start_and_a_running_one_is_not_started_twice(tmp_path: Path) -> None:
    worked: list[Window] = []
    done = threading.Event()

    mark = [NOON - 3 * HOUR]

    def work(_: str, window: Window) -> bool:
        worked.append(window)
        mark[0] = window.end_ns
        done.set()
        return True

    said: list[str] = []
    scheduler = Scheduler(
        {"hourly": config()}, data_dir=tmp_path, work=work, watermark=lambda *_: mark[0],
        clock=lambda: NOON, say=lambda what, **fields: said.append(f"{what} {fields}"),
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
        watermark=lambda *_: None, clock=lambda: NOON, say=lambda *_, **__: None,
    )  # fmt: skip
    assert scheduler.run_now("hourly") == Ran(0, skipped=True)
    other.kill()
    other.wait()
    assert scheduler.run_now("hourly") == Ran(1)
    assert len(worked) == 1


def test_a_window_that_fails_ends_the_catching_up_and_is_tried_again(tmp_path: Path) -> None:
    """Later windows wait: the watermark of the archive must not pass over the one that failed."""
    worked: list[Window] = []
    mark = [NOON - 3 * HOUR]
    scheduler = Scheduler(
        {"hourly": config(catch_up="all")}, data_dir=tmp_path, work=lambda _, window: bool(worked.append(window)),
        watermark=lambda *_: mark[0], clock=lambda: NOON, say=lambda *_, **__: None,
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
        check(load_settings(file=file, environment={}))
    assert "[schedules.x]" in str(caught.value)
    assert caught.value.hint


def test_a_run_for_which_the_lake_is_away_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at the next planned time, which may be a day away; what the trigger plans stays as it was."""
    monkeypatch.setattr("halo_worker.scheduler.RETRY_SECONDS", (0.01, 0.01))
    told: list[str] = []
    windows: list[Window] = []
    begun = time.time_ns()

    def work(_: str, window: Window) -> bool:
        windows.append(window)
        if len(windows) == 1:
            raise LakeUnavailable("S3 is away")
        return True

    scheduler = Scheduler(
        {"rarely": config(interval="100d")}, data_dir=tmp_path, work=work, clock=time.time_ns,
        watermark=lambda *_: begun if len(windows) > 1 else 1, say=lambda what, **_: told.append(what),
    )  # fmt: skip
    scheduler.start()
    try:
        eventually(lambda: len(windows) == 2)
        assert windows[0] == windows[1]
        assert "run waits for the lake" in told
        planned = scheduler._scheduler.get_job("rarely").next_run_time
        assert planned.timestamp() % (100 * 86_400) == 0
    finally:
        scheduler.stop()

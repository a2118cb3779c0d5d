"""When analyses run: named schedules, their times and the windows that end at them.

A schedule's next window starts where its own last published report ended, so nothing is kept here: after a restart
the archive says where to go on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.interval import IntervalTrigger

from halo_receiver.store.lock import DirectoryLock
from halo_worker.config import Settings
from halo_worker.config_schedules import ScheduleConfig
from halo_worker.cron import cron_trigger
from halo_worker.errors import ConfigError
from halo_worker.moments import seconds_of
from halo_worker.window import SECOND, Window

EPOCH = datetime.fromtimestamp(0, UTC)
INSTANT = timedelta(microseconds=1)  # what a trigger tells apart
FIRST_WINDOW = 86_400 * SECOND  # of a schedule that has none yet, where `window` says nothing


GRACE = 60 * SECOND  # after a planned time, before its report is called overdue


def trigger_of(name: str, config: ScheduleConfig) -> BaseTrigger:
    """Build the trigger. An interval counts from the Unix epoch, so that its times do not depend on any start or run:
    '6h' is 00:00, 06:00, 12:00 and 18:00 UTC. Raises ConfigError.
    """
    if config.interval is not None:
        seconds = max(1, int(seconds_of(config.interval)))
        return IntervalTrigger(seconds=seconds, start_date=EPOCH, timezone=UTC)
    try:
        return cron_trigger(config.cron or "", config.timezone)
    except ValueError as error:
        raise ConfigError(
            f"[schedules.{name}] cron {config.cron!r}: {_plainly(error)}",
            hint="write minute hour day month weekday, as '0 6 * * 1-5'",
        ) from None


def _plainly(error: ValueError) -> str:
    """Say APScheduler's words without those that tell of its inside."""
    return str(error).rpartition("Error validating expression ")[2]


def moment(unix_nano: int) -> datetime:
    """Return a time as triggers take it."""
    return EPOCH + timedelta(microseconds=unix_nano // 1000)


def next_fire(trigger: BaseTrigger, after_ns: int) -> int | None:
    """Return when a trigger fires next after a time, in unix nanoseconds."""
    at = trigger.get_next_fire_time(None, moment(after_ns) + INSTANT)
    return None if at is None else (at - EPOCH) // INSTANT * 1000


def latest_fire(trigger: BaseTrigger, after_ns: int, until_ns: int) -> int | None:
    """Return the last time a trigger fires in `(after, until]`; None when it does not."""
    at = next_fire(trigger, after_ns)
    if at is None or at > until_ns:
        return None
    # Far from the end one looks ever closer to it: a minute's schedule after a year has half a million times.
    step = (until_ns - at) // 2
    while step > SECOND:
        nearer = next_fire(trigger, until_ns - step)
        if nearer is None or nearer > until_ns:
            break
        at, step = nearer, step // 2
    while (following := next_fire(trigger, at)) is not None and following <= until_ns:
        at = following
    return at


def due_window(
    name: str, config: ScheduleConfig, watermark_ns: int | None, now_ns: int, *, begun_ns: int
) -> Window | None:
    """Return the oldest window that is due, None when none is: asked again after each, it goes through all.

    A window ends at the time it was planned for, however late it runs, and starts where the one before ended, so that
    nothing is looked at twice or not at all. `catch_up` says what becomes of times that were missed: `one` window over
    all of them, `all` of them one by one, `none` but the last. A schedule that has no window yet is due at its first
    time after `begun_ns`. Times are unix nanoseconds.
    """
    since = begun_ns if watermark_ns is None else watermark_ns
    trigger = trigger_of(name, config)
    latest = latest_fire(trigger, since, now_ns)
    if latest is None:
        return None
    first = next_fire(trigger, since)
    end = first if config.catch_up == "all" and first is not None and watermark_ns is not None else latest
    before = latest_fire(trigger, since, end - 1) if config.catch_up == "none" else None
    period = _period(trigger, end, config)
    return cut_window(config, watermark_ns if before is None else before, end, period=period)


def window_until(config: ScheduleConfig, watermark_ns: int | None, now_ns: int) -> Window:
    """Return the window from where the last one ended up to now, for a run that a person asks for between two times."""
    return cut_window(config, watermark_ns, now_ns, period=None)


def cut_window(
    config: ScheduleConfig, watermark_ns: int | None, end_ns: int, *, period: tuple[int, int] | None
) -> Window:
    """Cut the window of a schedule that ends at `end_ns`.

    It starts where the last one ended, `overlap` before it. `window` sets another length, which may reach further back;
    where it is the period of the schedule, on the clock or on the wall, it means the same as none. `max_window` bounds
    it.
    """
    length = int(seconds_of(config.window) * SECOND) if config.window else None
    contiguous = length is None or (period is not None and length in period)
    if watermark_ns is None:
        start = end_ns - (length or FIRST_WINDOW)
    elif contiguous:
        start = watermark_ns - int(seconds_of(config.overlap) * SECOND)
    elif period is not None and length is not None and length < min(period):
        start = end_ns - length  # shorter than the period: a part of it, on purpose
    else:
        start = min(watermark_ns, end_ns - (length or 0))
    return Window(max(start, end_ns - int(seconds_of(config.max_window) * SECOND)), end_ns)


def _period(trigger: BaseTrigger, end_ns: int, config: ScheduleConfig) -> tuple[int, int] | None:
    """Return the time from one planned end to the next, as it passes and as a wall clock shows it, in nanoseconds."""
    following = next_fire(trigger, end_ns)
    if following is None:
        return None
    zone = ZoneInfo(config.timezone)
    shown = [datetime.fromtimestamp(at // SECOND, zone).replace(tzinfo=None) for at in (end_ns, following)]
    return following - end_ns, int((shown[1] - shown[0]).total_seconds()) * SECOND


def check(settings: Settings) -> None:
    """Look at every schedule before any is started. Raises ConfigError of what no later run could mend."""
    for name, config in settings.schedules.items():
        trigger_of(name, config)
        engine = settings.engine_for(config.engine)
        if engine == "rlm" and not (settings.model.api_key or settings.model.base_url):
            raise ConfigError(
                f"[schedules.{name}] engine is 'rlm', and no model can be reached",
                hint="set OPENAI_API_KEY or [model] base_url, or engine = 'detectors'",
            )
        if config.prompt and engine == "detectors":
            raise ConfigError(
                f"[schedules.{name}] prompt: a question needs a model, and this schedule has none",
                hint="set OPENAI_API_KEY or [model] base_url, or take the prompt out",
            )


@dataclass(frozen=True, slots=True)
class Planned:
    """A schedule as `halo schedules` lists it; times in unix nanoseconds."""

    name: str
    when: str
    last_window_end: int | None
    next_run: int | None
    overdue_since: int | None = None  # the first time that has passed without a report; None of one that never ran


def plan(
    schedules: dict[str, ScheduleConfig], watermark: Callable[[str, int], int | None], now_ns: int
) -> list[Planned]:
    """Say of each schedule when it last ran and runs next."""
    planned = []
    for name, config in schedules.items():
        last = watermark(name, now_ns)
        trigger = trigger_of(name, config)
        when = f"every {config.interval}" if config.interval else f"{config.cron} ({config.timezone})"
        missed = next_fire(trigger, last) if last is not None else None
        overdue = missed if missed is not None and missed + GRACE <= now_ns else None
        planned.append(Planned(name, when, last, next_fire(trigger, now_ns), overdue))
    return planned


def worker_lock(data_dir: Path) -> Path:
    """Return the lock file that a worker holds as long as it lives."""
    return data_dir / "reports" / "worker.lock"


def run_lock(data_dir: Path, name: str) -> DirectoryLock:
    """Return the lock that keeps a schedule from running twice at once, across processes."""
    return DirectoryLock(data_dir / "locks" / f"schedule-{name}.lock", f"a run of schedule '{name}'")

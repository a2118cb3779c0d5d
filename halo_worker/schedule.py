"""When analyses run: named schedules, coalesced, never two at once.

A schedule's next window starts where its own last published report ended, so nothing is kept here: after a restart
the archive says where to go on.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.interval import IntervalTrigger

from halo_receiver.store.lock import DirectoryLock
from halo_worker.config import ScheduleConfig, Settings, seconds_of
from halo_worker.cron import cron_trigger
from halo_worker.errors import ConfigError, DirectoryInUse
from halo_worker.window import SECOND, Window, next_window

MAX_CATCH_UP = 50  # windows that `catch_up = "all"` works through after one downtime


def trigger_of(name: str, config: ScheduleConfig, *, anchor_ns: int) -> BaseTrigger:
    """Build the trigger; an interval counts from `anchor_ns`, the end of the last window. Raises ConfigError."""
    if config.interval is not None:
        start = datetime.fromtimestamp(anchor_ns / SECOND, UTC)
        return IntervalTrigger(seconds=max(1, int(seconds_of(config.interval))), start_date=start, timezone=UTC)
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


def next_fire(trigger: BaseTrigger, now_ns: int) -> int | None:
    """Return when a trigger fires next after `now_ns`, in unix nanoseconds."""
    now = datetime.fromtimestamp(now_ns / SECOND, UTC) + timedelta(microseconds=1)
    moment = trigger.get_next_fire_time(None, now)
    return None if moment is None else int(moment.timestamp() * SECOND)


def missed_fires(trigger: BaseTrigger, since_ns: int, now_ns: int) -> list[int]:
    """Return when a trigger should have fired in `(since, now]`, oldest first, at most MAX_CATCH_UP."""
    moments: list[int] = []
    at = since_ns
    while len(moments) < MAX_CATCH_UP:
        following = next_fire(trigger, at)
        if following is None or following > now_ns:
            break
        moments.append(following)
        at = following
    return moments


def due_windows(name: str, config: ScheduleConfig, watermark_ns: int | None, now_ns: int) -> list[Window]:
    """Return the windows that are due now, oldest first, as the catch-up policy says.

    `one`: a single window over all that was missed. `all`: one for each time that was missed. `none`: only the part
    since the last time it should have run.
    """

    def window(start: int | None, end: int) -> Window:
        return next_window(
            start,
            end,
            length_s=seconds_of(config.window) if config.window else None,
            overlap_s=seconds_of(config.overlap),
            longest_s=seconds_of(config.max_window),
        )

    if watermark_ns is None or config.catch_up == "one" or watermark_ns > now_ns:
        return [window(watermark_ns, now_ns)]
    fires = missed_fires(trigger_of(name, config, anchor_ns=watermark_ns), watermark_ns, now_ns)
    ends = [*fires[:-1], now_ns] if fires else [now_ns]
    starts = [watermark_ns, *ends[:-1]]
    windows = [window(start, end) for start, end in zip(starts, ends, strict=True)]
    return windows[-1:] if config.catch_up == "none" else windows


def check(settings: Settings, now_ns: int) -> None:
    """Look at every schedule before any is started. Raises ConfigError of what no later run could mend."""
    for name, config in settings.schedules.items():
        trigger_of(name, config, anchor_ns=now_ns)
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


def plan(schedules: dict[str, ScheduleConfig], watermark: Callable[[str], int | None], now_ns: int) -> list[Planned]:
    """Say of each schedule when it last ran and runs next."""
    planned = []
    for name, config in schedules.items():
        last = watermark(name)
        trigger = trigger_of(name, config, anchor_ns=last or now_ns)
        when = f"every {config.interval}" if config.interval else f"{config.cron} ({config.timezone})"
        planned.append(Planned(name, when, last, next_fire(trigger, now_ns)))
    return planned


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of a schedule's turn: windows worked, and why there are no more of them."""

    windows: int
    failed: bool = False
    skipped: bool = False


def run_lock(data_dir: Path, name: str) -> DirectoryLock:
    """Return the lock that keeps a schedule from running twice at once, across processes."""
    return DirectoryLock(data_dir / "locks" / f"schedule-{name}.lock", f"a run of schedule '{name}'")


class Scheduler:
    """Runs `work(name, window)` for every schedule when it is due, until `stop`; work says whether it succeeded.

    Jobs run one at a time on one thread: the machine has few cores, and two analyses at once would only wait for
    each other. What is missed meanwhile is coalesced into one run.
    """

    def __init__(
        self,
        schedules: dict[str, ScheduleConfig],
        *,
        data_dir: Path,
        work: Callable[[str, Window], bool],
        watermark: Callable[[str], int | None],
        clock: Callable[[], int],
        say: Callable[[str], None],
    ) -> None:
        self._schedules = schedules
        self._data_dir = data_dir
        self._work = work
        self._watermark = watermark
        self._clock = clock
        self._say = say
        self._running = threading.Lock()
        self._stopping = threading.Event()
        # It warns of each turn that comes while a run is in progress: those are made up in one, as promised.
        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )

    def start(self) -> None:
        """Add every schedule and begin. One that was due meanwhile runs at once, unless it catches nothing up."""
        now = self._clock()
        for name, config in self._schedules.items():
            last = self._watermark(name)
            trigger = trigger_of(name, config, anchor_ns=last or now)
            missed = last is not None and config.catch_up != "none" and bool(missed_fires(trigger, last, now))
            extra = {"next_run_time": datetime.fromtimestamp(now / SECOND, UTC)} if missed else {}
            self._scheduler.add_job(self.run_due, trigger, args=[name], id=name, **extra)
            following = now if missed else next_fire(trigger, now)
            if following is not None:
                at = datetime.fromtimestamp(following / SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
                self._say(f"schedule planned name={name} next_run={at}")
        self._scheduler.start()

    def run_due(self, name: str) -> Ran:
        """Run what is due of one schedule now, oldest window first; a window that fails ends it, to be tried again."""
        config = self._schedules[name]
        done = 0
        try:
            with self._running, run_lock(self._data_dir, name):
                for window in due_windows(name, config, self._watermark(name), self._clock()):
                    if self._stopping.is_set():
                        break
                    if not self._work(name, window):
                        return Ran(done, failed=True)
                    done += 1
        except DirectoryInUse as error:
            self._say(f"run skipped schedule={name} reason=it is running already: {error}")
            return Ran(done, skipped=True)
        return Ran(done)

    def stop(self) -> None:
        """Start nothing more and wait for the run in progress."""
        self._stopping.set()
        if self._scheduler.running:
            self._scheduler.shutdown(wait=True)

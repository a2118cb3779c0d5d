"""Runs the schedules: coalesced, never two at once, and only those whose turn is this worker's."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path

from apscheduler.schedulers.background import BackgroundScheduler

from halo_receiver.publishing import RETRY_SECONDS
from halo_worker.config_schedules import ScheduleConfig
from halo_worker.errors import DirectoryInUse, LakeUnavailable, LeaseTaken
from halo_worker.schedule import due_window, latest_fire, moment, next_fire, run_lock, trigger_of, window_until
from halo_worker.turns import Turns
from halo_worker.window import SECOND, Window


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of a schedule's turn: windows worked, and why there are no more of them."""

    windows: int
    failed: bool = False
    skipped: bool = False


class Scheduler:
    """Runs `work(name, window)` for every schedule when it is due, until `stop`; work says whether it succeeded.

    Jobs run one at a time on one thread: the machine has few cores, and two analyses at once would only wait for
    each other. `watermark(name, now)` says where a schedule's last published window ended; `turns` whether this worker
    is the one that runs it. A run for which the lake is away is tried again by itself.
    """

    def __init__(
        self,
        schedules: dict[str, ScheduleConfig],
        *,
        data_dir: Path,
        work: Callable[[str, Window], bool],
        watermark: Callable[[str, int], int | None],
        clock: Callable[[], int],
        say: Callable[..., None],
        turns: Turns | None = None,
    ) -> None:
        self.turns = turns or Turns()
        self._failures: Counter[str] = Counter()  # one after another, of the lake
        self._schedules = schedules
        self._data_dir = data_dir
        self._work = work
        self._watermark = watermark
        self._clock = clock
        self._say = say
        self._begun = clock()
        self._running = threading.Lock()
        self._stopping = threading.Event()
        # It warns of each turn that comes while a run is in progress: those are made up for afterwards.
        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )

    def start(self) -> None:
        """Add every schedule and begin. One that was due meanwhile runs at once, unless it catches nothing up."""
        now = self._clock()
        for name, config in self._schedules.items():
            trigger = trigger_of(name, config)
            missed = config.catch_up != "none" and self._due(name, now) is not None
            self._scheduler.add_job(self.run_due, trigger, args=[name], id=name)
            if missed:
                self._run_at(name, now)
            following = now if missed else next_fire(trigger, now)
            if following is not None:
                self._say("schedule planned", name=name, next_run=f"{moment(following):%Y-%m-%dT%H:%M:%SZ}")
        self._scheduler.start()
        self.turns.start(self.taken_over)

    def _run_at(self, name: str, at_ns: int) -> None:
        """Run what is due at a time that the trigger does not know, which keeps its own.

        Two instances at most: a run that asks for the next one has not ended itself, and the scheduler drops a job
        above its number of instances.
        """
        self._scheduler.add_job(
            self.run_due, "date", run_date=moment(at_ns), args=[name], id=f"{name} again", replace_existing=True,
            max_instances=2,
        )  # fmt: skip

    def taken_over(self, name: str) -> None:
        """Run what is due of a schedule that came to this worker; what it missed before, where `catch_up` says so."""
        now, config = self._clock(), self._schedules[name]
        if config.catch_up != "none" or latest_fire(trigger_of(name, config), self._begun, now) is not None:
            self._run_at(name, now)

    def _due(self, name: str, now_ns: int) -> Window | None:
        last = self._watermark(name, now_ns)
        return due_window(name, self._schedules[name], last, now_ns, begun_ns=self._begun)

    def run_due(self, name: str) -> Ran:
        """Run what is due of one schedule now, oldest window first; a window that fails ends it, to be tried again."""

        def due() -> Iterator[Window]:
            while (window := self._due(name, self._clock())) is not None:
                yield window

        return self._run(name, due())

    def run_now(self, name: str) -> Ran:
        """Run one window up to now, whether or not one is due; the next one starts where it ends."""

        def one() -> Iterator[Window]:
            now = self._clock()
            yield window_until(self._schedules[name], self._watermark(name, now), now)

        return self._run(name, one())

    def _run(self, name: str, windows: Iterable[Window]) -> Ran:
        done = 0
        try:
            with self._running, run_lock(self._data_dir, name), self.turns.turn(name):
                for window in windows:
                    if self._stopping.is_set():
                        break
                    if not self._work(name, window):
                        return Ran(done, failed=True)
                    done += 1
        except DirectoryInUse as error:
            self._say("run skipped", schedule=name, reason=f"it is running already: {error}")
            return Ran(done, skipped=True)
        except LeaseTaken as error:
            self._say("run skipped", schedule=name, reason=str(error))
            return Ran(done, skipped=True)
        except LakeUnavailable as error:
            self._wait_for_lake(name, error)
            return Ran(done, failed=True)
        self._failures[name] = 0
        return Ran(done)

    def _wait_for_lake(self, name: str, error: LakeUnavailable) -> None:
        first, longest = RETRY_SECONDS
        wait = min(longest, first * 2.0 ** self._failures[name])
        self._failures[name] += 1
        self._say("run waits for the lake", schedule=name, reason=str(error), again_in_seconds=wait)
        if self._scheduler.running:
            self._run_at(name, self._clock() + int(wait * SECOND))

    def stop(self) -> None:
        """Start nothing more and wait for the run in progress."""
        self._stopping.set()
        if self._scheduler.running:
            self._scheduler.shutdown(wait=True)
        self.turns.stop()

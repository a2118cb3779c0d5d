"""Which worker runs a schedule: on one host whoever holds its lock, in a lake also the one that holds its lease.

Every worker of a lake asks for the lease of each of its schedules, three times within `lease_seconds`. The one that
has it renews it and runs the schedule; the others stand by, with a copy of the reports that is kept up to date, and one
of them takes over when it has ended. Its epoch grows with each change of hands: whatever is written in the name of an
earlier one is refused by the catalog (`lake_reports`), however long its worker was stopped.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from halo_receiver.config import LakeConfig
from halo_receiver.store.lake_reports import Fence, LakeReports
from halo_receiver.store.lake_state import RENEWALS
from halo_worker.errors import HaloError, LeaseTaken
from halo_worker.report.shared import Alone
from halo_worker.shared_reports import SharedReports, lease_of

Say = Callable[..., None]


class Turns:
    """One host: every schedule is its own."""

    shared: Alone | None = None  # who is asked before a report of this worker counts

    def start(self, taken: Callable[[str], None]) -> None:
        """Begin to take part; `taken` is told of each schedule that came to this worker."""

    def stop(self) -> None:
        """Let others in at once."""

    @contextmanager
    def turn(self, name: str) -> Iterator[None]:
        """Run a schedule meanwhile. Raises LeaseTaken where another worker runs it, LakeUnavailable."""
        yield

    def fence(self, name: str | None) -> Fence | None:
        """Return what a schedule's reports are written under; epoch 0 where another worker runs it."""
        return None


class LeasedTurns(Turns):
    """The leases of schedules, held for one data directory, by the directory of its reports."""

    def __init__(
        self, config: LakeConfig, directory: Path, names: Iterable[str], *, interrupted: Callable[[], bool], say: Say
    ) -> None:
        self._config = config
        self.shared: SharedReports = SharedReports(config, directory, fences=self.fence, interrupted=interrupted)
        self._names = tuple(names)
        self._started = False  # else it takes part in the schedule alone that a person runs
        self._say = say
        self._holder = self.shared.holder
        self._held: dict[str, tuple[int, float]] = {}  # epoch, and until when at least by the clock of this process
        self._said: dict[str, str] = {}  # what was said of each schedule last
        self._running: dict[str, Fence] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._taken: Callable[[str], None] = lambda _: None

    def start(self, taken: Callable[[str], None]) -> None:
        self._taken, self._started = taken, True
        self._renewing()

    def _renewing(self) -> None:
        if self._thread is None and not self._ended.is_set():
            self._thread = threading.Thread(target=self._run, name="leases", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        with contextlib.suppress(HaloError), LakeReports.open(self._config) as lake:
            for name in self._held:
                lake.release(lease_of(name), self._holder)

    @contextmanager
    def turn(self, name: str) -> Iterator[None]:
        epoch = self._epoch(name)
        if epoch is None:
            with LakeReports.open(self._config) as lake:
                epoch = self._ask(lake, name)
                if epoch is None:
                    raise LeaseTaken(f"{lake.schedules().get(name, ('another worker', 0))[0]} runs it")
        self._renewing()
        self._running[name] = Fence(lease_of(name), epoch)
        try:
            yield
        finally:
            del self._running[name]

    def fence(self, name: str | None) -> Fence | None:
        if name is None or name not in self._names:
            return None
        return self._running.get(name) or Fence(lease_of(name), self._epoch(name) or 0)

    def _epoch(self, name: str) -> int | None:
        epoch, until = self._held.get(name, (0, 0.0))
        return epoch if time.monotonic() < until else None

    def _run(self) -> None:
        while True:
            try:
                self.shared.refresh()
                with LakeReports.open(self._config) as lake:
                    for name in self._names if self._started else list(self._running):
                        self._renew(lake, name)
            except HaloError as error:
                for name in self._names:
                    self._tell(name, "schedule waits", reason=error)
            except Exception as error:  # noqa: BLE001 - the next round is tried
                self._say("leases not renewed", level=logging.ERROR, reason=f"{type(error).__name__}: {error}")
            if self._ended.wait(self._config.lease_seconds / RENEWALS):
                return

    def _renew(self, lake: LakeReports, name: str) -> None:
        before = self._epoch(name)
        epoch = self._ask(lake, name)
        if epoch is None:
            self._tell(name, "schedule stands by", runs=lake.schedules().get(name, ("another worker", 0))[0])
        else:
            self._tell(name, "schedule held", epoch=epoch)
            if before != epoch:
                self._taken(name)

    def _ask(self, lake: LakeReports, name: str) -> int | None:
        """Ask for a lease. What its last holder published is copied before it counts as held."""
        with self._lock:
            asked = time.monotonic()
            epoch = lake.lease(lease_of(name), self._holder, self._config.lease_seconds)
            if epoch is None:
                self._held.pop(name, None)
                return None
            if self._held.get(name, (0, 0.0))[0] != epoch:
                self.shared.refresh()
            self._held[name] = epoch, asked + self._config.lease_seconds
            return epoch

    def _tell(self, name: str, what: str, **fields: object) -> None:
        """Say what changed of a schedule, once."""
        if self._said.get(name) != what:
            self._said[name] = what
            self._say(what, schedule=name, **fields)

"""The processes that `halo up` keeps running beside the worker: started, watched, started again, ended in order."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from halo_receiver import child_processes
from halo_worker.cli.console import fail
from halo_worker.config import Settings
from halo_worker.errors import HaloError
from halo_worker.segments_client import ReceiverAddress

START_SECONDS = 60.0
PAUSE_SECONDS = (1.0, 60.0)  # before a restart: the first, and the longest after ends that follow each other
STEADY_SECONDS = 60.0  # of running, after which the pauses begin anew
EXTRA_SECONDS = 30.0  # beyond its drain, for which a stop waits
PAGE_STOP_SECONDS = 10.0
CANNOT_BEGIN = 2  # the exit code of wrong settings, which a restart does not mend

Say = Callable[..., Any]


class KeptChild:
    """One process at a time. It ends, in order, when this one does, however this one ends."""

    what: ClassVar[str]
    module: ClassVar[str]
    gives_up_on: ClassVar[frozenset[int]] = frozenset()  # exit codes after which it is not started again

    def __init__(self, arguments: Sequence[str], *, say: Say) -> None:
        self._arguments = arguments
        self._say = say
        self._pause = PAUSE_SECONDS[0]
        self._due: float | None = None  # when it is to be started again
        self._given_up = False
        self._process = self._start()

    def environment(self) -> Mapping[str, str]:
        """Return what the process sees."""
        return child_processes.environment(settings=True)

    def _start(self) -> subprocess.Popen[bytes]:
        self._started = time.monotonic()
        # In a session of its own, so that Ctrl-C reaches this process alone, which then ends all in order.
        return child_processes.start(
            f"halo-{self.what}", self.module, *self._arguments,
            env=self.environment(), ends_by=signal.SIGTERM, start_new_session=True,
        )  # fmt: skip

    def look(self) -> None:
        """Start it again when it has ended, after a pause that doubles with each end that follows soon."""
        now = time.monotonic()
        if self._given_up:
            return
        if self._due is not None and now >= self._due:
            self._due = None
            self._process = self._start()
            self._say(f"{self.what} started again", process=self._process.pid)
        elif self._due is None and (code := self._process.poll()) is not None:
            if code in self.gives_up_on:
                self._given_up = True
                return
            if now - self._started > STEADY_SECONDS:
                self._pause = PAUSE_SECONDS[0]
            self._due = now + self._pause
            self._say(f"{self.what} ended unexpectedly", code=code, starts_again_in=self._pause)
            self._pause = min(PAUSE_SECONDS[1], 2 * self._pause)

    def end(self, seconds: float) -> int | None:
        """Ask it to end and wait; return its exit code, 0 when it was not running, None when it had to be killed."""
        if self._process.poll() is not None:
            return 0
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return None


class ReceiverChild(KeptChild):
    """The receiver."""

    what, module = "receiver", "halo_receiver"

    def __init__(self, current: Settings, arguments: Sequence[str], *, say: Say) -> None:
        self._current = current
        super().__init__(arguments, say=say)

    def wait_ready(self, stopping: threading.Event) -> int | None:
        """Wait until it has left its address; its exit code when it ended instead: it has said why."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and not stopping.is_set():
            address = ReceiverAddress.read(self._current.store.data_dir)
            if address is not None and address.pid == self._process.pid:
                return None
            if self._process.poll() is not None:
                return self._process.returncode or 1
            stopping.wait(0.05)
        return None if stopping.is_set() else fail(HaloError("the receiver did not start within 60 s"), code=1)

    def stop(self) -> int:
        """Have it drain and seal; return its exit code, 0 when it was not running."""
        code = self.end(self._current.receiver.drain_seconds + EXTRA_SECONDS)
        if code is None:
            fail(HaloError("the receiver did not drain in time; what it acknowledged is in the spool"), code=1)
        return code


class PageChild(KeptChild):
    """The page. One that cannot begin, as where its port is taken, has said why and ends nothing else."""

    what, module = "page", "halo_worker"
    gives_up_on = frozenset((CANNOT_BEGIN,))

    def environment(self) -> Mapping[str, str]:
        """Return the whole environment: runs that are started on the page may need a model's key."""
        return {**os.environ, **child_processes.environment(settings=True)}

    def stop(self) -> None:
        """Have it end."""
        self.end(PAGE_STOP_SECONDS)

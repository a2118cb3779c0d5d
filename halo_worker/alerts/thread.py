"""The thread of a worker that watches: beside the schedules, and less important than their runs."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable

from halo_worker.alerts.watch import Say, Watch
from halo_worker.config import Settings
from halo_worker.delivery.courier import Delivery
from halo_worker.errors import HaloError

LOOK_SECONDS = 1.0
NICE = 10  # a look takes no time from a scheduled run that could use it; it holds no lock that one takes
STOP_SECONDS = 10.0  # for which a look in progress is waited for; what it has not recorded is looked at again


class AlertThread:
    """Does what is due every second; nothing that goes wrong in it ends the worker."""

    def __init__(self, current: Settings, *, say: Say, delivered: Callable[[Iterable[Delivery]], None]) -> None:
        self._current = current
        self._say = say
        self._delivered = delivered
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="alerts", daemon=True)

    def start(self) -> None:
        """Begin, if there is an alert."""
        if self._current.alerts:
            self._thread.start()

    def stop(self) -> None:
        """Begin nothing more, and wait a while for what is in progress."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        with contextlib.suppress(OSError, AttributeError):  # Linux alone has priorities of threads
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        watch: Watch | None = None
        while not self._stopping.wait(LOOK_SECONDS):
            try:
                if watch is None:
                    watch = Watch(self._current, clock=time.time_ns, say=self._say)
                    self._delivered(watch.recover())
                self._delivered(watch.turn())
            except Exception as error:  # noqa: BLE001 - the next look is tried
                reason = str(error) if isinstance(error, HaloError) else f"{type(error).__name__}: {error}"
                self._say("alert look failed", level=logging.ERROR, reason=reason)

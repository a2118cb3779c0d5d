"""Bounded queue into the spool: a request is acknowledged after the fdatasync of its group.

One thread writes. While it waits for the disk, requests gather; the next sync takes them all. Whatever goes wrong with
a group is told to its requests, and the thread goes on with the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from halo_receiver import spool
from halo_receiver.errors import HaloError
from halo_receiver.logs import event

log = logging.getLogger("halo.receiver")

MAX_PENDING_BYTES = 256 * 2**20  # received, not yet on disk
CLOCK_BACK_NS = 3_600_000_000_000  # up to which a clock that goes back is not followed: arrivals stay in order
PROBE_SECONDS = 1.0  # between two attempts to write while the disk refuses
REFUSING_SECONDS = 3.0  # for which a write that the disk refused counts, whatever succeeds meanwhile
CLOSE_SECONDS = 5.0  # a disk that hangs longer than this does not keep the process


class Busy(HaloError):  # noqa: N818
    """Nothing is wrong with the request: it should come again."""


@dataclass(slots=True)
class _Pending:
    request: dict[str, Any]  # what spool.encode takes
    done: asyncio.Future[None]
    loop: asyncio.AbstractEventLoop


class Ingest:
    """The way into the spool. `store` is called on the event loop; the disk is waited for on a thread.

    `last_arrival_ns` is the latest arrival known from before this start; `on_synced` hears, on the thread, up to where
    everything is durable.
    """

    def __init__(
        self,
        writer: spool.SpoolWriter,
        *,
        clock: Callable[[], int],
        on_synced: Callable[[spool.Position], None],
        last_arrival_ns: int = 0,
        max_pending_bytes: int = MAX_PENDING_BYTES,
    ) -> None:
        self._writer = writer
        self._clock = clock
        self._on_synced = on_synced
        self._max_pending = max_pending_bytes
        self._pending_bytes = 0
        self._last_arrival = last_arrival_ns
        self._busy_since: float | None = None
        self._refused: tuple[float, str] | None = None  # when the disk last refused a write, and what it said
        self._queue: queue.SimpleQueue[_Pending | None] = queue.SimpleQueue()
        self.position = writer.position
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        self._thread.start()

    def arrival(self) -> int:
        """Return the time of arrival. It does not go back when the clock does: windows are cut on it.

        A clock that goes back by more than an hour was wrong before, and is followed.
        """
        now = self._clock()
        if self._last_arrival - now > CLOCK_BACK_NS:
            seconds = (self._last_arrival - now) / 1e9
            what = "clock went back: what arrives now may fall into windows that were analysed already"
            event(log, what, level=logging.WARNING, seconds=seconds)
            self._last_arrival = now
        self._last_arrival = max(self._last_arrival, now)
        return self._last_arrival

    @property
    def stalled_for(self) -> float:
        """Seconds for which the disk has not answered."""
        since = self._busy_since
        return time.monotonic() - since if since is not None else 0.0

    @property
    def refusing(self) -> str | None:
        """What the disk said when it refused the last write; None once it takes them again."""
        return self._refused[1] if self._refused is not None else None

    async def store(self, *, kind: str, encoding: str, compression: str, body: bytes) -> None:
        """Make a request durable. Raises Busy when too much waits already, or the disk refuses."""
        if self._pending_bytes + len(body) > self._max_pending:
            raise Busy("too much waits for the disk")
        loop = asyncio.get_running_loop()
        request = {
            "kind": kind, "encoding": encoding, "compression": compression, "arrival_ns": self.arrival(), "body": body,
        }  # fmt: skip
        done: asyncio.Future[None] = loop.create_future()
        self._pending_bytes += len(body)
        self._queue.put(_Pending(request, done, loop))
        try:
            await done  # who gives up waiting does not take the request out of the queue
        except OSError as error:
            raise Busy(f"the spool cannot be written: {error.strerror}") from None

    def _settle(self, group: list[_Pending], error: Exception | None) -> None:
        """Answer a group's requests, on the event loop."""
        for item in group:
            self._pending_bytes -= len(item.request["body"])
            if item.done.done():  # nobody waits any more
                continue
            if error is None:
                item.done.set_result(None)
            else:
                item.done.set_exception(error)

    def _groups(self) -> Iterator[list[_Pending]]:
        while True:
            try:
                first = self._queue.get(timeout=PROBE_SECONDS if self._refused else None)
            except queue.Empty:
                self._probe()
                continue
            if first is None:
                return
            group = [first]
            while not self._queue.empty():
                item = self._queue.get()
                if item is None:
                    yield group
                    return
                group.append(item)
            yield group

    def _probe(self) -> None:
        """Try whether the disk takes writes again: nobody may send any to one that is not ready."""
        assert self._refused is not None
        try:
            self._writer.probe()
        except OSError as error:
            self._refused = time.monotonic(), str(error.strerror)
            return
        if time.monotonic() - self._refused[0] > REFUSING_SECONDS:
            self._refused = None

    def _run(self) -> None:
        for group in self._groups():
            self._busy_since = time.monotonic()
            try:
                position = self._writer.append([spool.encode(**item.request) for item in group])
            except Exception as error:  # noqa: BLE001 - a thread that ended would leave every later request unanswered
                event(log, "spool refused", level=logging.ERROR, reason=f"{type(error).__name__}: {error}")
                self._refused = time.monotonic(), getattr(error, "strerror", None) or type(error).__name__
                self._tell(group, error)
                continue
            finally:
                self._busy_since = None
            self.position, self._refused = position, None
            self._tell(group, None)
            self._on_synced(position)

    def _tell(self, group: list[_Pending], error: Exception | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits for the answer
            group[0].loop.call_soon_threadsafe(self._settle, group, error)

    def close(self) -> None:
        """Write what waits and stop."""
        self._queue.put(None)
        self._thread.join(CLOSE_SECONDS)
        if not self._thread.is_alive():
            self._writer.close()

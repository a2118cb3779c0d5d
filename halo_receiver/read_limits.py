"""Requests that are being read: what they may hold together, and which of them goes when it is too much.

gRPC does not say how far a message has come, so what they hold is measured; HTTP's bodies are counted as well. Who is
ended is told to come back. Small requests are read in milliseconds and hardly notice others that stand still.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import TracebackType

from halo_receiver import process_memory

LOOK_SECONDS = 0.05  # between two looks while requests are being read
QUICK_SECONDS = 0.1  # for which a request is left alone, whatever the others do: most have been read by then
PROGRESS_BYTES = 16 * 2**10  # by which a body must grow to count as moving
STILL_SECONDS = 1.0  # without that, after which a body goes before any that moves
UNKNOWN_SECONDS = 10.0  # the same for one whose progress nobody knows; SDKs wait for ten seconds, Collectors for five
MAX_READS = 4096  # at a time
GIVE_BACK_SECONDS = 5.0  # between two returns of freed memory to the system


class Ended(Exception):  # noqa: N818
    """The request is not read any further, and should come again. The text says why."""


class Read:
    """One request while it is read: `async with reads.begin() as read`, which raises Ended when it has to go."""

    def __init__(self, reads: Reads, now: float, *, counted: bool) -> None:
        self.since = self.moved = now
        self.bytes: int | None = 0 if counted else None
        self._marked = 0
        self._reads = reads
        self._deadline = asyncio.timeout(None)
        self._why = ""

    async def __aenter__(self) -> Read:
        await self._deadline.__aenter__()
        self._reads.add(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._reads.discard(self)
        try:
            await self._deadline.__aexit__(kind, value, traceback)
        except TimeoutError:
            raise Ended(self._why) from None

    def grew(self, size: int) -> None:
        """Count what came of a body."""
        self.bytes = (self.bytes or 0) + size
        self._reads.known += size
        if self.bytes - self._marked >= PROGRESS_BYTES:
            self.moved, self._marked = self._reads.clock(), self.bytes
        self._reads.look_at_bodies()

    def still_for(self, now: float) -> float:
        """Seconds for which it has not moved beyond what is usual; below zero while it moves."""
        return now - self.moved - (UNKNOWN_SECONDS if self.bytes is None else STILL_SECONDS)

    def end(self, why: str) -> None:
        """Have the block that reads it raise Ended."""
        self._why = why
        self._deadline.reschedule(0)


class Reads:
    """All that are being read, by both transports.

    `budget` is what they may hold, but one of the `largest` size always may; `held` tells what requests hold that are
    read and not answered yet. Only the event loop's thread may use it.
    """

    def __init__(
        self,
        *,
        budget: int,
        largest: int,
        idle_seconds: float,
        total_seconds: float,
        held: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
        in_use: Callable[[], int] = process_memory.in_use,
    ) -> None:
        self.clock = clock
        self.ended = 0
        self.known = 0  # bytes of bodies that are counted
        self._budget = max(budget, largest)
        self._largest = largest
        self._idle_seconds, self._total_seconds = idle_seconds, total_seconds
        self._held = held
        self._in_use = in_use
        self._reads: dict[Read, None] = {}  # in the order in which they began
        self._floor = self._measured = in_use()
        self._watching = self._closed = False
        self._gave_back = float("-inf")

    def __len__(self) -> int:
        return len(self._reads)

    def close(self) -> None:
        """Watch no longer."""
        self._closed = True

    def begin(self, *, counted: bool) -> Read:
        """Return a request to be read; `counted` when its bytes are told by `grew`."""
        return Read(self, self.clock(), counted=counted)

    def add(self, read: Read) -> None:
        """List one that begins. Another goes when there are too many."""
        if len(self._reads) >= MAX_READS:
            self._end(self._in_order_of_going(read.since, quick=0)[:1], "too many requests are being read")
        self._reads[read] = None
        if not self._watching:
            self._watching = True
            self._look_later()

    def discard(self, read: Read) -> None:
        """Take one off the list."""
        if read in self._reads:
            del self._reads[read]
            self.known -= read.bytes or 0

    def _look_later(self) -> None:
        asyncio.get_running_loop().call_later(LOOK_SECONDS, self._measure)

    def _measure(self) -> None:
        """Measure beside the event loop: the allocator's locks may be held by others for a while."""
        if self._closed:
            return
        none = not self._reads and not self._held()
        measuring = asyncio.get_running_loop().run_in_executor(None, self._in_use)
        measuring.add_done_callback(lambda done: None if done.cancelled() else self._look(done.result(), none))

    def _look(self, measured: int, none: bool) -> None:
        self._measured, now = measured, self.clock()
        if none:  # this much is in use without any
            self._floor = measured
            self._watching = bool(self._reads)
            if self._watching:
                self._look_later()
            return
        late = [read for read in self._reads if now - read.since > self._total_seconds]
        self._end(late, f"the request was not complete after {self._total_seconds:g} s")
        idle = [read for read in self._reads if read.bytes is not None and now - read.moved > self._idle_seconds]
        self._end(idle, f"nothing of the request came for {self._idle_seconds:g} s")
        self._relieve(self.used() - self._budget, now)
        self._look_later()

    def used(self) -> int:
        """Return what they hold: as measured, without what is held of others (as it came, and packed for the spool)."""
        measured = self._measured - self._floor - 2 * self._held()
        return max(self.known, min(measured, len(self._reads) * self._largest))

    def look_at_bodies(self) -> None:
        """Hold the bodies that are counted to the budget at once, not at the next look."""
        excess = self.known - self._budget
        if excess > 0:
            self._relieve(excess, self.clock())

    def _relieve(self, excess: int, now: float) -> None:
        """End so many that what is too much is freed, as far as that is known."""
        if excess <= 0:
            return
        excess += self._budget // 4  # more comes while they end
        unknown = [read for read in self._reads if read.bytes is None]
        share = (self.used() - self.known) // max(1, len(unknown))
        going = []
        for read in self._in_order_of_going(now, quick=QUICK_SECONDS):
            if excess <= 0:
                break
            going.append(read)
            excess -= max(1, share if read.bytes is None else read.bytes)
        self._end(going, f"requests that are being read hold more than {self._budget >> 20} MiB")
        self._give_back(now)

    def _in_order_of_going(self, now: float, *, quick: float) -> list[Read]:
        """The stillest first; then the youngest, for the oldest have the least left to come."""
        candidates = [read for read in self._reads if now - read.since >= quick]
        still = sorted((read for read in candidates if read.still_for(now) > 0), key=lambda read: -read.still_for(now))
        return still + [read for read in reversed(candidates) if read.still_for(now) <= 0]

    def _end(self, going: list[Read], why: str) -> None:
        for read in going:
            self.discard(read)
            self.ended += 1
            read.end(why)

    def _give_back(self, now: float) -> None:
        """What was freed is still resident, and counts against a limit of the service."""
        if now - self._gave_back > GIVE_BACK_SECONDS:
            self._gave_back = now
            loop = asyncio.get_running_loop()
            loop.call_later(LOOK_SECONDS, lambda: loop.run_in_executor(None, process_memory.give_back))

"""The time by which segments expire. A clock that is wrong must not delete what nobody can bring back.

The wall clock is compared with the monotonic one, which nobody sets, and with what has arrived:

- when wall and monotonic time differ by more than JUMP_NS, somebody set the clock: nothing expires by age for WAIT_NS
  after that, nor after a start that finds the clock far from all that is known;
- time passes as something confirms it: arrivals, or the monotonic clock of a running receiver. A wall clock that is
  more than AWAY_NS ahead of both is not believed, and what was confirmed last counts as now.

What is known lies in `segments/clock.json`, so that a restart while the clock is wrong changes nothing.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from halo_receiver.logs import event

log = logging.getLogger("halo.store")

SECOND = 1_000_000_000
JUMP_NS = 300 * SECOND  # daylight saving does not move the wall clock, and the correction of drift comes nowhere near
WAIT_NS = 3600 * SECOND  # of monotonic time, after a jump
AWAY_NS = 86_400 * SECOND
KEEP_NS = 60 * SECOND  # between two writings of what is known
FARTHEST_NS = 2**62
CLOCK_FILE = "clock.json"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")  # monotonic times of two boots cannot be compared


@dataclass(frozen=True, slots=True)
class _Known:
    """Times in nanoseconds: a wall and a monotonic time of one moment, since the last jump; the monotonic time of the
    last look; the unix time that is confirmed; the monotonic time until which nothing expires."""

    wall: int
    monotonic: int
    looked: int
    confirmed: int
    wait_until: int = 0


def boot_id() -> str:
    """Return what names this boot of the machine; empty where the system does not say."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


class TrustedClock:
    """One for a directory of segments, asked at each look at them, by one thread."""

    def __init__(
        self,
        directory: Path,
        *,
        wall: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], int] = time.monotonic_ns,
        boot: Callable[[], str] = boot_id,
    ) -> None:
        self._file = directory / CLOCK_FILE
        self.wall = wall
        self.monotonic = monotonic
        self._boot = boot()
        self._known: _Known | None = None
        self._written: _Known | None = None
        self.jumps = 0

    def read(self, newest_ns: int) -> int | None:
        """Return the unix time in ns that segments may expire by; None while the clock is not believed.

        `newest_ns` is the newest arrival in the segments, 0 for none.
        """
        wall, monotonic = self.wall(), self.monotonic()
        if self._known is None:
            self._known = self._begin(wall, monotonic, newest_ns)
        known = self._next(self._known, wall, monotonic)
        waits = monotonic < known.wait_until
        if not waits:  # while the clock is wrong, the times of what arrives are wrong as well
            known = replace(known, confirmed=max(known.confirmed, min(newest_ns, wall)))
        self._known = known
        self._remember(known)
        return None if waits else min(wall, known.confirmed + AWAY_NS)

    def _begin(self, wall: int, monotonic: int, newest_ns: int) -> _Known:
        """Go on where the last process of this boot stopped; else compare with what arrived and was confirmed."""
        boot, stored = self._stored()
        if stored is not None and boot and boot == self._boot and stored.looked <= monotonic:
            return stored
        last = max(newest_ns, stored.confirmed if stored else 0)
        if last and abs(wall - last) > AWAY_NS:
            return self._wait(wall, monotonic, last, seconds=(wall - last) / SECOND)
        return _Known(wall, monotonic, monotonic, wall)

    def _next(self, known: _Known, wall: int, monotonic: int) -> _Known:
        confirmed = known.confirmed + max(0, monotonic - known.looked)
        # Compared with the pair of the last jump, not of the last look: steps of a clock that runs too fast add up.
        ahead = (wall - known.wall) - (monotonic - known.monotonic)
        if abs(ahead) > JUMP_NS:
            return self._wait(wall, monotonic, confirmed, seconds=ahead / SECOND)
        return replace(known, looked=monotonic, confirmed=confirmed)

    def _wait(self, wall: int, monotonic: int, confirmed: int, *, seconds: float) -> _Known:
        self.jumps += 1
        what = "clock jumped: no segment expires by age until it has been steady"
        event(log, what, level=logging.WARNING, jumped_seconds=seconds, for_seconds=WAIT_NS / SECOND)
        return _Known(wall, monotonic, monotonic, min(confirmed, wall), monotonic + WAIT_NS)

    def _remember(self, known: _Known) -> None:
        old = self._written
        same = old is not None and replace(old, looked=0, confirmed=0) == replace(known, looked=0, confirmed=0)
        if old is not None and same and known.looked - old.looked < KEEP_NS:
            return
        temporary = self._file.with_suffix(".new")
        try:
            temporary.write_text(json.dumps({"boot": self._boot, **asdict(known)}))
            temporary.rename(self._file)
        except OSError:  # on a full disk the next start has less to compare with
            return
        self._written = known

    def _stored(self) -> tuple[str, _Known | None]:
        try:
            document = json.loads(self._file.read_bytes())
            times = {item.name: document[item.name] for item in fields(_Known)}
            boot = document["boot"]
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return "", None
        valid = all(type(value) is int and 0 <= value < FARTHEST_NS for value in times.values())
        return (boot, _Known(**times)) if valid and isinstance(boot, str) else ("", None)

"""Spooled requests become rows of the open segment, and open segments sealed ones.

The place that was read to is stored in the same transaction as the rows, so that after any crash the ordinary start
goes on where the rows end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from halo_receiver import conventions, spool, spool_files
from halo_receiver.commits import RETRY_SECONDS, Commits, Tell
from halo_receiver.recent_spans import RecentSpans
from halo_receiver.set_aside import Aside
from halo_receiver.store.segments import Segments


class Loader:
    """Reads the spool into segments; `step` does one round, and leaves nothing half done.

    Of the newest spool file only what was told to be `synced` is read, once anything was: the rest may still be taken
    back. A `careful` loader is one that was started after others died at the same place (`Commits`).
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        rotate_seconds: float,
        rotate_bytes: int,
        max_request_bytes: int,
        max_attribute_bytes: int,
        arrival_is_span_time: bool = False,
        careful: bool = False,
        tell: Tell = lambda _: None,
        **segments: Any,
    ) -> None:
        self.spool_dir = data_dir / "spool"
        self.counters: dict[str, int] = {}
        self._aside = Aside(self.spool_dir, self.count)
        self.segments = Segments(
            data_dir,
            mapping=conventions.MAPPING_VERSION,
            newest_spool=max(spool.file_numbers(self.spool_dir), default=None),
            stored_again=self._aside.forget,
            **segments,
        )
        self.position = spool.Position(*self.segments.position)
        self._aside.begin(self.position)
        self.synced: spool.Position | None = None
        self._steps = 0
        self._rotate_seconds = rotate_seconds
        self._rotate_bytes = rotate_bytes
        self._tell = tell
        self.recent = RecentSpans(tell)
        self._seal_after = 0.0  # of a refused seal, the time of the next attempt
        self._commits = Commits(
            self.segments, self._aside, self.spool_dir, max_request_bytes=max_request_bytes, careful=careful, tell=tell,
            tables={"max_attribute_bytes": max_attribute_bytes, "span_time": arrival_is_span_time}, count=self.count,
            stored=self.recent.add,
        )  # fmt: skip

    def while_the_disk_refuses(self, do: Callable[[], None]) -> None:
        """Have this done, which may make room, while a batch cannot be stored: `step` does not return meanwhile."""
        self._commits.meanwhile = do

    def count(self, name: str, number: int = 1) -> None:
        """Add to a counter that the server shows."""
        self.counters[name] = self.counters.get(name, 0) + number

    @property
    def turns(self) -> int:
        """A number that rises while the loader gets on."""
        return self._steps + self._commits.turns

    @property
    def committed(self) -> spool.Position:
        """Up to where the spool is in the open segment, or in sealed ones."""
        return self._commits.waiting or self.position

    def step(self) -> bool:
        """Read what there is, commit what is due, roll what is old; return whether anything came."""
        came = False
        for frame in self._frames():
            came = True
            self._reach(frame.end)
            self._commits.add(frame)
            if self._commits.full:
                self._commits.hand_over()
                self._roll_when_due()
        if self._commits.due:
            self._commits.hand_over()
        self._commits.settle()
        self._roll_when_due()
        self._steps += 1
        return came

    def retry_aside(self) -> bool:
        """Try one of the requests that earlier starts set aside; False when there are no more."""
        return self._commits.retry_aside()

    def _roll_when_due(self) -> None:
        now = time.monotonic()
        if not self.segments.open_rows or now < self._seal_after:
            return
        if now - self._commits.opened_at >= self._rotate_seconds or self.segments.open_bytes() >= self._rotate_bytes:
            try:
                self.seal()
            except (OSError, MemoryError) as error:
                self._seal_after = now + RETRY_SECONDS
                self._tell({"trouble": str(error)})

    def _frames(self) -> Iterator[spool.Frame]:
        numbers = [number for number in spool.file_numbers(self.spool_dir) if number >= self.position.file]
        for index, number in enumerate(numbers):
            self._reach(spool.Position(number, 0))
            offset = self.position.offset if number == self.position.file else 0
            last = index == len(numbers) - 1
            limit = self._limit(number) if last else None
            for item in spool.read_file(self.spool_dir, number, offset, limit=limit):
                if isinstance(item, spool.Frame):
                    yield item
                elif item.torn and last and limit is None:
                    return  # still being written
                else:
                    self._aside.keep_damage(item)
                    self._reach(item.end)
            if not last and self.position.file <= number:
                if numbers[index + 1] > number + 1:
                    self._aside.keep_missing(number + 1, numbers[index + 1] - 1)
                self._reach(spool.Position(numbers[index + 1], 0))

    def _limit(self, number: int) -> int | None:
        """Return up to where the newest file may be read: what is not synced may still be taken back."""
        if self.synced is None or self.synced.file > number:
            return None
        return self.synced.offset if self.synced.file == number else 0

    def _reach(self, position: spool.Position) -> None:
        self.position = max(self.position, position)

    def commit(self) -> None:
        """Store what waits."""
        self._commits.commit()

    def seal(self) -> None:
        """Commit what waits and hand the open segment to the readers.

        Raises OSError when the disk refuses, MemoryError when memory is short.
        """
        self.commit()
        sealed = self.segments.seal(spool_position=self.position)
        self._steps += 1
        if sealed is not None:
            self.count("sealed_segments")
            self._tell({"trouble": None})
        spool_files.drop_loaded(self.spool_dir, self.position)

    def catch_up(self, until: spool.Position) -> bool:
        """Load everything before a position; False when the spool ends before it."""
        self.synced = max(self.synced or until, until)
        while self.position < until:
            if not self.step() and self.position < until:
                break
        self.commit()
        return self.position >= until

"""Spooled requests become rows of the open segment.

The place that was read to is stored in the same transaction as the rows, so that after any crash the ordinary start
goes on where the rows end.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from halo_receiver import conventions, memory, spool
from halo_receiver.check import inflate
from halo_receiver.errors import Unreadable, Unstorable
from halo_receiver.logs import event
from halo_receiver.store import columns
from halo_receiver.store.segments import Segments
from halo_receiver.tables import Tables

log = logging.getLogger("halo.loader")

BATCH_SECONDS = 3.0  # age at which rows are committed although the row group is not full: the spool has them
BATCH_BYTES = 64 * 2**20  # of requests, inflated, that wait to be committed
LARGE_BYTES = 8 * 2**20  # of a request, after which freed memory is returned to the system: storing takes its own
RETRY_SECONDS = 2.0  # after the store refused
ATTEMPT_FILE = "attempt.json"  # in the spool: the request that a careful loader is about to load

FATAL_ATTEMPTS = 2  # of a careful loader at one request, after which it is set aside

Tell = Callable[[dict[str, Any]], None]


@dataclass(slots=True)
class Batch:
    """Decoded, not yet committed."""

    frames: list[spool.Frame] = field(default_factory=list)
    mended: dict[str, int] = field(default_factory=dict)
    bytes: int = 0
    since: float = 0.0


class Loader:
    """Reads the spool into segments; `step` does one round, and leaves nothing half done.

    Two threads: this one reads and decodes, the other appends to the segment what is decoded. Only in `step` do both
    work at once.

    Of the newest spool file only what was told to be `synced` is read, once anything was: the rest may still be taken
    back. A `careful` loader, started after others died at the same place, commits request by request and leaves a note
    of which one it tries, so that the next start sets that one aside.
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
        self.segments = Segments(data_dir, mapping=conventions.MAPPING_VERSION, **segments)
        self.position = spool.Position(*self.segments.position)
        self.counters: dict[str, int] = {}
        self.synced: spool.Position | None = None
        self.turns = 0  # rises while the loader gets on
        self._rotate_seconds = rotate_seconds
        self._rotate_bytes = rotate_bytes
        self._max_request_bytes = max_request_bytes
        self._options: dict[str, Any] = {"max_attribute_bytes": max_attribute_bytes, "span_time": arrival_is_span_time}
        self._tables = Tables(**self._options)
        self._store = ThreadPoolExecutor(1, "store")
        self._storing: tuple[Batch, Future[None]] | None = None
        self._careful = careful
        self._tell = tell
        self._batch = Batch()
        self._opened = 0.0
        self._seal_after = 0.0  # of a refused seal, the time of the next attempt
        self._attempted = self._last_attempt()

    def _last_attempt(self) -> tuple[spool.Position, int] | None:
        """Return the request that an earlier loader did not survive, and how often."""
        try:
            file, offset, times = json.loads((self.spool_dir / ATTEMPT_FILE).read_text())
            return spool.Position(int(file), int(offset)), int(times)
        except (OSError, ValueError, TypeError):
            return None

    def count(self, name: str, number: int = 1) -> None:
        """Add to a counter that the server shows."""
        self.counters[name] = self.counters.get(name, 0) + number

    @property
    def committed(self) -> spool.Position:
        """Up to where the spool is in the open segment, or in sealed ones."""
        if self._storing is not None:
            return self._storing[0].frames[0].start
        return self._batch.frames[0].start if self._batch.frames else self.position

    def step(self) -> bool:
        """Read what there is, commit what is due, roll what is old; return whether anything came."""
        came = False
        for frame in self._frames():
            came = True
            self._take(frame)
            if self._careful or self._tables.full or self._batch.bytes >= BATCH_BYTES:
                self._hand_over()
                self._roll_when_due()
        if self._batch.frames and time.monotonic() - self._batch.since >= BATCH_SECONDS:
            self._hand_over()
        self._settle()
        self._roll_when_due()
        self.turns += 1
        return came

    def _roll_when_due(self) -> None:
        now = time.monotonic()
        if not self.segments.open_rows or now < self._seal_after:
            return
        if now - self._opened >= self._rotate_seconds or self.segments.open_bytes() >= self._rotate_bytes:
            try:
                self.seal()
            except OSError as error:
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
                    self._set_damage_aside(item)
                    self._reach(item.end)
            if not last and self.position.file <= number:
                for missing in range(number + 1, numbers[index + 1]):
                    self._miss(missing)
                self._reach(spool.Position(numbers[index + 1], 0))

    def _limit(self, number: int) -> int | None:
        """Return up to where the newest file may be read: what is not synced may still be taken back."""
        if self.synced is None or self.synced.file > number:
            return None
        return self.synced.offset if self.synced.file == number else 0

    def _reach(self, position: spool.Position) -> None:
        self.position = max(self.position, position)

    def _set_damage_aside(self, damage: spool.Damage) -> None:
        """Keep what cannot be read for a person, once, and say so."""
        # A torn tail was never acknowledged: its group had not been synced.
        kind = "torn" if damage.torn else "damaged"
        name = f"{damage.start.file:012d}-{damage.start.offset}.{kind}"
        with (self.spool_dir / spool.file_name(damage.start.file)).open("rb") as file:
            file.seek(damage.start.offset)
            kept = spool.set_aside(self.spool_dir, name, file.read(damage.length))
        if kept:
            self.count("torn_tails" if damage.torn else "damaged_stretches")
            event(log, "spool damage set aside", level=logging.WARNING, file=name, bytes=damage.length)

    def _miss(self, number: int) -> None:
        """Note a spool file that somebody deleted before it was loaded."""
        if spool.set_aside(self.spool_dir, f"{number:012d}.missing", b""):
            self.count("missing_spool_files")
            event(log, "spool file missing", level=logging.ERROR, file=spool.file_name(number))

    def _take(self, frame: spool.Frame) -> None:
        self._reach(frame.end)
        if not self._batch.frames:
            self._batch.since = time.monotonic()
        self._batch.frames.append(frame)
        size = len(frame.body)
        try:
            self._attempt(frame)
            self._decode(frame)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, it must not stop those behind it
            self._set_frame_aside(frame, error)
        frame.body = b""  # the spool has it, should it be needed again
        if size >= LARGE_BYTES:
            memory.give_back()

    def _attempt(self, frame: spool.Frame) -> None:
        """Leave a note of what is tried. Raises Unstorable when loaders died of it."""
        if not self._careful:
            return
        times = self._attempted[1] if self._attempted and self._attempted[0] == frame.start else 0
        if times >= FATAL_ATTEMPTS:
            raise Unstorable(f"the loader died of it {times} times")
        (self.spool_dir / ATTEMPT_FILE).write_text(json.dumps([*frame.start, times + 1]))

    def _decode(self, frame: spool.Frame) -> None:
        body = self._body(frame)
        self._batch.bytes += len(body)
        for what, number in self._tables.add(frame.kind, frame.encoding, body, frame.arrival_ns).items():
            self.count(f"mended: {what}", number)
            self._batch.mended[what] = self._batch.mended.get(what, 0) + number

    def _body(self, frame: spool.Frame) -> bytes:
        return frame.body if frame.compression == "none" else inflate(frame.body, self._max_request_bytes)

    def _set_frame_aside(self, frame: spool.Frame, error: Exception) -> None:
        """Keep a request that could not be decoded or stored, and go on: one request never stops the rest."""
        name = f"{frame.start.file:012d}-{frame.start.offset}.{frame.kind}.{frame.encoding}.{frame.compression}"
        if spool.set_aside(self.spool_dir, name, frame.body):
            self.count("set_aside_requests")
            reason = f"{type(error).__name__}: {error}"
            event(log, "request set aside", level=logging.ERROR, file=name, reason=reason)

    def commit(self) -> None:
        """Store what waits."""
        self._hand_over()
        self._settle()

    def _hand_over(self) -> None:
        """Hand the batch to the store, which works on it while the next one is read; `_settle` waits for it.

        Two cores then load nearly twice as much: DuckDB compresses on one what the other decodes.
        """
        self._settle()
        batch, self._batch = self._batch, Batch()
        if not batch.frames:
            return
        try:
            spans, logs = self._tables.take()
        except Exception:  # noqa: BLE001 - as in _take
            self._tables = Tables(**self._options)  # what it still holds of them would come twice
            self._commit_one_by_one(batch)
            return
        append = self._store.submit(self._append, spans, logs, batch.frames[-1].end, batch.mended)
        self._storing = batch, append
        if self._careful:
            self._settle()
            (self.spool_dir / ATTEMPT_FILE).unlink(missing_ok=True)

    def _settle(self) -> None:
        """Wait for the batch that is being stored. One that the store refuses is tried again request by request."""
        storing, self._storing = self._storing, None
        if storing is None:
            return
        batch, append = storing
        try:
            append.result()
        except (Unreadable, BrokenPipeError):  # the segment, or the server: the start after this recovers
            raise
        except Exception:  # noqa: BLE001 - as in _take
            self._commit_one_by_one(batch)

    def _commit_one_by_one(self, batch: Batch) -> None:
        for known in batch.frames:
            frame, tables = self._again(known), Tables(**self._options)
            try:
                mended = tables.add(frame.kind, frame.encoding, self._body(frame), frame.arrival_ns)
                self._append(*tables.take(), frame.end, mended)
            except (Unreadable, BrokenPipeError):
                raise
            except Exception as error:  # noqa: BLE001 - as in _take
                self._set_frame_aside(frame, error)
                self._append(*Tables(**self._options).take(), frame.end, {})

    def _again(self, frame: spool.Frame) -> spool.Frame:
        again = next(spool.read_file(self.spool_dir, frame.start.file, frame.start.offset), None)
        return again if isinstance(again, spool.Frame) else frame

    def _append(
        self, spans: columns.Table, logs: columns.Table, position: spool.Position, mended: dict[str, int]
    ) -> None:
        if not self.segments.open_rows:
            self._opened = time.monotonic()
        while True:
            try:
                self.segments.append(spans=spans, logs=logs, position=position, mended=mended)
                break
            except OSError as error:  # the disk is full or gone: wait, the spool keeps what was acknowledged
                self._tell({"trouble": str(error)})
                self.turns += 1
                time.sleep(RETRY_SECONDS)
        self._tell({"trouble": None})
        self.turns += 1
        self.count("loaded_spans", spans.num_rows)
        self.count("loaded_logs", logs.num_rows)

    def seal(self) -> None:
        """Commit what waits and hand the open segment to the readers. Raises OSError when the disk refuses."""
        self.commit()
        sealed = self.segments.seal(spool_position=self.position)
        self.turns += 1
        if sealed is not None:
            self.count("sealed_segments")
            self._tell({"trouble": None})
        spool.drop_loaded(self.spool_dir, self.position)

    def catch_up(self, until: spool.Position) -> bool:
        """Load everything before a position; False when the spool ends before it."""
        self.synced = max(self.synced or until, until)
        while self.position < until:
            if not self.step() and self.position < until:
                break
        self.commit()
        return self.position >= until

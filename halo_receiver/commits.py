"""Decoded requests are committed to the open segment, in batches; what fails as a batch is tried again in parts.

Two threads: the loader's decodes into the next batch, another appends the one before. Rows and the place in the spool
up to which they reach are one transaction.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from halo_receiver import process_memory, spool
from halo_receiver.batch_tables import Tables
from halo_receiver.errors import Unreadable, Unstorable
from halo_receiver.request_check import inflate
from halo_receiver.set_aside import Aside
from halo_receiver.store import columns
from halo_receiver.store.segments import Segments

log = logging.getLogger("halo.loader")

BATCH_SECONDS = 3.0  # age at which rows are committed although the row group is not full: the spool has them
BATCH_BYTES = 64 * 2**20  # of requests, inflated, that wait to be committed
LARGE_BYTES = 8 * 2**20  # of a request, after which freed memory is returned to the system: storing takes its own
RETRY_SECONDS = 2.0  # after the disk refused
MEMORY_ATTEMPTS = 3  # to store one request for which memory is short
MEMORY_SECONDS = 1.0  # between two of them
ATTEMPT_FILE = "attempt.json"  # in the spool: the request that a careful loader is about to load
FATAL_ATTEMPTS = 2  # of a careful loader at one request, after which it is set aside

Tell = Callable[[dict[str, Any]], None]


@dataclass(slots=True)
class _Batch:
    """Decoded, not yet committed."""

    frames: list[spool.Frame] = field(default_factory=list)
    mended: Counter[str] = field(default_factory=Counter)
    bytes: int = 0
    since: float = 0.0


class Commits:
    """The way of requests into segments. A `careful` one commits request by request and notes which one it tries.

    Raises Unreadable when the segment is damaged and BrokenPipeError when the server is gone: the next start recovers.
    Whatever else is wrong with a request costs that request alone: it is set aside.
    """

    def __init__(
        self,
        segments: Segments,
        aside: Aside,
        spool_dir: Path,
        *,
        max_request_bytes: int,
        tables: dict[str, Any],
        careful: bool,
        tell: Tell,
        count: Callable[[str, int], None],
        stored: Callable[[columns.Table], None],
    ) -> None:
        self._segments = segments
        self._spool_dir = spool_dir
        self._max_request_bytes = max_request_bytes
        self._options = tables
        self._careful = careful
        self._tell = tell
        self._count = count
        self._stored = stored
        self._aside = aside
        self._tables = Tables(**tables)
        self._batch = _Batch()
        self._store = ThreadPoolExecutor(1, "store")
        self._storing: tuple[_Batch, Future[None]] | None = None
        self._attempted = self._last_attempt()
        self.meanwhile: Callable[[], None] = lambda: None  # done between two tries while the disk refuses
        self.opened_at = 0.0  # monotonic, of the open segment
        self.turns = 0  # rises while something is stored, or waited for

    def _last_attempt(self) -> tuple[spool.Position, int] | None:
        """Return the request that an earlier loader did not survive, and how often."""
        try:
            file, offset, times = orjson.loads((self._spool_dir / ATTEMPT_FILE).read_bytes())
            return spool.Position(int(file), int(offset)), int(times)
        except (OSError, ValueError, TypeError):
            return None

    @property
    def waiting(self) -> spool.Position | None:
        """Where the oldest request begins that is not committed; None when all are."""
        frames = self._storing[0].frames if self._storing is not None else self._batch.frames
        return frames[0].start if frames else None

    @property
    def full(self) -> bool:
        """Whether it is time to store the batch, by its size."""
        return self._careful or self._tables.full or self._batch.bytes >= BATCH_BYTES

    @property
    def due(self) -> bool:
        """Whether it is time to store the batch, by its age."""
        return bool(self._batch.frames) and time.monotonic() - self._batch.since >= BATCH_SECONDS

    def add(self, frame: spool.Frame) -> None:
        """Decode a request into the batch."""
        if not self._batch.frames:
            self._batch.since = time.monotonic()
        self._batch.frames.append(frame)
        size = len(frame.body)
        try:
            self._attempt(frame)
            body, mended = self._decode(frame, self._tables)
        except MemoryError:  # what else is in the tables may be lost with it
            frame.body = b""
            self.settle()
            self._again(self._drop())
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, it must not stop those behind it
            self._aside.keep_request(frame, error)
        else:
            self._batch.bytes += body
            self._batch.mended.update(mended)
        frame.body = b""  # the spool has it, should it be needed again
        if size >= LARGE_BYTES:
            process_memory.give_back()

    def _attempt(self, frame: spool.Frame) -> None:
        """Leave a note of what is tried. Raises Unstorable when loaders died of it."""
        if not self._careful:
            return
        times = self._attempted[1] if self._attempted and self._attempted[0] == frame.start else 0
        if times >= FATAL_ATTEMPTS:
            raise Unstorable(f"the loader died of it {times} times")
        (self._spool_dir / ATTEMPT_FILE).write_text(json.dumps([*frame.start, times + 1]))

    def _decode(self, frame: spool.Frame, tables: Tables) -> tuple[int, dict[str, int]]:
        """Append a request's rows to tables; return its size and what was mended in it."""
        body = frame.body if frame.compression == "none" else inflate(frame.body, self._max_request_bytes)
        return len(body), tables.add(frame.kind, frame.encoding, body, frame.arrival_ns)

    def _drop(self) -> list[spool.Frame]:
        """Let go of the batch and of what was made of it; return its frames."""
        batch, self._batch = self._batch, _Batch()
        self._tables = Tables(**self._options)  # what the old ones hold would come twice
        return batch.frames

    def commit(self) -> None:
        """Store what waits."""
        self.hand_over()
        self.settle()

    def hand_over(self) -> None:
        """Have the batch stored while the next one is decoded; `settle` waits for it.

        Two cores then load nearly twice as much: DuckDB compresses on one what the other decodes.
        """
        self.settle()
        if not self._batch.frames:
            return
        try:
            spans, logs = self._tables.take()
        except Exception:  # noqa: BLE001 - as in add
            self._again(self._drop())
            return
        batch, self._batch = self._batch, _Batch()
        self._storing = batch, self._store.submit(self._append, spans, logs, batch.frames[-1].end, batch.mended)
        if self._careful:
            self.settle()
            (self._spool_dir / ATTEMPT_FILE).unlink(missing_ok=True)

    def settle(self) -> None:
        """Wait for the batch that is being stored."""
        storing, self._storing = self._storing, None
        if storing is None:
            return
        try:
            storing[1].result()
        except (Unreadable, BrokenPipeError):
            raise
        except Exception:  # noqa: BLE001 - as in add
            self._again(storing[0].frames)

    def _again(self, frames: list[spool.Frame]) -> None:
        """Store requests that failed together in halves, down to the one that is at fault, which is set aside."""
        if len(frames) == 1:
            self._alone(frames[0])
            return
        for part in (frames[: len(frames) // 2], frames[len(frames) // 2 :]):
            try:
                self._part(part)
            except (Unreadable, BrokenPipeError):
                raise
            except Exception:  # noqa: BLE001 - as in add
                self._again(part)

    def _part(self, frames: list[spool.Frame]) -> None:
        tables, mended = Tables(**self._options), Counter[str]()
        for known in frames:
            mended.update(self._decode(self._read(known), tables)[1])
        self._append(*tables.take(), frames[-1].end, mended)

    def _alone(self, frame: spool.Frame) -> None:
        """Store one request. Memory that is short now may be there a moment later, or in a new segment."""
        error = self._tried(frame)
        for _ in range(MEMORY_ATTEMPTS - 1):
            if not isinstance(error, MemoryError):
                break
            self._make_room(error)
            error = self._tried(frame)
        if error is not None:
            self._aside.keep_request(self._read(frame), error)
            self._append(*Tables(**self._options).take(), frame.end, {})

    def _tried(self, frame: spool.Frame) -> Exception | None:
        try:
            self._part([frame])
        except (Unreadable, BrokenPipeError):
            raise
        except Exception as error:  # noqa: BLE001 - as in add
            return error
        return None

    def _make_room(self, error: MemoryError) -> None:
        self._tell({"trouble": f"memory is short: {error}"})
        gc.collect()
        with contextlib.suppress(OSError, MemoryError):
            self._segments.seal(spool_position=self._segments.position)
        self.turns += 1
        time.sleep(MEMORY_SECONDS)

    def _read(self, frame: spool.Frame) -> spool.Frame:
        again = next(spool.read_file(self._spool_dir, frame.start.file, frame.start.offset), None)
        return again if isinstance(again, spool.Frame) else frame

    def retry_aside(self) -> bool:
        """Try one of the requests that earlier starts set aside; False when there are no more."""
        found = self._aside.next_request()
        if found is None:
            return False
        self.commit()
        name, frame = found
        tables, failed = Tables(**self._options), None
        try:
            mended = self._decode(frame, tables)[1]
            self._append(*tables.take(), None, mended, again=name)
        except (Unreadable, BrokenPipeError):
            raise
        except Exception as error:  # noqa: BLE001 - as in add
            failed = error
        self._aside.done(name, failed)
        return True

    def _append(
        self,
        spans: columns.Table,
        logs: columns.Table,
        position: spool.Position | None,
        mended: dict[str, int],
        *,
        again: str | None = None,
    ) -> None:
        if not self._segments.open_rows:
            self.opened_at = time.monotonic()
        while True:
            try:
                self._segments.append(spans=spans, logs=logs, position=position, mended=mended, again=again)
                break
            except OSError as error:  # the disk is full or gone: wait, the spool keeps what was acknowledged
                self._tell({"trouble": str(error)})
                self.turns += 1
                self.meanwhile()
                time.sleep(RETRY_SECONDS)
        self._tell({"trouble": None})
        self.turns += 1
        for what, number in mended.items():
            self._count(f"mended: {what}", number)
        self._count("loaded_spans", spans.num_rows)
        self._count("loaded_logs", logs.num_rows)
        self._stored(spans)

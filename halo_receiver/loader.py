"""The process that turns spooled requests into rows of the open segment.

It is the server's child: it reads the spool by itself, is told to seal or to stop on stdin, and reports on stdout,
both as JSON lines. The place it has read to is stored in the same transaction as the rows, so that after any crash
the ordinary start goes on where the rows end.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from halo_receiver import conventions, decode, spool
from halo_receiver.errors import HaloError, Unstorable
from halo_receiver.ingest import inflate
from halo_receiver.logs import event, set_up
from halo_receiver.span import LogRecord, Span
from halo_receiver.store import columns, retention
from halo_receiver.store.schema import ROW_GROUP_SIZE
from halo_receiver.store.segments import Segments

log = logging.getLogger("halo.loader")

IDLE_SECONDS = 0.05  # between two looks at the spool when nothing comes
BATCH_SECONDS = 1.0  # age at which rows are committed although the row group is not full
BATCH_BYTES = 64 * 2**20  # of requests that wait to be committed
RETRY_SECONDS = 2.0  # after the store refused
HOUSEKEEPING_SECONDS = 15.0


@dataclass(slots=True)
class Batch:
    """Decoded, not yet committed."""

    spans: list[tuple[Span, int]] = field(default_factory=list)
    logs: list[tuple[LogRecord, int]] = field(default_factory=list)
    frames: list[spool.Frame] = field(default_factory=list)
    bytes: int = 0
    since: float = 0.0

    @property
    def rows(self) -> int:
        """How many rows it will become."""
        return len(self.spans) + len(self.logs)


class Loader:
    """Reads the spool into segments. One thread; `step` does one round."""

    def __init__(
        self,
        data_dir: Path,
        *,
        rotate_seconds: float,
        rotate_bytes: int,
        max_request_bytes: int,
        max_attribute_bytes: int,
        arrival_is_span_time: bool = False,
        **segments: Any,
    ) -> None:
        self.spool_dir = data_dir / "spool"
        self.segments = Segments(data_dir, **segments)
        self.position = spool.Position(*self.segments.position)
        self.counters: dict[str, int] = {}
        self._rotate_seconds = rotate_seconds
        self._rotate_bytes = rotate_bytes
        self._max_request_bytes = max_request_bytes
        self._max_attribute_bytes = max_attribute_bytes
        self._span_time = arrival_is_span_time
        self._batch = Batch()
        self._opened = 0.0

    def count(self, name: str, number: int = 1) -> None:
        """Add to a counter that the server shows."""
        self.counters[name] = self.counters.get(name, 0) + number

    def step(self) -> bool:
        """Read what there is, commit what is due, roll what is old; return whether anything came."""
        came = False
        for frame in self._frames():
            came = True
            self._take(frame)
            if self._batch.rows >= ROW_GROUP_SIZE or self._batch.bytes >= BATCH_BYTES:
                self.commit()
        if self._batch.frames and time.monotonic() - self._batch.since >= BATCH_SECONDS:
            self.commit()
        if self.segments.open_rows and (
            time.monotonic() - self._opened >= self._rotate_seconds or self.segments.open_bytes() >= self._rotate_bytes
        ):
            self.seal()
        return came

    def _frames(self) -> Iterator[spool.Frame]:
        numbers = [number for number in spool.file_numbers(self.spool_dir) if number >= self.position.file]
        for index, number in enumerate(numbers):
            offset = self.position.offset if number == self.position.file else 0
            last = index == len(numbers) - 1
            for item in spool.read_file(self.spool_dir, number, offset):
                if isinstance(item, spool.Frame):
                    yield item
                elif item.torn and last:
                    return  # still being written
                else:
                    self._set_damage_aside(item)
                    self._reach(item.end)
            if not last and self.position.file <= number:
                self._reach(spool.Position(numbers[index + 1], 0))

    def _reach(self, position: spool.Position) -> None:
        self.position = max(self.position, position)

    def _set_damage_aside(self, damage: spool.Damage) -> None:
        """Keep what cannot be read for a person, once, and say so."""
        aside = self.spool_dir / "set-aside"
        name = aside / f"{damage.start.file:012d}-{damage.start.offset}.damaged"
        if (damage.torn and damage.length == 0) or name.exists():
            return
        aside.mkdir(exist_ok=True)
        with (self.spool_dir / spool.file_name(damage.start.file)).open("rb") as file:
            file.seek(damage.start.offset)
            name.write_bytes(file.read(damage.length))
        # A torn tail was never acknowledged: its group had not been synced.
        self.count("torn_tails" if damage.torn else "damaged_stretches")
        event(log, "spool damage set aside", file=name.name, bytes=damage.length, torn=damage.torn)

    def _take(self, frame: spool.Frame) -> None:
        self._reach(frame.end)
        if not self._batch.frames:
            self._batch.since = time.monotonic()
        self._batch.frames.append(frame)
        self._batch.bytes += len(frame.body)
        try:
            spans, logs = self._decode(frame)
        except (HaloError, ValueError, RecursionError, MemoryError) as error:
            self._set_frame_aside(frame, error)
            return
        self._batch.spans.extend(spans)
        self._batch.logs.extend(logs)

    def _decode(self, frame: spool.Frame) -> tuple[list[tuple[Span, int]], list[tuple[LogRecord, int]]]:
        body = frame.body if frame.compression == "none" else inflate(frame.body, self._max_request_bytes)
        read = decode.decode_traces if frame.kind == "traces" else decode.decode_logs
        decoded = read(body, encoding=frame.encoding, max_attribute_bytes=self._max_attribute_bytes)
        for what, number in decoded.warnings.items():
            self.count(f"mended: {what}", number)
        spans = [(span, self._arrival(frame, span.end_unix_nano or span.start_unix_nano)) for span in decoded.spans]
        logs = [(item, self._arrival(frame, item.time_unix_nano)) for item in decoded.logs]
        return spans, logs

    def _arrival(self, frame: spool.Frame, said: int) -> int:
        return said if self._span_time and said else frame.arrival_ns

    def _set_frame_aside(self, frame: spool.Frame, error: Exception) -> None:
        """Keep a request that could not be decoded or stored, and go on: one request never stops the rest."""
        aside = self.spool_dir / "set-aside"
        aside.mkdir(exist_ok=True)
        name = f"{frame.start.file:012d}-{frame.start.offset}.{frame.kind}.{frame.encoding}.{frame.compression}"
        (aside / name).write_bytes(frame.body)
        self.count("set_aside_requests")
        event(log, "request set aside", file=name, reason=f"{type(error).__name__}: {error}")

    def commit(self) -> None:
        """Store the batch with its position. A batch the store refuses is tried again request by request."""
        batch, self._batch = self._batch, Batch()
        if not batch.frames:
            return
        position = batch.frames[-1].end
        try:
            self._append(batch.spans, batch.logs, position)
        except Unstorable:
            for frame in batch.frames:
                try:
                    self._append(*self._decode(frame), frame.end)
                except Unstorable as error:
                    self._set_frame_aside(frame, error)
                    self._append([], [], frame.end)

    def _append(
        self, spans: list[tuple[Span, int]], logs: list[tuple[LogRecord, int]], position: spool.Position
    ) -> None:
        if not self.segments.open_rows:
            self._opened = time.monotonic()
        span_table = columns.span_table((span, conventions.canonical(span), time_ns) for span, time_ns in spans)
        log_table = columns.log_table((item, conventions.from_log(item), time_ns) for item, time_ns in logs)
        while True:
            try:
                self.segments.append(spans=span_table, logs=log_table, position=position)
                break
            except OSError as error:  # the disk is full or gone: wait, the spool keeps what was acknowledged
                report({"trouble": str(error)})
                time.sleep(RETRY_SECONDS)
        report({"trouble": None})
        self.count("loaded_spans", len(spans))
        self.count("loaded_logs", len(logs))

    def seal(self) -> None:
        """Commit what waits and hand the open segment to the readers."""
        self.commit()
        sealed = self.segments.seal(spool_position=self.position)
        if sealed is not None:
            self.count("sealed_segments")
            spool.drop_loaded(self.spool_dir, self.position)

    def catch_up(self, until: spool.Position) -> None:
        """Load everything before a position."""
        while self.position < until:
            if not self.step():
                break
        self.commit()


_report_lock = threading.Lock()


def report(message: dict[str, Any]) -> None:
    """Tell the server."""
    with _report_lock:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


def serve(loader: Loader, keep: retention.Keep) -> None:
    """Load until told to stop, or until the server is gone."""
    commands: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin:
            commands.put(json.loads(line))
        commands.put({"do": "stop"})

    threading.Thread(target=listen, name="commands", daemon=True).start()
    next_report = next_housekeeping = 0.0
    report({"ready": True, "position": loader.position})
    while True:
        came = loader.step()
        try:
            command = commands.get(timeout=0.001 if came else IDLE_SECONDS)
        except queue.Empty:
            command = {}
        if command.get("do") == "seal":
            loader.catch_up(spool.Position(*command["until"]))
            loader.segments.adopt()
            loader.seal()
            report({"sealed": command["id"], "position": loader.position})
        elif command.get("do") == "stop":
            loader.catch_up(spool.Position(*command["until"]) if "until" in command else loader.position)
            loader.seal()
            report({"stopped": True, "position": loader.position, "counters": loader.counters})
            return
        now = time.monotonic()
        if now >= next_housekeeping:
            next_housekeeping = now + HOUSEKEEPING_SECONDS
            _tidy(loader, keep)
        if now >= next_report:
            next_report = now + 0.5
            report({"position": loader.position, "counters": loader.counters, "segments": loader.segments.count})


def _tidy(loader: Loader, keep: retention.Keep) -> None:
    """Do what can wait: take imports over, merge small segments, delete what is too old."""
    try:
        loader.segments.adopt()
        loader.count("merged_segments", loader.segments.merge_small())
        loader.count("expired_segments", retention.expire(loader.segments.directory, keep, time.time_ns()))
    except (OSError, HaloError) as error:
        event(log, "housekeeping failed", reason=str(error))


def main() -> None:
    """Run as `python -m halo_receiver.loader`; the settings come as one JSON argument."""
    parser = argparse.ArgumentParser()
    parser.add_argument("settings")
    given = json.loads(parser.parse_args().settings)
    set_up(given.pop("log_level"))
    keep = retention.Keep(days=given.pop("retention_days"), total_bytes=given.pop("retention_bytes"))
    # Ctrl-C in a terminal reaches the whole group; the server alone decides when the loader ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    loader = Loader(Path(given.pop("data_dir")), **given)
    try:
        serve(loader, keep)
    except BrokenPipeError:  # the server was killed: what it acknowledged is in the spool
        os._exit(0)
    loader.segments.close()


if __name__ == "__main__":
    main()

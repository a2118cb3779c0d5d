"""The segments of a data directory, as their one writer sees them: open, roll, seal, recover, merge."""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path

import pyarrow as pa

from halo_receiver.errors import StoreError
from halo_receiver.logs import event
from halo_receiver.store import merge
from halo_receiver.store.segment import SegmentName, adopt, listed, next_number
from halo_receiver.store.writer import SegmentWriter, clean_unfinished, read_position

log = logging.getLogger("halo.store")

POSITION_FILE = "position.json"  # the furthest sealed spool position: outlives the segments it was in


class Segments:
    """What the loader writes through. Only one thread, of the process that holds the writer's lock, may use it."""

    def __init__(self, data_dir: Path, *, merge_bytes: int, memory_limit_bytes: int, threads: int) -> None:
        self.directory = data_dir / "segments"
        self.directory.mkdir(parents=True, exist_ok=True)
        self._data_dir = data_dir
        self._merge_bytes = merge_bytes
        self._options = {"memory_limit": f"{memory_limit_bytes}B", "threads": threads}
        self._writer: SegmentWriter | None = None
        self._opened_at = 0.0
        clean_unfinished(self.directory)
        merge.finish_interrupted(self.directory)
        self.adopt()
        self.position = self._sealed_position()
        self._recover()

    def _sealed_position(self) -> tuple[int, int]:
        try:
            file, offset = json.loads((self.directory / POSITION_FILE).read_text())
            return int(file), int(offset)
        except (OSError, ValueError, TypeError):
            return max((read_position(path) for path in listed(self.directory)), default=(0, 0))

    def _recover(self) -> None:
        """Take up the segment a crash left open; what cannot be opened is set aside, for the spool has it still."""
        for path in listed(self.directory, "open"):
            name = path.name.removesuffix(".open")
            try:
                writer = SegmentWriter(self.directory, SegmentName.read(path.name), **self._options)  # type: ignore[arg-type]
            except StoreError as error:
                broken = self.directory / f"{name}.broken"  # its rows come again from the spool
                path.rename(broken)
                wal = path.with_name(f"{path.name}.wal")
                if wal.exists():
                    wal.rename(broken.with_name(f"{broken.name}.wal"))
                event(log, "segment set aside", segment=broken.name, reason=error)
                continue
            self.position = max(self.position, writer.position)
            if writer.spans or writer.logs:
                writer.seal()
            else:
                writer.discard()
            event(log, "segment recovered", segment=name, spans=writer.spans, logs=writer.logs)
            self._remember(self.position)

    @property
    def open_rows(self) -> int:
        """Rows in the open segment."""
        return self._writer.spans + self._writer.logs if self._writer else 0

    @property
    def count(self) -> int:
        """Sealed segments."""
        return len(listed(self.directory))

    def open_bytes(self) -> int:
        """Size of the open segment's file."""
        return self._writer.path.stat().st_size if self._writer else 0

    def append(self, *, spans: pa.Table, logs: pa.Table, position: tuple[int, int]) -> None:
        """Store one batch in the open segment. Raises OSError when the disk refuses, with nothing of the batch kept."""
        if self._writer is None:
            if not spans.num_rows and not logs.num_rows:
                self.position = max(self.position, position)
                return
            name = SegmentName.at(time.time_ns(), next_number(self.directory))
            self._writer = SegmentWriter(self.directory, name, **self._options)  # type: ignore[arg-type]
            self._opened_at = time.monotonic()
        self._writer.append(spans=spans, logs=logs, position=position)
        self.position = max(self.position, position)

    def seal(self, *, spool_position: tuple[int, int]) -> Path | None:
        """Seal the open segment; None when there is nothing in it."""
        writer, self._writer = self._writer, None
        if writer is None:
            self._remember(spool_position)
            return None
        sealed = writer.seal()
        self._remember(spool_position)
        event(
            log, "segment sealed", segment=sealed.name, spans=writer.spans, logs=writer.logs,
            bytes=sealed.stat().st_size, open_seconds=time.monotonic() - self._opened_at,
        )  # fmt: skip
        return sealed

    def _remember(self, position: tuple[int, int]) -> None:
        temporary = self.directory / f"{POSITION_FILE}.new"
        with temporary.open("w") as file:
            json.dump(list(position), file)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self.directory / POSITION_FILE)

    def adopt(self) -> int:
        """Take over what an import left in `incoming/`."""
        adopted = adopt(self._data_dir)
        for path in adopted:
            event(log, "segment imported", segment=path.name)
        return len(adopted)

    def merge_small(self) -> int:
        """Merge one run of small neighbours, if there is one; return how many became one."""
        chosen = merge.choose(self.directory, self._merge_bytes)
        if not chosen:
            return 0
        started = time.monotonic()
        merged = merge.merge(self.directory, chosen, **self._options)  # type: ignore[arg-type]
        event(log, "segments merged", into=merged.name, count=len(chosen), seconds=time.monotonic() - started)
        return len(chosen)

    def close(self) -> None:
        """Let go of the open segment."""
        if self._writer is not None:
            self._writer.close()

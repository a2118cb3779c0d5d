"""The segments of a data directory, as their one writer sees them: open, roll, seal, recover, publish."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import duckdb
import orjson
import pyarrow as pa

from halo_receiver.errors import StoreError
from halo_receiver.logs import event
from halo_receiver.store import manifest, merge, tombstones
from halo_receiver.store.disk import write_durably
from halo_receiver.store.incoming import adopt
from halo_receiver.store.schema import ROW_GROUP_SIZE, SMALL_ROW_GROUP_SIZE
from halo_receiver.store.segment import POSITION_FILE, SegmentName, listed, next_number, not_understood
from halo_receiver.store.writer import SegmentWriter, clean_unfinished

log = logging.getLogger("halo.store")


class Segments:
    """What the loader writes through. Only one thread, of the process that holds the loader's lock, may use it.

    Every method that touches the disk raises OSError when it refuses; nothing is half done then, and the next attempt
    opens the file anew, for what DuckDB keeps in memory of a refused write is not trusted. `mapping` is the version of
    the conventions that rows are derived with, `newest_spool` the number of the newest spool file, and `stored_again`
    is told of requests in a recovered segment that were stored apart from the order of the spool.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        memory_limit_bytes: int,
        threads: int,
        mapping: int = 0,
        newest_spool: int | None = None,
        stored_again: Callable[[Iterable[str]], None] = lambda names: None,
    ) -> None:
        self.directory = data_dir / "segments"
        self.directory.mkdir(parents=True, exist_ok=True)
        self._data_dir = data_dir
        self._options = {"memory_limit": f"{memory_limit_bytes}B", "threads": threads, "mapping": mapping}
        self._writer: SegmentWriter | None = None
        self._left = False  # an open segment whose writer was let go of
        self._opened_at = 0.0
        self._stored_again = stored_again
        self._deleted = tombstones.read(self.directory)
        for name in not_understood(self.directory):
            event(log, "unknown file in segments/ ignored", level=logging.WARNING, file=repr(name))
        clean_unfinished(self.directory)
        merge.finish_interrupted(self.directory)
        self.position = self._sealed_position(newest_spool)
        self.adopt()
        self._recover()

    def _sealed_position(self, newest_spool: int | None) -> tuple[int, int]:
        """Return how far the spool is in sealed segments: as remembered, or as the newest of them say themselves.

        A kill between the renaming of a segment and the remembering leaves the segment ahead. What is said of spool
        files after the newest, in a damaged file or a segment of another directory, would have ours passed over.
        """
        entries = manifest.load(self.directory, listed(self.directory), write=True)
        said = [self._remembered(), *((entry.position[0], entry.position[1]) for entry in entries)]
        believed = [one for one in said if newest_spool is None or one[0] <= newest_spool]
        if len(believed) < len(said):
            event(log, "position beyond the spool not believed", level=logging.ERROR, position=max(said))
        return max(believed, default=(0, 0))

    def _recover(self) -> None:
        """Seal the segment a crash left open; what is damaged is set aside, for the spool has it still."""
        for path in listed(self.directory, "open"):
            name = path.name.removesuffix(".open")
            try:
                writer = SegmentWriter(self.directory, SegmentName.read(path.name), **self._options)  # type: ignore[arg-type]
                rows, position = writer.spans + writer.logs, writer.position
                self._stored_again(writer.again)
                if rows:
                    writer.seal()
                else:
                    writer.discard()
            except (StoreError, duckdb.Error) as error:
                self._set_aside(path, error)  # its rows come again from the spool
                continue
            self.position = max(self.position, position)
            event(log, "segment recovered", segment=name, rows=rows)
            self._remember(self.position)

    def _set_aside(self, path: Path, error: Exception) -> None:
        broken = path.with_name(f"{path.name.removesuffix('.open')}.broken")
        path.rename(broken)
        wal = path.with_name(f"{path.name}.wal")
        if wal.exists():
            wal.rename(broken.with_name(f"{broken.name}.wal"))
        event(log, "segment set aside", level=logging.ERROR, segment=broken.name, reason=error)

    @property
    def open_rows(self) -> int:
        """Rows in the open segment; more than 0 also when it has to be opened anew to know."""
        return self._writer.spans + self._writer.logs if self._writer else int(self._left)

    @property
    def count(self) -> int:
        """Sealed segments."""
        return len(listed(self.directory))

    def open_bytes(self) -> int:
        """Size of the open segment's file and write-ahead log; what is in the log is in memory, too."""
        if self._writer is None:
            return 0
        log = self._writer.path.with_name(f"{self._writer.path.name}.wal")
        return self._writer.path.stat().st_size + (log.stat().st_size if log.exists() else 0)

    def append(
        self,
        *,
        spans: pa.Table,
        logs: pa.Table,
        position: tuple[int, int] | None,
        mended: dict[str, int] | None = None,
        again: str | None = None,
    ) -> None:
        """Store one batch in the open segment, with nothing of it kept when that raises.

        `again` names a request that is stored apart from the order of the spool, with no position. Raises OSError when
        the disk refuses, MemoryError when memory is short.
        """
        reached = max(self.position, position or self.position)
        spans, logs = tombstones.without(spans, self._deleted), tombstones.without(logs, self._deleted)
        if not self._writer and not self._left and not spans.num_rows and not logs.num_rows:
            self.position = reached
            return
        writer = self._open(spans.num_rows)
        # Else an attempt that seemed refused was stored after all.
        if writer.position < position if position is not None else again not in writer.again:
            try:
                writer.append(spans=spans, logs=logs, position=position, mended=mended, again=again)
            except (OSError, MemoryError):
                self._let_go()
                raise
        self.position = reached

    def _open(self, rows: int) -> SegmentWriter:
        if self._writer is None:
            left = listed(self.directory, "open")
            name = (
                SegmentName.read(left[0].name) if left else SegmentName.at(time.time_ns(), next_number(self.directory))
            )
            size = SMALL_ROW_GROUP_SIZE if rows >= SMALL_ROW_GROUP_SIZE else ROW_GROUP_SIZE
            self._writer = SegmentWriter(self.directory, name, row_group_size=size, **self._options)  # type: ignore[arg-type]
            self._opened_at = time.monotonic()
            self._left = False
        return self._writer

    def _let_go(self) -> None:
        writer, self._writer, self._left = self._writer, None, True
        if writer is not None:
            with contextlib.suppress(duckdb.Error):
                writer.close()

    def seal(self, *, spool_position: tuple[int, int]) -> Path | None:
        """Seal the open segment; None when there is nothing in it."""
        if not self._writer and not self._left:
            self._remember(spool_position)
            return None
        writer = self._open(0)
        try:
            sealed = writer.seal()
        except (OSError, MemoryError):
            self._let_go()
            raise
        self._writer = None
        self._remember(spool_position)
        event(
            log, "segment sealed", segment=sealed.name, spans=writer.spans, logs=writer.logs,
            bytes=sealed.stat().st_size, open_seconds=time.monotonic() - self._opened_at,
            **({"mended": sum(writer.mended.values())} if writer.mended else {}),
        )  # fmt: skip
        return sealed

    def _remember(self, position: tuple[int, int]) -> None:
        if position != self._remembered():
            write_durably(self.directory / POSITION_FILE, json.dumps(list(position)).encode())

    def _remembered(self) -> tuple[int, int]:
        with contextlib.suppress(OSError, ValueError, TypeError):
            file, offset = orjson.loads((self.directory / POSITION_FILE).read_bytes())
            if type(file) is int and type(offset) is int and min(file, offset) >= 0:
                return file, offset
        return (0, 0)

    def adopt(self) -> int:
        """Take over what an import left in `incoming/`; return how many segments."""
        adopted = adopt(self._data_dir)
        for path in adopted:
            event(log, "segment imported", segment=path.name)
        return len(adopted)

    def set_aside_damaged(self, name: str) -> None:
        """Take a sealed segment that cannot be read to its end out of the readers' way; it is kept for a person."""
        self._set_aside(self.directory / name, StoreError("it cannot be read to its last row"))

    def close(self) -> None:
        """Let go of the open segment."""
        if self._writer is not None:
            self._writer.close()

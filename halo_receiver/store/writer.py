"""Append batches to the open segment, and seal it."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from halo_receiver.errors import Unreadable, Unstorable
from halo_receiver.store import schema
from halo_receiver.store.segment import SegmentName

MAX_SERVICES = 1000  # names kept in a segment's description


class SegmentWriter:
    """The one open segment of a directory. Only one thread may use it.

    A batch is one transaction: rows and spool position together, or nothing. `seal` is a ritual, each step for the
    reader that may come between: rollup, checkpoint, detach, fsync the file, rename, fsync the directory.
    """

    def __init__(self, directory: Path, name: SegmentName, *, memory_limit: str = "512MiB", threads: int = 2) -> None:
        self.directory = directory
        self.name = name
        self.path = directory / f"{name}.open"
        self.spans = 0
        self.logs = 0
        self.position = (0, 0)
        self._replaces: list[str] = []
        self._connection = duckdb.connect(":memory:", config={"memory_limit": memory_limit, "threads": threads})
        # Never checkpoint before sealing: at the default 16 MiB commits stall for up to a second.
        self._connection.execute("SET checkpoint_threshold = '1TB'")
        self._connection.execute("SET preserve_insertion_order = false")
        fresh = not self.path.exists()
        # A file that lacks its tables would crash every reader that comes between: make it under another name first.
        made = directory / f"{name}.making" if fresh else self.path
        try:
            self._attach(made)
        except duckdb.Error as error:
            self._connection.close()
            raise _refusal(error, made) from None
        if fresh:
            self._connection.execute("USE segment")
            self._connection.execute(schema.SCHEMA_SQL)
            self._connection.execute("INSERT INTO meta VALUES ('schema_version', ?)", [str(schema.SCHEMA_VERSION)])
            self._connection.execute(f"CREATE VIEW spans AS {schema.spans_view('span_rows')}")
            self._connection.execute(f"CREATE VIEW logs AS {schema.logs_view('log_rows')}")
            columns = ", ".join(schema.TRACE_COLUMNS)
            self._connection.execute(f"CREATE VIEW traces AS SELECT {columns} FROM trace_rows")
            self._connection.execute("USE memory")
            self._connection.execute("DETACH segment")
            made.rename(self.path)
            self._attach(self.path)
        try:
            self.spans, self.logs = self._one(
                "SELECT (SELECT count(*) FROM segment.span_rows), (SELECT count(*) FROM segment.log_rows)"
            )
            self.position = self._one("SELECT file, byte_offset FROM segment.spool_position") or (0, 0)
        except duckdb.Error as error:
            self._connection.close()
            raise Unreadable(f"segment {self.path.name} is damaged: {first_line(error)}") from None

    def _attach(self, path: Path) -> None:
        quoted = str(path).replace("'", "''")
        self._connection.execute(
            f"ATTACH '{quoted}' AS segment "
            f"(STORAGE_VERSION '{schema.STORAGE_VERSION}', ROW_GROUP_SIZE {schema.ROW_GROUP_SIZE})"
        )

    def _one(self, sql: str) -> Any:
        return self._connection.execute(sql).fetchone()

    def append(self, *, spans: pa.Table | None, logs: pa.Table | None, position: tuple[int, int] | None = None) -> None:
        """Store one batch and, with it, how far the spool has been read."""
        self._connection.execute("BEGIN")
        try:
            if spans is not None and spans.num_rows:
                self._insert("span_rows", spans)
            if logs is not None and logs.num_rows:
                self._insert("log_rows", logs)
            if position is not None:
                self._connection.execute("DELETE FROM segment.spool_position")
                self._connection.execute("INSERT INTO segment.spool_position VALUES (?, ?)", list(position))
            self._connection.execute("COMMIT")
        except duckdb.Error as error:
            with contextlib.suppress(duckdb.Error):  # a failed commit has rolled back already
                self._connection.execute("ROLLBACK")
            raise _refusal(error, self.path) from None
        if position is not None:
            self.position = position
        self.spans += spans.num_rows if spans is not None else 0
        self.logs += logs.num_rows if logs is not None else 0

    def _insert(self, table: str, batch: pa.Table) -> None:
        names = ", ".join(f'"{name}"' for name in batch.schema.names)
        self._connection.register("batch", batch)
        try:
            self._connection.execute(f"INSERT INTO segment.{table} ({names}) SELECT {names} FROM batch")
        finally:
            self._connection.unregister("batch")

    def seal(self) -> Path:
        """Close the segment for good and hand it to the readers; return its path."""
        self._connection.execute(
            "DELETE FROM segment.span_rows WHERE rowid IN (SELECT rowid FROM (SELECT rowid, row_number() OVER "
            "(PARTITION BY trace_id, span_id ORDER BY received_at, rowid) AS nth FROM segment.span_rows) WHERE nth > 1)"
        )
        self._describe()
        columns = ", ".join((*schema.TRACE_COLUMNS, "first_received_at", "last_received_at"))
        self._connection.execute(
            f"INSERT INTO segment.trace_rows ({columns}) SELECT {columns} "
            f"FROM ({schema.rollup_query('segment.span_rows')})"
        )
        self._connection.execute("CHECKPOINT segment")
        self.close()
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        sealed = self.directory / str(self.name)
        self.path.rename(sealed)
        descriptor = os.open(self.directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return sealed

    def _describe(self) -> None:
        """Store what the manifest asks of a segment, so that it can be known without scanning the rows."""
        first, last, services = self._one(
            "SELECT coalesce(min(epoch_ns(received_at)), 0), coalesce(max(epoch_ns(received_at)), 0), "
            "coalesce(list_sort(list(DISTINCT service_name)), []) FROM (SELECT received_at, service_name FROM "
            "segment.span_rows UNION ALL SELECT received_at, service_name FROM segment.log_rows)"
        )
        self.spans = self._one("SELECT count(*) FROM segment.span_rows")[0]
        facts = {
            "spans": self.spans,
            "logs": self.logs,
            "first_received_ns": first,
            "last_received_ns": last,
            "services": services[:MAX_SERVICES],
            "replaces": self._replaces,
        }
        self._connection.execute("INSERT OR REPLACE INTO segment.meta VALUES ('facts', ?)", [json.dumps(facts)])

    def take_over(self, sources: list[Path]) -> None:
        """Copy the rows of sealed segments into this empty one, ordered by trace, each span once."""
        unions: dict[str, list[str]] = {"span_rows": [], "log_rows": [], "spool_position": []}
        for index, path in enumerate(sources):
            quoted = str(path).replace("'", "''")
            self._connection.execute(f"ATTACH '{quoted}' AS source{index} (READ_ONLY)")
            for table, parts in unions.items():
                parts.append(f"SELECT * FROM source{index}.{table}")
        spans, logs, positions = (" UNION ALL BY NAME ".join(parts) for parts in unions.values())
        self._connection.execute("SET preserve_insertion_order = true")
        self._connection.execute(
            f"INSERT INTO segment.span_rows BY NAME SELECT * FROM ({spans}) QUALIFY row_number() OVER "
            "(PARTITION BY trace_id, span_id ORDER BY received_at) = 1 ORDER BY trace_id, start_time"
        )
        self._connection.execute(f"INSERT INTO segment.log_rows BY NAME SELECT * FROM ({logs}) ORDER BY trace_id, time")
        self._connection.execute(
            f"INSERT INTO segment.spool_position SELECT * FROM ({positions}) "
            "ORDER BY file DESC, byte_offset DESC LIMIT 1"
        )
        self.logs = self._one("SELECT count(*) FROM segment.log_rows")[0]
        for index in range(len(sources)):
            self._connection.execute(f"DETACH source{index}")
        self._replaces = [path.name for path in sources]

    def discard(self) -> None:
        """Throw the segment away: nothing was in it."""
        self.close()
        self.path.unlink()

    def close(self) -> None:
        """Let go of the file without sealing it."""
        self._connection.execute("DETACH segment")
        self._connection.close()


def clean_unfinished(directory: Path) -> None:
    """Delete what a crash left of segments that were being made, or merged: nothing of it has counted yet."""
    for path in directory.glob("*.making*"):
        path.unlink()


def read_position(path: Path) -> tuple[int, int]:
    """Return how far the spool had been read when a segment was sealed; (0, 0) when it cannot say."""
    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            row = connection.execute("SELECT file, byte_offset FROM spool_position").fetchone()
    except duckdb.Error:
        return (0, 0)
    return (row[0], row[1]) if row else (0, 0)


def first_line(error: Exception) -> str:
    """Return the first line of what DuckDB said."""
    return str(error).splitlines()[0]


def _refusal(error: duckdb.Error, path: Path) -> Exception:
    """Tell a disk that refuses, which may pass, from a file or rows that never will."""
    text = first_line(error)
    if (
        isinstance(error, (duckdb.OutOfMemoryException,))
        or "No space left" in str(error)
        or "disk" in str(error).lower()
    ):
        return OSError(errno.ENOSPC, text)
    if isinstance(error, (duckdb.IOException, duckdb.TransactionException)) and path.suffix == ".making":
        return OSError(errno.EIO, text)
    if isinstance(error, (duckdb.IOException, duckdb.SerializationException, duckdb.InternalException)):
        return Unreadable(f"segment {path.name} cannot be opened: {text}")
    if isinstance(error, duckdb.TransactionException):
        return OSError(errno.EIO, text)
    return Unstorable(text)

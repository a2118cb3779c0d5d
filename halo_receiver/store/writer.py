"""Append batches to the open segment, and seal it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from halo_receiver.store import schema
from halo_receiver.store.segment import SegmentName


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
        self._connection = duckdb.connect(":memory:", config={"memory_limit": memory_limit, "threads": threads})
        # Never checkpoint before sealing: at the default 16 MiB commits stall for up to a second.
        self._connection.execute("SET checkpoint_threshold = '1TB'")
        self._connection.execute("SET preserve_insertion_order = false")
        fresh = not self.path.exists()
        # A file that lacks its tables would crash every reader that comes between: make it under another name first.
        made = self.path.with_suffix(".making") if fresh else self.path
        self._attach(made)
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
        self.spans, self.logs = self._one(
            "SELECT (SELECT count(*) FROM segment.span_rows), (SELECT count(*) FROM segment.log_rows)"
        )

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
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
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

    def close(self) -> None:
        """Let go of the file without sealing it."""
        self._connection.execute("DETACH segment")
        self._connection.close()

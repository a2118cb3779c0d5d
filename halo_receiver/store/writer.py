"""Append batches to the open segment, and seal it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from halo_receiver.store import copies, schema, trace_filter
from halo_receiver.store.disk import sync_directory
from halo_receiver.store.refusals import refusal
from halo_receiver.store.segment import SegmentName, unfinished
from halo_receiver.store.text_folding import unfolded

MAX_SERVICES = 1000  # names kept in a segment's description
TEMPORARY = "tmp"  # below the segments: where DuckDB puts what does not fit into memory


class SegmentWriter:
    """The one open segment of a directory. Only one thread may use it.

    A batch is one transaction: rows and spool position together, or nothing. `seal` is a ritual, each step for the
    reader that may come between: rollup, checkpoint, detach, fsync the file, rename, fsync the directory.

    Raises OSError when the disk refuses and MemoryError when memory is short, which may pass; Unreadable when the file
    is damaged; Unstorable when rows are not to be stored whatever the disk says. `mapping` is the version of the
    mapping that the rows' meaning is from.
    """

    def __init__(
        self,
        directory: Path,
        name: SegmentName,
        *,
        memory_limit: str = "512MiB",
        threads: int = 2,
        mapping: int = 0,
        row_group_size: int = schema.ROW_GROUP_SIZE,
    ) -> None:
        self.directory = directory
        self.name = name
        self.path = directory / f"{name}.open"
        self.spans = 0
        self.logs = 0
        self.position = (0, 0)
        self.mended: dict[str, int] = {}
        self.again: list[str] = []  # requests that were stored apart from the order of the spool
        self._replaces: list[str] = []  # set by a rewrite
        self._row_group_size = row_group_size
        self._connection = duckdb.connect(":memory:", config={"memory_limit": memory_limit, "threads": threads})
        # What does not fit into memory goes beside the segments, not to wherever the process was started.
        self._connection.execute("SET temp_directory = $path", {"path": str(directory / TEMPORARY)})
        self._connection.execute("SET enable_progress_bar = false")  # of a notebook; it would draw itself on stdout
        # Never checkpoint before sealing: at the default 16 MiB commits stall for up to a second.
        self._connection.execute("SET checkpoint_threshold = '1TB'")
        self._connection.execute("SET preserve_insertion_order = false")
        fresh = not self.path.exists()
        # A file that lacks its tables would crash every reader that comes between: make it under another name first.
        made = directory / f"{name}.making" if fresh else self.path
        try:
            self._attach(made)
        except duckdb.Error as error:
            self._give_up(made)
            raise refusal(error, made) from None
        try:
            if fresh:
                self._make(made, mapping)
            self.spans, self.logs = self._one(
                "SELECT (SELECT count(*) FROM segment.span_rows), (SELECT count(*) FROM segment.log_rows)"
            )
            self.position = self._one("SELECT file, byte_offset FROM segment.spool_position") or (0, 0)
            meta = dict(self._connection.execute("SELECT key, value FROM segment.meta").fetchall())
            self.mended = json.loads(meta.get("mended", "{}"))
            self.again = json.loads(meta.get("again", "[]"))
        except duckdb.Error as error:
            self._give_up(made)
            raise refusal(error, self.path) from None

    def _give_up(self, made: Path) -> None:
        """Leave nothing of a file that could not be made: on a full disk it is tried every few seconds."""
        self._connection.close()
        if made != self.path:
            for path in (made, made.with_name(f"{made.name}.wal")):
                path.unlink(missing_ok=True)

    def _make(self, made: Path, mapping: int) -> None:
        execute = self._connection.execute
        execute("USE segment")
        execute(schema.SCHEMA_SQL)
        execute("INSERT INTO meta VALUES ('schema_version', ?)", [str(schema.SCHEMA_VERSION)])
        execute("INSERT INTO meta VALUES ('mapping_version', ?)", [str(mapping)])
        rows = unfolded("span_rows")
        execute(f"CREATE VIEW spans AS {schema.spans_view(f'({rows})')}")
        execute(f"CREATE VIEW logs AS {schema.logs_view('log_rows')}")
        columns = ", ".join(schema.TRACE_COLUMNS)
        execute(f"CREATE VIEW traces AS SELECT {columns} FROM trace_rows")
        execute("USE memory")
        execute("DETACH segment")
        made.rename(self.path)
        self._attach(self.path)

    def _attach(self, path: Path) -> None:
        quoted = str(path).replace("'", "''")
        self._connection.execute(
            f"ATTACH '{quoted}' AS segment "
            f"(STORAGE_VERSION '{schema.STORAGE_VERSION}', ROW_GROUP_SIZE {self._row_group_size})"
        )

    def _one(self, sql: str) -> Any:
        return self._connection.execute(sql).fetchone()

    def append(
        self,
        *,
        spans: pa.Table | None,
        logs: pa.Table | None,
        position: tuple[int, int] | None = None,
        mended: dict[str, int] | None = None,
        again: str | None = None,
    ) -> None:
        """Store one batch and, with it, how far the spool has been read, what was mended, and which request it was."""
        summed = {what: self.mended.get(what, 0) + number for what, number in (mended or {}).items()}
        self._connection.execute("BEGIN")
        try:
            if spans is not None and spans.num_rows:
                self._insert("span_rows", spans)
            if logs is not None and logs.num_rows:
                self._insert("log_rows", logs)
            if position is not None:
                self._connection.execute("DELETE FROM segment.spool_position")
                self._connection.execute("INSERT INTO segment.spool_position VALUES (?, ?)", list(position))
            if summed:
                text = json.dumps({**self.mended, **summed})
                self._connection.execute("INSERT OR REPLACE INTO segment.meta VALUES ('mended', ?)", [text])
            if again is not None:
                text = json.dumps([*self.again, again])
                self._connection.execute("INSERT OR REPLACE INTO segment.meta VALUES ('again', ?)", [text])
            self._connection.execute("COMMIT")
        except duckdb.Error as error:
            with contextlib.suppress(duckdb.Error):  # a failed commit has rolled back already
                self._connection.execute("ROLLBACK")
            raise refusal(error, self.path) from None
        if position is not None:
            self.position = position
        if again is not None:
            self.again.append(again)
        self.mended.update(summed)
        self.spans += spans.num_rows if spans is not None else 0
        self.logs += logs.num_rows if logs is not None else 0

    def _insert(self, table: str, batch: pa.Table) -> None:
        names = ", ".join(f'"{name}"' for name in batch.schema.names)
        self._connection.register("batch", batch)
        try:
            self._connection.execute(f"INSERT INTO segment.{table} ({names}) SELECT {names} FROM batch")
        finally:
            with contextlib.suppress(duckdb.Error):  # a transaction that failed, whose reason must not be lost
                self._connection.unregister("batch")

    def seal(self) -> Path:
        """Close the segment for good and hand it to the readers; return its path."""
        try:
            try:
                self._finish()
            except duckdb.OutOfMemoryException:
                self._save_memory()
                self._finish()
            self.close()
        except duckdb.Error as error:
            raise refusal(error, self.path) from None
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        sealed = self.directory / str(self.name)
        self.path.rename(sealed)
        sync_directory(self.directory)
        return sealed

    def _save_memory(self) -> None:
        """Write the rows to the file, where they can be read again instead of being kept, and work with one thread."""
        self._connection.execute("SET threads = 1")
        self._connection.execute("CHECKPOINT segment")

    def _finish(self) -> None:
        # Started again after a disk that refused, it begins from the rows: what an earlier attempt left is replaced.
        self._leave_out_copies()
        self._describe()
        columns = ", ".join((*schema.TRACE_COLUMNS, "first_received_at", "last_received_at"))
        self._connection.execute("DELETE FROM segment.trace_rows")
        self._connection.execute(
            f"INSERT INTO segment.trace_rows ({columns}) SELECT {columns} "
            f"FROM ({schema.rollup_query('segment.span_rows')})"
        )
        self._connection.execute("CHECKPOINT segment")

    def _leave_out_copies(self) -> None:
        execute = self._connection.execute
        execute(f"CREATE OR REPLACE TEMP TABLE copies AS {copies.superseded({0: 'segment.span_rows'})}")
        copies.note(self._connection, "temp.copies")
        execute("DELETE FROM segment.span_rows WHERE rowid IN (SELECT place FROM temp.copies)")

    def _describe(self) -> None:
        """Store what the manifest asks of a segment, so that it can be known without scanning the rows."""
        first, last = self._one(
            "SELECT coalesce(min(epoch_ns(received_at)), 0), coalesce(max(epoch_ns(received_at)), 0) FROM "
            f"({copies.arrivals(self._connection, 'segment')} UNION ALL "
            "SELECT trace_id, received_at FROM segment.log_rows)"
        )
        [services] = self._one(
            "SELECT coalesce(list_sort(list(DISTINCT service_name)), []) FROM (SELECT service_name FROM "
            "segment.span_rows UNION ALL SELECT service_name FROM segment.log_rows)"
        )
        traces = self._connection.execute(
            "SELECT trace_id FROM segment.span_rows UNION "
            "SELECT trace_id FROM segment.log_rows WHERE trace_id IS NOT NULL"
        ).fetchall()
        self.spans = self._one("SELECT count(*) FROM segment.span_rows")[0]
        facts = {
            "spans": self.spans,
            "logs": self.logs,
            "first_received_ns": first,
            "last_received_ns": last,
            "services": services[:MAX_SERVICES],
            "services_complete": len(services) <= MAX_SERVICES,
            "traces": trace_filter.build((row[0] for row in traces), len(traces)),
            "replaces": self._replaces,
            "position": list(self.position),
            "mended": self.mended,
        }
        self._connection.execute("INSERT OR REPLACE INTO segment.meta VALUES ('facts', ?)", [json.dumps(facts)])

    def discard(self) -> None:
        """Throw the segment away: nothing was in it."""
        self.close()
        # Detaching keeps the log of a transaction that a kill interrupted. The next segment may get the same name, and
        # would then be refused for a log that is not its own.
        self.path.with_name(f"{self.path.name}.wal").unlink(missing_ok=True)
        self.path.unlink()

    def close(self) -> None:
        """Let go of the file without sealing it."""
        try:
            self._connection.execute("DETACH segment")
        finally:
            self._connection.close()


def clean_unfinished(directory: Path) -> None:
    """Delete what a crash left of segments that were being made, or merged: nothing of it has counted yet."""
    for path in unfinished(directory):
        path.unlink()
    shutil.rmtree(directory / TEMPORARY, ignore_errors=True)

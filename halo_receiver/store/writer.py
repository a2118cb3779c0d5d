"""Append batches to the open segment, and seal it."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from halo_receiver.errors import Unreadable, Unstorable
from halo_receiver.store import rows, schema, trace_filter
from halo_receiver.store.disk import sync_directory
from halo_receiver.store.rows import Row
from halo_receiver.store.segment import SegmentName
from halo_receiver.store.text_folding import unfolded

MAX_SERVICES = 1000  # names kept in a segment's description
TEMPORARY = "tmp"  # below the segments: where DuckDB puts what does not fit into memory


class SegmentWriter:
    """The one open segment of a directory. Only one thread may use it.

    A batch is one transaction: rows and spool position together, or nothing. `seal` is a ritual, each step for the
    reader that may come between: rollup, checkpoint, detach, fsync the file, rename, fsync the directory.

    Raises OSError when the disk refuses, which may pass; Unreadable when the file is damaged; Unstorable when rows are
    not to be stored whatever the disk says. `mapping` is the version of the mapping that the rows' meaning is from.
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
        self._replaces: list[str] = []
        self._row_group_size = row_group_size
        self._connection = duckdb.connect(":memory:", config={"memory_limit": memory_limit, "threads": threads})
        # What does not fit into memory goes beside the segments, not to wherever the process was started.
        self._connection.execute("SET temp_directory = $path", {"path": str(directory / TEMPORARY)})
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
        try:
            if fresh:
                self._make(made, mapping)
            self.spans, self.logs = self._one(
                "SELECT (SELECT count(*) FROM segment.span_rows), (SELECT count(*) FROM segment.log_rows)"
            )
            self.position = self._one("SELECT file, byte_offset FROM segment.spool_position") or (0, 0)
            mended = self._one("SELECT value FROM segment.meta WHERE key = 'mended'")
            self.mended = json.loads(mended[0]) if mended else {}
        except duckdb.Error as error:
            self._connection.close()
            raise _refusal(error, self.path) from None

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
    ) -> None:
        """Store one batch and, with it, how far the spool has been read and what was mended in it."""
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
            self._connection.execute("COMMIT")
        except duckdb.Error as error:
            with contextlib.suppress(duckdb.Error):  # a failed commit has rolled back already
                self._connection.execute("ROLLBACK")
            raise _refusal(error, self.path) from None
        if position is not None:
            self.position = position
        self.mended.update(summed)
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
        try:
            self._finish()
            self.close()
        except duckdb.Error as error:
            raise _refusal(error, self.path) from None
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        sealed = self.directory / str(self.name)
        self.path.rename(sealed)
        sync_directory(self.directory)
        return sealed

    def _finish(self) -> None:
        # Started again after a disk that refused, it begins from the rows: what an earlier attempt left is replaced.
        if not self._replaces:  # a merge has left the copies out already
            self._connection.execute(
                "DELETE FROM segment.span_rows WHERE rowid IN (SELECT rowid FROM (SELECT rowid, row_number() OVER "
                "(PARTITION BY trace_id, span_id ORDER BY received_at, rowid) AS nth FROM segment.span_rows) "
                "WHERE nth > 1)"
            )
        self._describe()
        columns = ", ".join((*schema.TRACE_COLUMNS, "first_received_at", "last_received_at"))
        self._connection.execute("DELETE FROM segment.trace_rows")
        self._connection.execute(
            f"INSERT INTO segment.trace_rows ({columns}) SELECT {columns} "
            f"FROM ({schema.rollup_query('segment.span_rows')})"
        )
        self._connection.execute("CHECKPOINT segment")

    def _describe(self) -> None:
        """Store what the manifest asks of a segment, so that it can be known without scanning the rows."""
        first, last, services = self._one(
            "SELECT coalesce(min(epoch_ns(received_at)), 0), coalesce(max(epoch_ns(received_at)), 0), "
            "coalesce(list_sort(list(DISTINCT service_name)), []) FROM (SELECT received_at, service_name FROM "
            "segment.span_rows UNION ALL SELECT received_at, service_name FROM segment.log_rows)"
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

    def take_over(self, sources: list[Path]) -> None:
        """Copy the rows of sealed segments into this empty one, in the order of the segments, each span once."""
        # Not sorted by trace: what belongs together arrived together, so that sorting saves nothing (53 MiB either way,
        # 25,000 LLM spans), while memory grows with the rows. A window over whole rows needs more than it may have.
        try:
            for index, path in enumerate(sources):
                quoted = str(path).replace("'", "''")
                self._connection.execute(f"ATTACH '{quoted}' AS source{index} (READ_ONLY)")
            self._find_copies(len(sources))
            self._connection.execute("SET preserve_insertion_order = true")
            for index in range(len(sources)):
                self._copy(index)
        except duckdb.Error as error:
            raise _refusal(error, self.path) from None
        self._replaces = [path.name for path in sources]

    def _find_copies(self, count: int) -> None:
        """Note the rows that another source has as well; of each span what arrived first is kept."""
        traces = " UNION ALL ".join(f"SELECT DISTINCT trace_id FROM source{i}.trace_rows" for i in range(count))
        self._connection.execute(
            f"CREATE TEMP TABLE crossing AS SELECT trace_id FROM ({traces}) GROUP BY trace_id HAVING count(*) > 1"
        )
        keys = " UNION ALL ".join(
            f"SELECT {i} AS source, rowid AS place, trace_id, span_id, received_at FROM source{i}.span_rows "
            "WHERE trace_id IN (FROM crossing)"
            for i in range(count)
        )
        self._connection.execute(
            f"CREATE TEMP TABLE copies AS SELECT source, place FROM ({keys}) QUALIFY row_number() OVER "
            "(PARTITION BY trace_id, span_id ORDER BY received_at, source, place) > 1"
        )

    def _copy(self, index: int) -> None:
        source = f"source{index}"
        self._connection.execute(
            f"INSERT INTO segment.span_rows BY NAME SELECT * FROM {source}.span_rows "
            f"WHERE rowid NOT IN (SELECT place FROM copies WHERE source = {index})"
        )
        self._connection.execute(f"INSERT INTO segment.log_rows BY NAME SELECT * FROM {source}.log_rows")
        found = self._one(f"SELECT file, byte_offset FROM {source}.spool_position") or (0, 0)
        mended = self._one(f"SELECT value FROM {source}.meta WHERE key = 'mended'")
        self.append(
            spans=None, logs=None, position=max(self.position, found), mended=json.loads(mended[0]) if mended else {}
        )
        self.logs = self._one("SELECT count(*) FROM segment.log_rows")[0]
        self._connection.execute(f"DETACH {source}")

    def derive_again(
        self,
        sources: list[Path],
        *,
        span_meaning: Callable[[list[Row]], pa.Table],
        log_meaning: Callable[[list[Row]], pa.Table],
    ) -> None:
        """Copy sealed segments into this empty one, with what their rows mean as the given functions say it.

        Each gets some rows, and returns the columns that take the place of the stored ones, in the same order.
        """
        try:
            for path in sources:
                quoted = str(path).replace("'", "''")
                self._connection.execute(f"ATTACH '{quoted}' AS source (READ_ONLY)")
                self._derive("span_rows", rows.SPAN_ROW, span_meaning)
                self._derive("log_rows", rows.LOG_ROW, log_meaning)
                found = self._one("SELECT file, byte_offset FROM source.spool_position") or (0, 0)
                mended = self._one("SELECT value FROM source.meta WHERE key = 'mended'")
                self._connection.execute("DETACH source")
                counted = json.loads(mended[0]) if mended else {}
                self.append(spans=None, logs=None, position=max(self.position, found), mended=counted)
        except duckdb.Error as error:
            raise _refusal(error, self.path) from None
        self.spans, self.logs = self._one(
            "SELECT (SELECT count(*) FROM segment.span_rows), (SELECT count(*) FROM segment.log_rows)"
        )
        self._replaces = [path.name for path in sources]

    def _derive(self, table: str, columns: str, meaning: Callable[[list[Row]], pa.Table]) -> None:
        execute = self._connection.execute
        there = {row[0] for row in execute(f"DESCRIBE source.{table}").fetchall()} | {"row_place"}
        first, last = self._one(f"SELECT coalesce(min(rowid), 0), coalesce(max(rowid), -1) FROM source.{table}")
        for start in range(first, last + 1, schema.ROW_GROUP_SIZE):
            stored = (
                f"(SELECT rowid AS row_place, * FROM source.{table} "
                f"WHERE rowid >= {start} AND rowid < {start + schema.ROW_GROUP_SIZE})"
            )
            whole = f"({unfolded(stored)})" if "texts" in there else stored
            cursor = execute(f"SELECT {columns} FROM {whole} ORDER BY row_place")
            names = [column[0] for column in cursor.description or ()]
            found = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
            if not found:
                continue
            derived = meaning(found)
            replaced = ", ".join(f'"{name}"' for name in ("row_place", *derived.column_names) if name in there)
            kept = f"s.* EXCLUDE ({replaced})"
            taken = ", ".join(f'd."{name}"' for name in derived.column_names)
            places = pa.array([row["row_place"] for row in found], pa.int64())
            self._connection.register("derived", derived.append_column("row_place", places))
            try:
                execute(
                    f"INSERT INTO segment.{table} BY NAME SELECT {kept}, {taken} FROM {stored} s "
                    "JOIN derived d ON d.row_place = s.row_place"
                )
            finally:
                self._connection.unregister("derived")

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
    for path in directory.glob("*.making*"):
        path.unlink()
    for path in directory.glob("*.open.wal"):
        if not path.with_suffix("").exists():
            path.unlink()
    shutil.rmtree(directory / TEMPORARY, ignore_errors=True)


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


# What DuckDB says when the trouble is not the file's or the rows' but the moment's. It has no class for these.
_PASSING = ("no space left", "disk", "could not set lock", "quota", "too many open files", "read-only file system")


def _refusal(error: duckdb.Error, path: Path) -> Exception:
    """Tell a disk that refuses, which may pass, from a file or rows that never will."""
    text = first_line(error)
    passing = any(words in str(error).lower() for words in _PASSING)
    if passing and not isinstance(error, duckdb.OutOfMemoryException):
        return OSError(errno.ENOSPC, text)
    if isinstance(error, (duckdb.IOException, duckdb.TransactionException)) and path.suffix == ".making":
        return OSError(errno.EIO, text)
    if isinstance(error, (duckdb.IOException, duckdb.SerializationException, duckdb.InternalException)):
        return Unreadable(f"segment {path.name} is damaged: {text}")
    if isinstance(error, (duckdb.TransactionException, duckdb.FatalException)):
        return OSError(errno.EIO, text)  # the file is as of its last commit; it is opened anew before the next attempt
    if isinstance(error, duckdb.CatalogException):
        return Unreadable(f"segment {path.name} is damaged: {text}")
    return Unstorable(text)

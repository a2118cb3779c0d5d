"""Fill a new segment from sealed ones: copy their rows, or derive again what the rows mean."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pyarrow as pa

from halo_receiver.store import copies, rows, schema
from halo_receiver.store.refusals import refusal
from halo_receiver.store.rows import Row
from halo_receiver.store.text_folding import unfolded
from halo_receiver.store.writer import SegmentWriter

Meaning = Callable[[list[Row]], pa.Table]


class SegmentRewriter(SegmentWriter):
    """An empty segment that takes the place of sealed ones. Raises as SegmentWriter does."""

    def take_over(self, sources: list[Path]) -> None:
        """Copy the rows of sealed segments, in the order of the segments, each span once."""
        # Not sorted by trace: what belongs together arrived together, so that sorting saves nothing (53 MiB either way,
        # 25,000 LLM spans), while memory grows with the rows. A window over whole rows needs more than it may have.
        try:
            names = [self._attach_source(index, path) for index, path in enumerate(sources)]
            self._find_copies(names)
            self._connection.execute("SET preserve_insertion_order = true")
            for index, source in enumerate(names):
                self._copy(index, source)
                self._carry_over(source)
        except duckdb.Error as error:
            raise refusal(error, self.path) from None
        self._replace(sources)

    def derive_again(self, source: Path, *, span_meaning: Meaning, log_meaning: Meaning) -> None:
        """Copy a sealed segment, with what its rows mean as the given functions say it.

        Each gets some rows, and returns the columns that take the place of the stored ones, in the same order.
        """
        try:
            name = self._attach_source(0, source)
            self._derive(name, "span_rows", rows.SPAN_ROW, span_meaning)
            self._derive(name, "log_rows", rows.LOG_ROW, log_meaning)
            self._carry_over(name)
        except duckdb.Error as error:
            raise refusal(error, self.path) from None
        self._replace([source])

    def take_without(self, source: Path, traces: list[str], own_logs: str, given: dict[str, object]) -> bool:
        """Copy a sealed segment without some traces, and without the records of no trace that a condition names.

        False, and nothing is copied, where it holds none of them.
        """
        try:
            name = self._attach_source(0, source)
            execute = self._connection.execute
            execute("CREATE TEMP TABLE gone AS SELECT unnest($1::VARCHAR[]) AS trace_id", [traces])
            for table, own in (("span_rows", "false"), ("log_rows", own_logs)):
                execute(
                    f"CREATE TEMP TABLE gone_{table} AS SELECT rowid AS place FROM {name}.{table} "
                    f"WHERE trace_id IN (FROM gone) OR ({own})",
                    given if own != "false" else None,
                )
            if self._one("SELECT (SELECT count(*) FROM gone_span_rows) + (SELECT count(*) FROM gone_log_rows)") == (0,):
                execute(f"DETACH {name}")
                return False
            for table in ("span_rows", "log_rows"):
                execute(
                    f"INSERT INTO segment.{table} BY NAME SELECT * FROM {name}.{table} "
                    f"WHERE rowid NOT IN (SELECT place FROM gone_{table})"
                )
            self._carry_over(name)
            with contextlib.suppress(duckdb.CatalogException):  # a segment without copies has no such table
                execute(f"DELETE FROM segment.{copies.ARRIVALS} WHERE trace_id IN (FROM gone)")
        except duckdb.Error as error:
            raise refusal(error, self.path) from None
        self._replace([source])
        return True

    def _attach_source(self, index: int, path: Path) -> str:
        quoted = str(path).replace("'", "''")
        self._connection.execute(f"ATTACH '{quoted}' AS source{index} (READ_ONLY)")
        return f"source{index}"

    def _carry_over(self, source: str) -> None:
        """Take what a source says beside its rows, and let go of it."""
        copies.carry_over(self._connection, source)
        found = self._one(f"SELECT file, byte_offset FROM {source}.spool_position") or (0, 0)
        mended = self._one(f"SELECT value FROM {source}.meta WHERE key = 'mended'")
        self._connection.execute(f"DETACH {source}")
        counted = json.loads(mended[0]) if mended else {}
        self.append(spans=None, logs=None, position=max(self.position, found), mended=counted)

    def _replace(self, sources: list[Path]) -> None:
        self._replaces = [path.name for path in sources]
        self.spans, self.logs = self._one(
            "SELECT (SELECT count(*) FROM segment.span_rows), (SELECT count(*) FROM segment.log_rows)"
        )

    def _leave_out_copies(self) -> None:
        """Do nothing: each source holds a span once, and `take_over` has left out what two of them hold."""

    def _find_copies(self, sources: list[str]) -> None:
        """Note the rows that a copy in another source replaces."""
        execute = self._connection.execute
        traces = " UNION ALL ".join(f"SELECT DISTINCT trace_id FROM {source}.trace_rows" for source in sources)
        execute(f"CREATE TEMP TABLE crossing AS SELECT trace_id FROM ({traces}) GROUP BY trace_id HAVING count(*) > 1")
        tables = {index: f"{source}.span_rows" for index, source in enumerate(sources)}
        execute(f"CREATE TEMP TABLE copies AS {copies.superseded(tables, 'trace_id IN (FROM temp.crossing)')}")
        copies.note(self._connection, "temp.copies")

    def _copy(self, index: int, source: str) -> None:
        self._connection.execute(
            f"INSERT INTO segment.span_rows BY NAME SELECT * FROM {source}.span_rows "
            f"WHERE rowid NOT IN (SELECT place FROM temp.copies WHERE source = {index})"
        )
        self._connection.execute(f"INSERT INTO segment.log_rows BY NAME SELECT * FROM {source}.log_rows")

    def _derive(self, source: str, table: str, columns: str, meaning: Meaning) -> None:
        stored, names = f"{source}.{table}", self._columns(f"{source}.{table}")
        for place, found in self._chunks(stored, columns, folded="texts" in names):
            derived = meaning(found)
            replaced = ", ".join(f'"{name}"' for name in ("row_place", *derived.column_names) if name in names)
            taken = ", ".join(f'd."{name}"' for name in derived.column_names)
            places = pa.array([row["row_place"] for row in found], pa.int64())
            self._connection.register("derived", derived.append_column("row_place", places))
            try:
                self._connection.execute(
                    f"INSERT INTO segment.{table} BY NAME SELECT s.* EXCLUDE ({replaced}), {taken} FROM {place} s "
                    "JOIN derived d ON d.row_place = s.row_place"
                )
            finally:
                with contextlib.suppress(duckdb.Error):  # as in _insert
                    self._connection.unregister("derived")

    def _columns(self, table: str) -> set[str]:
        return {row[0] for row in self._connection.execute(f"DESCRIBE {table}").fetchall()} | {"row_place"}

    def _chunks(self, table: str, columns: str, *, folded: bool) -> Iterator[tuple[str, list[Row]]]:
        """Yield a row group's worth of stored rows at a time: where they are, and what they say."""
        first, last = self._one(f"SELECT coalesce(min(rowid), 0), coalesce(max(rowid), -1) FROM {table}")
        for start in range(first, last + 1, schema.ROW_GROUP_SIZE):
            place = (
                f"(SELECT rowid AS row_place, * FROM {table} "
                f"WHERE rowid >= {start} AND rowid < {start + schema.ROW_GROUP_SIZE})"
            )
            whole = f"({unfolded(place)})" if folded else place
            cursor = self._connection.execute(f"SELECT {columns} FROM {whole} ORDER BY row_place")
            names = [column[0] for column in cursor.description or ()]
            if found := [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]:
                yield place, found

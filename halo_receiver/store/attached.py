"""Segments attached read-only to one connection, also those of an earlier schema."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import duckdb

from halo_receiver.errors import SchemaMismatch, StoreError
from halo_receiver.store import schema


@dataclass(frozen=True, slots=True)
class SetAside:
    """A segment that could not be opened, and why."""

    path: Path
    reason: str


class AttachedSegments:
    """The databases `s0`, `s1`, … of a connection, in the order of `segments`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self.segments: list[Path] = []
        self.set_aside: list[SetAside] = []
        self._older: set[int] = set()  # segments of an earlier schema, by their place
        self._has_current = False

    def attach(self, path: Path) -> None:
        """Attach one segment, or note why it cannot be read."""
        alias = f"s{len(self.segments)}"
        quoted = str(path).replace("'", "''")
        try:
            self._connection.execute(f"ATTACH '{quoted}' AS {alias} (READ_ONLY)")
            meta = dict(self._connection.execute(f"SELECT key, value FROM {alias}.meta").fetchall())
            found = meta.get("schema_version", "unknown")
            if not found.isdigit() or int(found) > schema.SCHEMA_VERSION:
                self._connection.execute(f"DETACH {alias}")
                raise SchemaMismatch(path.name, found, schema.SCHEMA_VERSION)
        except (duckdb.Error, StoreError) as error:
            hint = f"; {error.hint}" if isinstance(error, StoreError) and error.hint else ""
            self.set_aside.append(SetAside(path, f"{str(error).splitlines()[0]}{hint}"))
            return
        if int(found) < schema.SCHEMA_VERSION:
            self._older.add(len(self.segments))
        self.segments.append(path)

    def _empty(self, name: str) -> None:
        """Attach a database that holds the tables of a segment and no rows."""
        for sql in (f"ATTACH ':memory:' AS {name}", f"USE {name}", schema.SCHEMA_SQL, "USE memory"):
            self._connection.execute(sql)

    def rows(self, index: int, table: str) -> str:
        """Return what to read a segment's rows from: of an earlier schema, with the columns of ours, NULL where new."""
        if index not in self._older:
            return f"s{index}.{table}"
        if not self._has_current:
            self._empty("current_schema")
            self._has_current = True
        described = self._connection.execute(f"DESCRIBE current_schema.{table}").fetchall()
        names = ", ".join(f'"{row[0]}"' for row in described)
        return (
            f"(SELECT {names} FROM (SELECT * FROM current_schema.{table} WHERE false "
            f"UNION ALL BY NAME SELECT * FROM s{index}.{table}))"
        )

    def near(self, trace_id: str) -> dict[int, str]:
        """Return by segment a condition on rows that leaves few beside those of a trace.

        Spans of a trace lie together: what reads a range of rows takes a tenth of looking through a million for an id.
        """
        found = {}
        for index in range(len(self.segments)):
            if index not in self._older:  # of which rows have no number
                sql = f"SELECT min(rowid), max(rowid) FROM s{index}.span_rows WHERE trace_id = ?"
                first, last = self._connection.execute(sql, [trace_id]).fetchone() or (None, None)
                found[index] = "false" if first is None else f"rowid BETWEEN {first} AND {last}"
        return found

    def places(self) -> range:
        """Return the numbers of the attached databases; where there is none, `s0` is made, without rows."""
        if not self.segments:
            self._empty("s0")
        return range(max(1, len(self.segments)))

"""The index of the list of traces: `cache/page.duckdb`, a row a trace, made of sealed segments as they come.

Derived, and made again when it is missing, damaged or of another version. `parts` has a row for each trace and segment,
`traces` one for each trace: a segment that comes, is merged or expires changes the traces that it holds, and no other.
Where a span was sent twice and its copies lie in two segments it counts twice here, until these are merged; the trace
itself shows it once.
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import duckdb

from halo_receiver.store import manifest
from halo_receiver.store.manifest import Entry
from halo_worker.page import segment_traces
from halo_worker.page.segment_traces import COLUMNS

INDEX_FILE = "page.duckdb"
VERSION = "1"
MEMORY = "96MiB"  # of DuckDB
BATCH = 16  # segments that a child process reads
MOST_TOGETHER = 10_000  # traces of several segments that are put together in one statement: their lists lie in memory
MAX_NAMES = 500  # of a kind, offered as filters

_SCHEMA = f"""
CREATE TABLE version (version VARCHAR);
CREATE TABLE segments (name VARCHAR, number INTEGER);
CREATE TABLE names (kind VARCHAR, name VARCHAR);
CREATE TABLE parts (segment INTEGER, {COLUMNS});
CREATE TABLE traces ({COLUMNS});
INSERT INTO version VALUES ('{VERSION}');
"""
_LISTS = {"service": "service_names", "agent": "agent_names", "model": "models", "tool": "tools"}
# Of the traces that changed: those of one segment as they are there, and those of several put together.
_ALONE = "SELECT * EXCLUDE segment FROM parts WHERE trace_id IN (SELECT trace_id FROM touched WHERE segments = 1)"
_TOGETHER = f"""
SELECT trace_id, coalesce(min(nullif(start_ns, 0)), 0), max(end_ns), sum(span_count), sum(error_count),
  arg_min(status_code, start_ns) FILTER (root_name IS NOT NULL), arg_min(root_name, start_ns),
  {", ".join(f"list_sort(list_distinct(flatten(list({name}))))" for name in _LISTS.values())},
  sum(input_tokens), sum(output_tokens), sum(cost_usd), min(session_id), min(user_id),
  arg_min(input_text, start_ns) FILTER (input_text IS NOT NULL)
FROM parts WHERE trace_id IN (SELECT trace_id FROM touched WHERE segments > 1 AND hash(trace_id) % $of = $piece)
GROUP BY trace_id
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What traces the list shows. Empty asks nothing."""

    service: str = ""
    agent: str = ""
    model: str = ""
    tool: str = ""
    session: str = ""
    user: str = ""
    status: str = ""  # ok, error or unset, of the root; failed: any span
    min_seconds: float | None = None
    min_tokens: int | None = None
    min_cost: float | None = None

    @property
    def any(self) -> bool:
        """Whether anything is asked."""
        return any(getattr(self, one.name) not in ("", None) for one in fields(self))


# Filter → condition for its parameter; names were looked up in `names`, so that case does not matter.
_CONDITIONS = {
    **{name: f"list_has_any({column}, ?::VARCHAR[])" for name, column in _LISTS.items()},
    "session": "session_id = ?",
    "user": "user_id = ?",
    "status": "CASE WHEN ? = 'failed' THEN error_count > 0 ELSE status_code = upper(?) END",
    "min_seconds": "end_ns - start_ns >= ? * 1e9 AND start_ns > 0",
    "min_tokens": "coalesce(input_tokens, 0) + coalesce(output_tokens, 0) >= ?",
    "min_cost": "cost_usd >= ?",
}


class TraceIndex:
    """The index of one data directory. Any thread may ask; one at a time brings it up to date."""

    def __init__(self, data_dir: Path) -> None:
        self._directory = data_dir / "segments"
        self._writing = threading.Lock()
        self._connection = _opened(data_dir / "cache")
        self._closing = False
        self.waiting = 0  # segments that are not in it yet
        self.faults: dict[str, str] = {}  # segments that cannot be read, and why; tried again when the page starts

    def close(self) -> None:
        """Let go of the file; a segment that is being read is read again by the next page."""
        self._closing = True
        with self._writing:
            self._connection.close()

    def refresh(self) -> None:
        """Take in the segments that came, the newest first, and drop what is gone."""
        with self._writing:
            entries, damaged = manifest.current(self._directory)
            current = {entry.name: entry for entry in entries}
            cursor = self._connection.cursor()
            known = dict(cursor.execute("SELECT name, number FROM segments").fetchall())
            gone = {name: number for name, number in known.items() if name not in current}
            faults = {path.name: "it is damaged" for path in damaged}
            self.faults = {name: fault for name, fault in self.faults.items() if name in current} | faults
            fresh = current.keys() - known.keys() - self.faults.keys()
            new = sorted((current[name] for name in fresh), key=_newest, reverse=True)
            self.waiting = len(new)
            while new and not self._closing:
                self._take_in(cursor, new[:BATCH], gone)
                new = new[BATCH:]
            if gone and not self._closing:
                with _transaction(cursor):
                    self._drop(cursor, list(gone.values()))

    def _take_in(self, cursor: duckdb.DuckDBPyConnection, new: Sequence[Entry], gone: dict[str, int]) -> None:
        came = {self._directory / entry.name: entry for entry in new}
        with (
            tempfile.TemporaryDirectory(prefix="halo-page-") as folder,
            contextlib.closing(segment_traces.read(list(came), Path(folder))) as reading,
        ):
            for path, found, fault in reading:
                if self._closing:
                    return
                if found is None:
                    if path.exists():  # else it was merged meanwhile
                        self.faults[path.name] = fault
                else:
                    replaced = [gone.pop(name) for name in came[path].replaces if name in gone]
                    with _transaction(cursor):
                        self._add(cursor, path.name, found, replaced)
                    found.unlink()
                self.waiting -= 1

    def _add(self, cursor: duckdb.DuckDBPyConnection, name: str, found: Path, replaced: list[int]) -> None:
        [number] = cursor.execute("SELECT coalesce(max(number), 0) + 1 FROM segments").fetchone() or [1]
        cursor.execute("INSERT INTO segments VALUES (?, ?)", [name, number])
        cursor.execute(f"INSERT INTO parts SELECT {number}, * FROM read_parquet('{found}')")
        for kind, column in _LISTS.items():
            cursor.execute(
                f"INSERT INTO names SELECT DISTINCT '{kind}', unnest({column}) FROM parts "
                f"WHERE segment = {number} EXCEPT FROM names"
            )
        self._drop(cursor, replaced, beside=number)

    def _drop(self, cursor: duckdb.DuckDBPyConnection, gone: Sequence[int], *, beside: int = 0) -> None:
        """Take segments out, and put the traces together again of which they, or a new one, hold a part."""
        numbers = ", ".join(map(str, [*gone, beside]))
        cursor.execute(
            f"CREATE OR REPLACE TEMP TABLE changed AS SELECT DISTINCT trace_id FROM parts WHERE segment IN ({numbers})"
        )
        for table, column in (("parts", "segment"), ("segments", "number")):
            if gone:
                cursor.execute(f"DELETE FROM {table} WHERE {column} IN ({', '.join(map(str, gone))})")
        cursor.execute("DELETE FROM traces WHERE trace_id IN (FROM changed)")
        cursor.execute(
            "CREATE OR REPLACE TEMP TABLE touched AS SELECT trace_id, count(*) AS segments FROM parts "
            "WHERE trace_id IN (FROM changed) GROUP BY trace_id"
        )
        cursor.execute(f"INSERT INTO traces {_ALONE}")
        [several] = cursor.execute("SELECT count(*) FROM touched WHERE segments > 1").fetchone() or [0]
        pieces = -(-several // MOST_TOGETHER)
        for piece in range(pieces):
            cursor.execute(f"INSERT INTO traces {_TOGETHER}", {"of": pieces, "piece": piece})

    def count(self) -> int:
        """Return how many traces there are."""
        [number] = self._connection.cursor().execute("SELECT count(*) FROM traces").fetchone() or [0]
        return int(number)

    def names(self) -> dict[str, list[str]]:
        """Return what traces may be filtered by: services, agents, models and tools."""
        rows = self._connection.cursor().execute("SELECT kind, name FROM names ORDER BY ALL").fetchall()
        return {kind: [name for of, name in rows if of == kind][:MAX_NAMES] for kind in _LISTS}

    def page(
        self,
        wanted: Wanted,
        limit: int,
        *,
        after: tuple[int, str] | None = None,
        among: Iterable[str] | None = None,
    ) -> list[dict[str, Any]]:
        """Return the newest traces that pass, those that come after (start, id) alone, and of `among` alone."""
        cursor = self._connection.cursor()
        condition, values = _condition(cursor, wanted)
        if after is not None:
            condition += " AND (start_ns < ? OR (start_ns = ? AND trace_id > ?))"
            values += [after[0], *after]
        if among is not None:
            condition += " AND trace_id IN (SELECT unnest(?::VARCHAR[]))"
            values.append(sorted(among))
        order = "ORDER BY start_ns DESC, trace_id"
        chosen = f"SELECT rowid FROM traces WHERE {condition} {order} LIMIT {int(limit)}"
        return _dicts(cursor.execute(f"SELECT * FROM traces WHERE rowid IN ({chosen}) {order}", values))

    def find(self, trace_id: str) -> dict[str, Any] | None:
        """Return the row of a trace."""
        found = _dicts(self._connection.cursor().execute("SELECT * FROM traces WHERE trace_id = ?", [trace_id]))
        return found[0] if found else None

    def neighbours(self, row: dict[str, Any]) -> tuple[str | None, str | None, int, int]:
        """Return the traces of the same session before and after one, its place among them, and their number."""
        asked = [row["session_id"]]
        order = "SELECT trace_id FROM traces WHERE session_id = ? ORDER BY start_ns, trace_id LIMIT 10000"
        ids = [one for (one,) in self._connection.cursor().execute(order, asked).fetchall()]
        if row["trace_id"] not in ids:
            return None, None, 0, 0
        at = ids.index(row["trace_id"])
        return ids[at - 1] if at else None, ids[at + 1] if at + 1 < len(ids) else None, at + 1, len(ids)


def _newest(entry: Entry) -> tuple[int, str]:
    return entry.last_received_ns, entry.name


def _condition(cursor: duckdb.DuckDBPyConnection, wanted: Wanted) -> tuple[str, list[Any]]:
    parts, values = ["true"], []
    for name, sql in _CONDITIONS.items():
        value = getattr(wanted, name)
        if value in ("", None):
            continue
        if name in _LISTS:
            spelled = "SELECT name FROM names WHERE kind = ? AND lower(name) = lower(?)"
            value = [one for (one,) in cursor.execute(spelled, [name, value]).fetchall()]
        parts.append(f"({sql})")
        values += [value] * sql.count("?")
    return " AND ".join(parts), values


def _dicts(cursor: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


@contextlib.contextmanager
def _transaction(cursor: duckdb.DuckDBPyConnection) -> Any:
    cursor.execute("BEGIN")
    try:
        yield
    except BaseException:
        cursor.execute("ROLLBACK")
        raise
    cursor.execute("COMMIT")


def _opened(cache: Path) -> duckdb.DuckDBPyConnection:
    """Open the index, or make it: in memory where the file cannot be had, for another page has it, or may not be."""
    config: dict[str, Any] = {"memory_limit": MEMORY, "threads": 2}
    path = cache / INDEX_FILE
    with contextlib.suppress(OSError):
        cache.mkdir(parents=True, exist_ok=True)
    for again in (False, True):
        try:
            connection = duckdb.connect(str(path), config=config)
            if _is_current(connection):
                return connection
            connection.close()
        except duckdb.IOException as error:
            if "lock" in str(error):
                break
        except duckdb.Error:
            pass
        if not again:
            for made in (path, path.with_name(f"{INDEX_FILE}.wal")):
                with contextlib.suppress(OSError):
                    made.unlink(missing_ok=True)
    connection = duckdb.connect(":memory:", config=config)
    connection.execute(_SCHEMA)
    return connection


def _is_current(connection: duckdb.DuckDBPyConnection) -> bool:
    if not connection.execute("SELECT 1 FROM duckdb_tables()").fetchone():
        connection.execute(_SCHEMA)
    return connection.execute("SELECT version FROM version").fetchall() == [(VERSION,)]

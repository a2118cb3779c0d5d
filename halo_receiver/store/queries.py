"""Named questions to a reader, answered as plain JSON values."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any

import duckdb
import orjson

from halo_receiver.errors import InputError
from halo_receiver.store.reader import Reader

READABLE = ("SELECT", "EXPLAIN")
NEWEST = ("last", "latest")  # instead of a trace's id
TABLES = ("spans", "traces", "logs")  # what the contract names; the reader's own begin with an underscore
_SHOW_TABLES = re.compile(r"SHOW\s+(ALL\s+)?TABLES", re.IGNORECASE)
_OWN_TABLE = re.compile(r'\s*Did you mean "(?:\w+\.)*_\w+"\?')


def check_readable(reader: Reader, sql: str) -> str:
    """Return `sql` without its last semicolon. Raises InputError unless it is one statement that only reads."""
    try:
        statements = reader.connection.extract_statements(sql)
    except duckdb.Error as error:
        raise InputError(f"the SQL does not parse: {_first_lines(error)}") from None
    if len(statements) != 1:
        raise InputError(
            f"the SQL holds {len(statements)} statements, one is expected",
            hint="the tables are spans, traces and logs; try: SELECT name, count(*) FROM spans GROUP BY ALL",
        )
    kind = statements[0].type.name
    if kind not in READABLE:
        raise InputError(f"{kind} is not allowed: the store is read only", hint="begin with SELECT, WITH or FROM")
    return str(statements[0].query).strip().rstrip(";").strip()


def json_rows(
    reader: Reader,
    sql: str,
    parameters: list[Any] | None = None,
    *,
    limit: int | None = None,
    resolve: bool = True,
) -> tuple[list[str], list[dict[str, Any]]]:
    """Run one reading statement and return its column names and rows as the `--format json` contract has them.

    `resolve`: spans belong to the agent above them, which takes a pass over all that is open.
    JSON columns and lists come nested, times as ISO-8601 UTC with nine digits and Z. Raises InputError with
    DuckDB's own words when the statement is wrong.
    """
    text = check_readable(reader, sql)
    if _SHOW_TABLES.fullmatch(text):
        text = f"SELECT unnest({list(TABLES)}) AS name"
    if resolve:
        reader.resolve_agents(text)
    try:
        if text.upper().startswith("EXPLAIN"):
            return ["plan"], [{"plan": str(row[-1])} for row in reader.connection.execute(text).fetchall()]
        described = reader.connection.execute(f"DESCRIBE {text}", parameters).fetchall()
        bound = f" LIMIT {limit}" if limit is not None else ""
        cursor = reader.connection.execute(f"SELECT to_json(_row) FROM ({text}) _row{bound}", parameters)
        rows = [_loads(row[0]) for row in cursor.fetchall()]
    except duckdb.Error as error:
        raise InputError(f"the query failed: {_first_lines(error)}", hint=_hint(error)) from None
    kinds = {row[0]: row[1] for row in described}
    times = [name for name, kind in kinds.items() if "TIMESTAMP" in kind]
    for row in rows:
        for name in times:
            row[name] = _times(row[name], kinds[name])
    return list(kinds), rows


def spans_of(reader: Reader, columns: str, ids: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """Return `columns` of the spans with these (trace_id, span_id), as `json_rows` writes them.

    The traces are named in the statement: then the scan of the segments passes over what holds none of them, and reads
    the texts of little else. 300 of a million spans take 0.5 s of CPU so, and 7 s by a join with a table of them.
    Where nobody asks for the agents they are not joined to all spans first.
    """
    if not ids:
        return []
    wanted = sorted(ids)
    traces = sorted({trace_id for trace_id, _ in wanted})
    named = ", ".join(f"${number}" for number in range(3, len(traces) + 3))
    view = "spans" if "agent_name" in columns or "*" in columns.split() else "_own_spans"
    sql = (
        f"SELECT {columns} FROM {view} WHERE trace_id IN ({named}) AND (trace_id, span_id) IN "
        "(SELECT (unnest($1::VARCHAR[]), unnest($2::VARCHAR[])))"
    )
    places = [[one[part] for one in wanted] for part in (0, 1)]
    return json_rows(reader, sql, [*places, *traces])[1]


def bounded_rows(
    reader: Reader, text: str, parameters: list[Any] | None = None, *, max_rows: int, max_bytes: int
) -> tuple[list[str], list[dict[str, Any]], bool]:
    """Run a SELECT that was checked, and return its column names, its first rows as `json_rows` writes them, and
    whether there are more. Rows are read until there are `max_rows`, or until their text passes `max_bytes`."""
    reader.resolve_agents(text)
    try:
        described = reader.connection.execute(f"DESCRIBE FROM ({text})", parameters).fetchall()
        kinds = {row[0]: row[1] for row in described}
        cursor = reader.connection.execute(f"SELECT to_json(_row)::VARCHAR FROM ({text}) _row", parameters)
        rows: list[dict[str, Any]] = []
        size, more = 0, False
        while (fetched := cursor.fetchone()) is not None:
            size += len(fetched[0])
            if len(rows) >= max_rows or (rows and size > max_bytes):
                more = True
                break
            rows.append({name: _times(value, kinds.get(name, "")) for name, value in _loads(fetched[0]).items()})
    except duckdb.Error as error:
        raise InputError(f"the query failed: {_first_lines(error)}", hint=_hint(error)) from None
    return list(kinds), rows, more


def _loads(text: str) -> dict[str, Any]:
    try:
        loaded: dict[str, Any] = orjson.loads(text)
    except orjson.JSONDecodeError:  # NaN and infinities are not JSON: shown as null
        loaded = json.loads(text, parse_constant=lambda _: None)
    return loaded


def _times(value: Any, kind: str) -> Any:
    """Write the times in a value of that DuckDB type; its structs keep their members' names."""
    if isinstance(value, str) and kind.startswith("TIMESTAMP"):
        head, _, fraction = value.removesuffix("+00").partition(".")
        return f"{head.replace(' ', 'T')}.{fraction.ljust(9, '0')[:9]}Z"
    if isinstance(value, list):
        return [_times(item, kind[:-2]) for item in value]
    if isinstance(value, dict) and kind.startswith("STRUCT("):
        members = _members(kind)
        return {name: _times(item, members.get(name, "")) for name, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _members(kind: str) -> dict[str, str]:
    """Split `STRUCT(a INTEGER, "time" TIMESTAMP_NS, …)` into its members and their types."""
    members, depth, start = {}, 0, 0
    inner = kind[len("STRUCT(") : kind.rindex(")")]
    for place, character in enumerate(f"{inner},"):
        depth += (character in "([") - (character in ")]")
        if character == "," and depth == 0:
            name, _, type_name = inner[start:place].strip().partition(" ")
            members[name.strip('"')] = type_name
            start = place + 1
    return members


def _first_lines(error: Exception) -> str:
    return " ".join(_OWN_TABLE.sub("", str(error).split("\n\n")[0]).split())


def _hint(error: Exception) -> str:
    text = str(error)
    if "does not exist" in text or "not found" in text:
        return f"the tables are {TABLES[0]}, {TABLES[1]} and {TABLES[2]}; 'DESCRIBE spans' names the columns"
    return ""


def trace_spans(reader: Reader, trace_id: str) -> list[dict[str, Any]]:
    """Return the spans of a trace in order of their start. An id may be shortened to a prefix that only one trace has.

    `last` is the trace that started last. Raises InputError when no trace, or more than one, has that id.
    """
    if trace_id.lower() in NEWEST:
        newest = reader.query("SELECT trace_id FROM traces ORDER BY start_time DESC NULLS LAST, trace_id LIMIT 1")
        trace_id = newest[0]["trace_id"] if newest else trace_id
    found = reader.query(
        "SELECT DISTINCT trace_id FROM traces WHERE trace_id = $1 OR starts_with(trace_id, lower($1)) LIMIT 3",
        [trace_id],
    )
    exact = [row["trace_id"] for row in found if row["trace_id"] == trace_id] or [row["trace_id"] for row in found]
    if not exact:
        raise InputError(f"there is no trace {trace_id}", hint="'halo traces' lists the traces")
    if len(exact) > 1:
        raise InputError(f"more than one trace begins with {trace_id}", hint="write more of the id")
    return json_rows(reader, "SELECT * FROM spans WHERE trace_id = $1 ORDER BY start_time, span_id", [exact[0]])[1]


def only(*, services: Sequence[str] = (), agents: Sequence[str] = ()) -> str | None:
    """Return the condition on span rows that picks the traces of some services or agents; None for all."""
    parts = []
    for column, values in (("service_name", services), ("agent_name", agents)):
        if values:
            quoted = ", ".join("'" + value.replace("'", "''") + "'" for value in values)
            parts.append(f"{column} IN ({quoted})")
    return " AND ".join(parts) or None

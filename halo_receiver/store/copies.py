"""Which of several copies of a span is kept, and when the others arrived.

A client sends a span again when it did not hear the answer, and some export it twice by design: when it starts, and
when it ends. Of the rows of one trace and span id the most finished is kept, whatever arrived first. In this order:

1. one with an end time before one without; a time before the start, or beyond what 64 bits of nanoseconds hold, is
   none;
2. one whose status is OK or ERROR before one that is UNSET;
3. the later end time;
4. the later arrival. Identical rows count as the first of them, so that a retry moves no span to another window and
   replaces nothing that came in between.

Whoever seals, merges or reads asks `superseded`. The arrivals of rows that were left out stay in the segment
(`ARRIVALS`), because a trace settles by the arrivals of everything that came of it.
"""

from __future__ import annotations

from collections.abc import Mapping

import duckdb

ARRIVALS = "copy_arrivals"  # a table of the segments in which copies were left out, and of no others
_ARRIVALS_SQL = "CREATE TABLE IF NOT EXISTS segment.copy_arrivals (trace_id VARCHAR, received_at TIMESTAMP_NS)"

_ENDED_AT = "CASE WHEN isfinite(end_time) AND end_time >= coalesce(start_time, end_time) THEN end_time END"
_FINISHED = "ended_at IS NOT NULL DESC, coalesce(status_code, 'UNSET') <> 'UNSET' DESC, ended_at DESC"
_ROW = "source, place, trace_id, span_id, received_at"


def superseded(tables: Mapping[int, str], where: str = "true") -> str:
    """Return the SELECT of the rows that another copy of their span replaces.

    `tables` are tables with the columns of span_rows, by the number that the rows show as `source`; `where` restricts
    their rows. Columns: source, place (rowid), trace_id, span_id, received_at. Contents are compared of rows
    that are equally finished alone: whoever exports each span twice sends few of those.
    """
    keys = " UNION ALL ".join(f"SELECT trace_id, span_id FROM {table} WHERE {where}" for table in tables.values())
    rows = " UNION ALL ".join(
        f"SELECT {number} AS source, rowid AS place, trace_id, span_id, received_at, status_code, "
        f"{_ENDED_AT} AS ended_at FROM {table} WHERE {where} AND (trace_id, span_id) IN (FROM several)"
        for number, table in tables.items()
    )
    contents = " UNION ALL ".join(
        f"SELECT {number} AS source, rowid AS place, hash(*COLUMNS(* EXCLUDE (received_at))) AS content FROM {table} "
        f"WHERE rowid IN (SELECT place FROM tied WHERE source = {number})"
        for number, table in tables.items()
    )
    return f"""
    WITH several AS MATERIALIZED (SELECT trace_id, span_id FROM ({keys}) GROUP BY ALL HAVING count(*) > 1),
    ranked AS MATERIALIZED (
      SELECT *, rank() OVER (PARTITION BY trace_id, span_id ORDER BY {_FINISHED}) AS standing FROM ({rows})
    ),
    tied AS MATERIALIZED (
      FROM ranked WHERE standing = 1 QUALIFY count(*) OVER (PARTITION BY trace_id, span_id) > 1
    ),
    told AS (
      SELECT *, min(row(received_at, source, place)) OVER (PARTITION BY trace_id, span_id, content) AS new_at
      FROM tied JOIN ({contents}) USING (source, place)
    )
    SELECT {_ROW} FROM ranked WHERE standing > 1
    UNION ALL
    SELECT {_ROW} FROM told
    QUALIFY row_number() OVER (PARTITION BY trace_id, span_id ORDER BY new_at DESC, received_at, source, place) > 1
    """


def arrivals(connection: duckdb.DuckDBPyConnection, database: str) -> str:
    """Return the SELECT (trace_id, received_at) of all that arrived in an attached segment, kept or not."""
    kept = f"SELECT trace_id, received_at FROM {database}.span_rows"
    return f"{kept} UNION ALL FROM {database}.{ARRIVALS}" if _there(connection, database) else kept


def note(connection: duckdb.DuckDBPyConnection, rows: str) -> None:
    """Store the arrivals of rows (trace_id, received_at) that are left out of `segment`, the one being written."""
    if connection.execute(f"SELECT 1 FROM {rows} LIMIT 1").fetchone():
        connection.execute(_ARRIVALS_SQL)
        connection.execute(f"INSERT INTO segment.{ARRIVALS} SELECT DISTINCT trace_id, received_at FROM {rows}")


def carry_over(connection: duckdb.DuckDBPyConnection, source: str) -> None:
    """Copy the arrivals that an attached segment holds into `segment`, which takes its place."""
    if _there(connection, source):
        note(connection, f"{source}.{ARRIVALS}")


def _there(connection: duckdb.DuckDBPyConnection, database: str) -> bool:
    found = connection.execute(
        "SELECT 1 FROM duckdb_tables() WHERE database_name = $1 AND table_name = $2", [database, ARRIVALS]
    )
    return found.fetchone() is not None

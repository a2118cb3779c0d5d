"""query_sql: one SELECT over the contract's tables."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from halo_worker.analysis.tools.fit import CUT, NOTE_BYTES, ROWS_BYTES, cut_values, for_model, size, take
from halo_worker.analysis.tools.shared import Desk, tool
from halo_worker.rlm.tool import MODEL_BYTES, Tool, ToolError

WHOLE = 10**9
# Columns that hold what somebody said, also as `left(output_text, 500)`.
_TEXT = re.compile(r"\b(input|output)_(text|messages)\b|\battributes\b|\bevents\b")
CELL_CHARACTERS = (2000, 500, 160)  # the first under which a good part of the rows fits


def sql_tool(desk: Desk) -> Tool:
    """Return the tool."""

    async def call(arguments: dict[str, Any], max_bytes: int) -> Any:
        sql = arguments.get("sql") or arguments.get("query")
        if not isinstance(sql, str) or not sql.strip():
            raise ToolError("sql is missing: one SELECT over spans, traces and logs")
        return await query_sql(desk, sql, for_model(max_bytes, ROWS_BYTES), whole=max_bytes > MODEL_BYTES)

    return tool(
        "query_sql",
        "One SELECT (DuckDB) over the SQL tables. For counting, grouping, joining.",
        {"sql": {"type": "string"}},
        call,
        required=["sql"],
    )


async def query_sql(desk: Desk, sql: str, max_bytes: int, *, whole: bool = False) -> dict[str, Any]:
    """Return the rows as lists, the number of all of them, and what was left out.

    `whole`: for code, which may compute with what it gets: no cell is shortened, rows are left out instead (`has_more`).
    """
    found = await desk.questions.select(sql, max_bytes=max(max_bytes * 4, 2**20))
    total = found.total if found.total is not None else len(found.rows)
    columns = take(found.columns, max_bytes // 2)
    rows = [[row.get(name) for name in columns] for row in found.rows]
    head: dict[str, Any] = {"columns": columns, "total": total}
    shown: list[Any] = []
    for characters in (WHOLE,) if whole else (WHOLE, *CELL_CHARACTERS):
        short = [cut_values(row, characters) for row in rows]
        shown = take(short, max_bytes - size(head) - NOTE_BYTES)
        if len(shown) == len(rows) or characters == CELL_CHARACTERS[-1]:
            break
    if whole and rows and not shown:
        raise ToolError(
            f"one row has {size(rows[0]):,} bytes, {max_bytes:,} are the most at once: select fewer columns, read long "
            "texts in batches of rows, or in parts with substr(text, start, length)"
        )
    cut = sum(isinstance(one, str) and CUT in one for row in shown for one in row)
    result = {**head, **({"cut_cells": cut} if cut else {}), "rows": shown}
    if whole:
        result["has_more"] = len(shown) < total
    if len(columns) < len(found.columns):
        result["columns_left_out"] = len(found.columns) - len(columns)
    if len(shown) < total:
        result["left_out"] = f"{total - len(shown)} rows: group, filter, or page with LIMIT and OFFSET"
    await _remember_read(desk, columns, shown, max_bytes)
    desk.saw(shown)
    desk.saw(total)
    return result


async def _remember_read(desk: Desk, columns: Sequence[str], rows: Sequence[Sequence[Any]], max_bytes: int) -> None:
    """Remember the traces whose texts rows hold, as far as the rows name them."""
    texts = [place for place, name in enumerate(columns) if _TEXT.search(name)]
    if "trace_id" not in columns or not texts:
        return
    of = columns.index("trace_id")
    named = {str(row[of]) for row in rows if any(isinstance(row[at], str) for at in texts)}
    # What stands in that column is what the statement says.
    known = await desk.questions.rows(
        "SELECT trace_id FROM traces WHERE list_contains(?, trace_id)", [sorted(named)], max_rows=len(rows)
    )
    desk.show((row["trace_id"] for row in known.rows), max_bytes)

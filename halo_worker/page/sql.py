"""The SQL console: one read-only SELECT over spans, traces and logs, with the schema and what was asked before."""

from __future__ import annotations

import csv
import io
import json
import time
from functools import cache
from typing import Any
from urllib.parse import quote

from aiohttp import web

from halo_worker.analysis.questions.client import MAX_ROWS, Rows
from halo_worker.display import cut
from halo_worker.page import security
from halo_worker.page.console import RANGES, USUAL, Console, schema
from halo_worker.page.data import DATA
from halo_worker.page.rendering import render
from halo_worker.rlm.tool import ToolError

SHOWN_ROWS = 500
CELL_CHARACTERS = 400  # of a value in the table; the files hold it whole
MAX_SQL = 20_000  # characters
EXAMPLES = (
    ("Traces by agent, with errors", "SELECT unnest(agent_names) AS agent, count(*) AS traces, "
     "count(*) FILTER (error_count > 0) AS with_errors\nFROM traces GROUP BY 1 ORDER BY 2 DESC"),
    ("Tools that fail", "SELECT tool_name, count(*) AS calls, count(*) FILTER (status_code = 'ERROR') AS failed\n"
     "FROM spans WHERE span_type = 'tool' GROUP BY 1 ORDER BY failed DESC"),
    ("Cost by model", "SELECT model, sum(input_tokens) AS input, sum(output_tokens) AS output, sum(cost_usd) AS usd\n"
     "FROM spans WHERE span_type = 'llm' GROUP BY 1 ORDER BY usd DESC"),
    ("Slowest traces", "SELECT trace_id, root_name, duration_ns / 1e9 AS seconds\nFROM traces "
     "ORDER BY 3 DESC LIMIT 20"),
)  # fmt: skip

CONSOLE = web.AppKey("console", Console)
_schema = cache(schema)


async def show(request: web.Request) -> web.Response:
    """Show the console; `q` of the address fills it in and runs nothing."""
    return await _page(request, sql=request.query.get("q", ""), over=_range(request.query.get("over", "")))


async def ask(request: web.Request) -> web.StreamResponse:
    """Run a statement and show its rows, or hand them out as a file."""
    form = await request.post()
    sql, form_of = str(form.get("sql", ""))[:MAX_SQL].strip(), str(form.get("format", "table"))
    over, console = _range(str(form.get("over", ""))), request.app[CONSOLE]
    if not sql:
        return await _page(request, over=over, problem="Write one SELECT over spans, traces or logs.")
    console.remember(security.session_of(request), sql)
    began = time.monotonic()
    try:
        found = await console.ask(sql, over, max_rows=SHOWN_ROWS if form_of == "table" else MAX_ROWS)
    except ToolError as error:
        return await _page(request, sql=sql, over=over, problem=getattr(error, "said", "") or str(error))
    if form_of in ("csv", "json"):
        return _file(found, form_of)
    return await _page(request, sql=sql, over=over, found=found, seconds=time.monotonic() - began)


def _range(asked: str) -> str:
    return asked if asked in RANGES else USUAL


async def _page(
    request: web.Request,
    *,
    sql: str = "",
    over: str,
    found: Rows | None = None,
    seconds: float = 0.0,
    problem: str = "",
) -> web.Response:
    columns = await request.app[DATA].blocking(_schema)
    asked = request.app[CONSOLE].history(security.session_of(request))
    return render(
        request, "sql.html.j2", status=400 if problem else 200, sql=sql, over=over, ranges=tuple(RANGES),
        schema=columns, problem=problem, found=found, seconds=seconds,
        rows=[[_cell(row.get(name)) for name in found.columns] for row in found.rows] if found else [],
        numeric=_numeric(found) if found else [],
        history=[(one, f"/sql?over={over}&q={quote(one, safe='')}") for one in asked],
        examples=[(name, f"/sql?over={over}&q={quote(text, safe='')}") for name, text in EXAMPLES],
    )  # fmt: skip


def _cell(value: Any) -> str:
    return cut(_text(value), CELL_CHARACTERS)


def _text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _numeric(found: Rows) -> list[bool]:
    def is_number(value: Any) -> bool:
        return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))

    return [all(is_number(row.get(name)) for row in found.rows) for name in found.columns]


def _file(found: Rows, form: str) -> web.Response:
    if form == "json":
        body, kind = json.dumps(found.rows, ensure_ascii=False, indent=1), "application/json"
    else:
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(found.columns)
        writer.writerows([[_text(row.get(name)) for name in found.columns] for row in found.rows])
        body, kind = buffer.getvalue(), "text/csv"
    response = web.Response(text=body, content_type=kind)
    response.headers["Content-Disposition"] = f'attachment; filename="halo.{form}"'
    if found.more:
        response.headers["X-Halo-Rows"] = f"the first {len(found.rows)} of {found.total or 'more'}"
    return response


async def start(app: web.Application) -> None:
    """Have a console; its process starts with the first question."""
    app[CONSOLE] = Console(app[DATA])


async def stop(app: web.Application) -> None:
    """End the process of the console."""
    await app[CONSOLE].close()


ROUTES = [web.get("/sql", show), web.post("/sql", ask)]

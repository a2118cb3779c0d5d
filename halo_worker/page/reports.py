"""The published reports: the list with its trend, and each as its file shows it, with links into the page."""

from __future__ import annotations

import contextlib
from typing import Any

from aiohttp import web

from halo_worker.errors import HaloError, ReportError
from halo_worker.page.data import DATA, Data, Line, PageLinks, Written
from halo_worker.page.paging import Paging
from halo_worker.page.rendering import part, render
from halo_worker.report import charts, formats
from halo_worker.report.archive import REPORT_FILE
from halo_worker.report.page_data import read_scene
from halo_worker.report.statistics import wilson
from halo_worker.report.view import view

PER_PAGE = 50
IN_TREND = 30  # newest reports of one schedule
MAX_WRITTEN = 8  # reports that are kept as they were written
FILES = {"json": "report.json", "md": "report.md", "affected": "affected.jsonl", "html": "report.html"}
TYPES = {
    "report.json": "application/json", "report.md": "text/markdown", "affected.jsonl": "application/jsonl",
    "report.html": "text/html",
}  # fmt: skip


async def list_reports(request: web.Request) -> web.Response:
    """List the reports, newest first, of one schedule where the address names it."""
    data = request.app[DATA]
    wanted = request.query.get("schedule")
    return render(request, "reports.html.j2", **await data.blocking(_list, data, wanted, Paging.of(request, PER_PAGE)))


def _list(data: Data, wanted: str | None, paging: Paging) -> dict[str, Any]:
    ids = data.archive.ids()
    if wanted is not None:
        ids = [line.id for line in data.lines(ids) if (line.schedule or "") == wanted]
    shown = data.lines(paging.cut(ids))
    newest = data.lines(ids[:IN_TREND])
    return {
        "reports": shown,
        "paging": paging.over(len(ids)),
        "schedule": wanted,
        "schedules": sorted({line.schedule for line in newest if line.schedule} | ({wanted} if wanted else set())),
        "trend": _trend(newest),
    }


def _trend(newest: list[Line]) -> charts.Drawn | None:
    """Draw the share of affected traces over the reports of the schedule that reported last."""
    schedule = newest[0].schedule if newest else None
    rows = [line for line in reversed(newest) if line.schedule == schedule and line.traces]
    if len(rows) < 2:
        return None
    points = [(row.affected / row.traces, *wilson(row.affected, row.traces)) for row in rows]
    title = "Traces with a failure mode" + (f", {schedule}" if schedule else ", runs by hand")
    drawn = charts.rates(title, [formats.minute(row.end)[5:] for row in rows], points)
    return charts.Drawn("affected", title, [], drawn)


async def show(request: web.Request) -> web.Response:
    """Show one report; a deep link ends in #ISSUE."""
    data = request.app[DATA]
    written = await data.blocking(write, data, request.match_info["id"])
    return render(request, "report_page.html.j2", title=written.title, body=written.body, id=written.id)


def write(data: Data, run_id: str) -> Written:
    """Write a report as its page shows it, or return what was written of it before."""
    archive = data.archive
    report = archive.load(run_id)
    stamp = (archive.directory / report.id / REPORT_FILE).stat().st_mtime_ns
    known = data.written.pop(report.id, None)
    if known is None or known.stamp != stamp:
        scene = read_scene(archive.directory / report.id)
        links, folder = PageLinks(data.settings), data.folder(report.id)
        shown = view(report, scene, index="/reports", links=links, folder=folder)
        known = Written(report.id, stamp, shown["headline"], part("report_body.html.j2", **shown))
    data.written[report.id] = known
    while len(data.written) > MAX_WRITTEN:
        data.written.pop(next(iter(data.written)))
    return known


async def file(request: web.Request) -> web.Response:
    """Hand out one of the files of a report."""
    data = request.app[DATA]
    name, body = await data.blocking(_file, data, request.match_info["id"], request.match_info["file"])
    response = web.Response(body=body, content_type=TYPES[name], charset="utf-8")
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    response.enable_compression()
    return response


def _file(data: Data, run_id: str, wanted: str) -> tuple[str, bytes]:
    archive = data.archive
    name = FILES[wanted]
    try:
        return name, (archive.directory / archive.load(run_id).id / name).read_bytes()
    except OSError as error:
        raise ReportError(f"{name} of report {run_id} cannot be read: {error.strerror}") from None


ROUTES = [
    web.get("/reports", list_reports),
    web.get("/reports/{id}", show),
    web.get(r"/reports/{id}/{file:json|md|affected|html}", file),
]


async def start(app: web.Application) -> None:
    """Write the newest report before anybody asks: its charts take most of a second on a busy machine."""
    app[DATA].pool.submit(_write_newest, app[DATA])


def _write_newest(data: Data) -> None:
    with contextlib.suppress(HaloError, OSError):
        for run_id in data.archive.ids()[:1]:
            write(data, run_id)

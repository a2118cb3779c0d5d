"""The first page: how things stand, what needs a look."""

from __future__ import annotations

from aiohttp import web

from halo_worker.page.data import DATA
from halo_worker.page.rendering import render
from halo_worker.report import headline


async def show(request: web.Request) -> web.Response:
    """Show the newest report's first sentence, and where to go on."""
    data = request.app[DATA]
    reports, _ = await data.blocking(lambda: data.archive.reports(newest=1))
    said = headline.headline(reports[0]) if reports else None
    return render(request, "home.html.j2", report=reports[0] if reports else None, said=said)


ROUTES = [web.get("/", show)]

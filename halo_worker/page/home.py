"""The first page: what the last report says, which issues are open, and how things stand."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from halo_worker import status
from halo_worker.config import Settings
from halo_worker.page import issues
from halo_worker.page.data import DATA, Data
from halo_worker.page.paging import Paging
from halo_worker.page.rendering import render

SHOWN = 6  # open issues
SAID_ELSEWHERE = ("last report", "issues")


async def show(request: web.Request) -> web.Response:
    """Show the newest report's first sentence, the open issues, and where to go on."""
    data = request.app[DATA]
    return render(request, "home.html.j2", **await data.blocking(_view, data, Paging.of(request, SHOWN)))


def _view(data: Data, paging: Paging) -> dict[str, Any]:
    ids = data.archive.until(data.clock()) or data.archive.ids()
    standing = status.rows(data.settings, data.clock(), known=data.memory())
    listed = issues.table(data, {}, paging)
    return {
        **listed,
        "reports": data.lines(ids[:1]),
        "standing": [row for row in standing if row[0] not in SAID_ELSEWHERE],
        "endpoint": _endpoint(data.settings),
    }


def _endpoint(settings: Settings) -> str:
    """Return where spans are sent, for whoever has sent none yet."""
    scheme = "https" if settings.receiver.tls_cert_file else "http"
    grpc = settings.receiver.grpc_endpoint
    return f"{scheme}://{settings.receiver.http_endpoint if grpc == 'off' else grpc}"


ROUTES = [web.get("/", show)]

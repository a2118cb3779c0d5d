"""The application: the routes of every view, and what becomes of errors."""

from __future__ import annotations

import logging
from types import ModuleType

from aiohttp import web

from halo_receiver.logs import event
from halo_worker.config import Settings
from halo_worker.errors import HaloError, ReportError
from halo_worker.page import health, home, issues, live, rendering, reports, security, sign_in, sql, trace, traces
from halo_worker.page.data import DATA, Data
from halo_worker.page.rendering import BEGUN, Stream, part_text, render

log = logging.getLogger("halo.page")

MAX_FORM_BYTES = 2**20
# Every module of views: it exports ROUTES, and may have `start(app)` and `stop(app)`.
VIEWS: tuple[ModuleType, ...] = (rendering, sign_in, home, reports, issues, traces, live, trace, sql, health)


def make_app(settings: Settings, *, port: int, options: tuple[str, ...] = ()) -> web.Application:
    """Make the page of a data directory, which will listen on `port`; `options` have other commands see the same."""
    app = web.Application(middlewares=[security.middleware, _errors], client_max_size=MAX_FORM_BYTES)
    app[DATA] = Data(settings, options)
    app[security.GUARD] = security.guard_of(settings, port)
    for views in VIEWS:
        app.add_routes(views.ROUTES)
        if hasattr(views, "start"):
            app.on_startup.append(views.start)
        if hasattr(views, "stop"):
            app.on_cleanup.append(views.stop)
    app.on_startup.append(_read_ahead)
    app.on_cleanup.append(_end_pool)
    return app


async def _read_ahead(app: web.Application) -> None:
    """Read what the first view needs before anybody asks for it."""
    app[DATA].pool.submit(app[DATA].read_ahead)


async def _end_pool(app: web.Application) -> None:
    app[DATA].pool.shutdown(wait=False, cancel_futures=True)


@web.middleware
async def _errors(request: web.Request, handler: security.Handler) -> web.StreamResponse:
    """Answer errors as pages that say what to do, and let no fault of one view end another."""
    try:
        return await handler(request)
    except web.HTTPNotFound:
        return await _say(request, 404, "There is no such page", "The navigation above leads to what there is.")
    except (web.HTTPException, ConnectionError):
        raise
    except ReportError as error:
        return await _say(request, 404, str(error), error.hint)
    except HaloError as error:
        return await _say(request, 400, str(error), error.hint)
    except Exception as error:  # noqa: BLE001 - whatever a view met, the others go on
        event(log, "request failed", level=logging.ERROR, path=request.path, reason=f"{type(error).__name__}: {error}")
        return await _say(request, 500, "The page met an error", "Its log, on the stderr of 'halo page', says which.")


async def _say(request: web.Request, status: int, what: str, hint: str) -> web.StreamResponse:
    begun: Stream | None = request.get(BEGUN)
    if begun is None:
        return render(request, "error.html.j2", status=status, what=what, hint=hint)
    await begun.break_off(request, part_text("error_part.html.j2", what=what, hint=hint))
    return begun

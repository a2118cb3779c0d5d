"""Signing in by a key, and out."""

from __future__ import annotations

import time

from aiohttp import web

from halo_worker.page import security
from halo_worker.page.rendering import render

MAX_KEY = 4096  # characters of what is taken for a key


async def show(request: web.Request) -> web.Response:
    """Ask for a key, unless none is needed."""
    if security.signed_in(request) or request.app[security.GUARD].is_open:
        raise web.HTTPSeeOther(_inside(request.query.get("next", "/")))
    return render(request, "sign_in.html.j2", next=_inside(request.query.get("next", "/")), wrong=False)


async def sign_in(request: web.Request) -> web.Response:
    """Take a key and begin a session under a new id."""
    form = await request.post()
    guard, onward = request.app[security.GUARD], _inside(str(form.get("next", "/")))
    session = guard.sign_in(str(form.get("key", ""))[:MAX_KEY].strip(), time.monotonic())
    if session is None:
        return render(request, "sign_in.html.j2", status=401, next=onward, wrong=True)
    response = web.HTTPSeeOther(onward)
    security.set_cookie(response, guard, session)
    raise response


async def sign_out(request: web.Request) -> web.Response:
    """End the session."""
    guard = request.app[security.GUARD]
    guard.sessions.pop(security.session_of(request), None)
    response = web.HTTPSeeOther(security.SIGN_IN)
    response.del_cookie(guard.cookie)
    raise response


def _inside(target: str) -> str:
    """Return a place of this page: after signing in nobody is sent elsewhere."""
    return target if target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable() else "/"


ROUTES = [web.get("/sign-in", show), web.post("/sign-in", sign_in), web.post("/sign-out", sign_out)]

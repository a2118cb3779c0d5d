"""How a view becomes a response: the templates, what they all know, times, and static files."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import quote

from aiohttp import web
from jinja2 import Environment
from markupsafe import Markup

from halo_worker.display import one_line
from halo_worker.page import security
from halo_worker.page.data import DATA, trace_path
from halo_worker.report.model import iso_nano
from halo_worker.report.rendering import environment

NAVIGATION = (
    ("/reports", "Reports"),
    ("/issues", "Issues"),
    ("/traces", "Traces"),
    ("/sql", "SQL"),
    ("/health", "Health"),
)
STATIC = (("halo_worker.page", "static"), ("halo_worker.report", "assets"))
TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
COMPRESS_FROM = 1024  # bytes


def page_text(request: web.Request, template: str, **context: Any) -> str:
    """Write a template; it knows the navigation, who looks at it, and the token that its forms send back."""
    text: str = _environment().get_template(template).render(
        path=request.path,
        navigation=NAVIGATION,
        token=security.token_of(request),
        may_act=security.may_act(request),
        signed_in=security.signed_in(request),
        now_ns=request.app[DATA].clock(),
        **context,
    )  # fmt: skip
    return text


def part_text(template: str, **context: Any) -> str:
    """Write a template that is a part of a page."""
    text: str = _environment().get_template(template).render(**context)
    return text


def render(request: web.Request, template: str, *, status: int = 200, **context: Any) -> web.Response:
    """Answer with a template."""
    text = page_text(request, template, **context)
    response = web.Response(text=text, content_type="text/html", status=status)
    if len(text) > COMPRESS_FROM:
        response.enable_compression()
    return response


def part(template: str, **context: Any) -> Markup:
    """Write a part of a page that is the same for whoever looks at it."""
    return Markup(_environment().get_template(template).render(**context))  # noqa: S704 - escaped by the template


def time_tag(unix_nano: int | None, *, relative: bool = False) -> Markup:
    """Write a moment: in UTC, and by the script in the viewer's zone, or as how long ago it was."""
    if not unix_nano:
        return Markup('<span class="soft">–</span>')
    iso = iso_nano(unix_nano)
    shown = iso[:16].replace("T", " ")
    kind = Markup(" data-relative") if relative else ""
    return Markup('<time datetime="{}"{} title="{} UTC">{} UTC</time>').format(f"{iso[:19]}Z", kind, shown, shown)


@cache
def _environment() -> Environment:
    made = environment("halo_worker.page", "halo_worker.report")
    made.filters["moment"] = time_tag
    made.filters["line"] = one_line
    made.filters["trace_path"] = trace_path
    made.filters["quoted"] = lambda text: quote(text, safe="")  # jinja's leaves slashes
    made.filters["kind"] = lambda text: text if text.isascii() and text.isalpha() and text.islower() else "other"
    made.filters["tojson_text"] = lambda value: json.dumps(value, ensure_ascii=False)
    made.filters["ago"] = lambda unix_nano: time_tag(unix_nano, relative=True)
    made.globals["static"] = static_url
    return made


async def begin_stream(request: web.Request, content_type: str, *, disposition: str = "inline") -> web.StreamResponse:
    """Begin an answer that is written bit by bit."""
    headers = {
        **security.HEADERS, "Cache-Control": "no-store", "Content-Type": f"{content_type}; charset=utf-8",
        "Content-Disposition": disposition,
    }  # fmt: skip
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    return response


@cache
def static_url(name: str) -> str:
    """Return the address of a static file, which changes with what the file holds."""
    return f"/static/{name}?{hashlib.sha256(_static(name) or b'').hexdigest()[:12]}"


@cache
def _static(name: str) -> bytes | None:
    for package, folder in STATIC:
        found = resources.files(package).joinpath(folder, name)
        if found.is_file():
            return found.read_bytes()
    return None


async def _serve_static(request: web.Request) -> web.Response:
    name = request.match_info["name"]
    kind = TYPES.get(name[name.rfind(".") :])
    body = _static(name) if kind else None
    if body is None or kind is None:
        raise web.HTTPNotFound
    response = web.Response(body=body, content_type=kind, charset="utf-8")
    response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    response.enable_compression()
    return response


ROUTES = [web.get(r"/static/{name:[\w.-]+}", _serve_static)]

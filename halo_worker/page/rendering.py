"""How a view becomes a response: the templates, what they all know, times, and static files."""

from __future__ import annotations

import hashlib
import json
import zlib
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
BEGUN: Any = web.RequestKey("begun", web.StreamResponse) if hasattr(web, "RequestKey") else "begun"
LATER = Markup("<!-- later -->")  # where what is written later stands in a page that is written bit by bit


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


class Stream(web.StreamResponse):
    """An answer that is written bit by bit, each of which is sent at once; with `packed`, as gzip."""

    def __init__(self, *, packed: bool, headers: dict[str, str]) -> None:
        super().__init__(headers=headers | ({"Content-Encoding": "gzip"} if packed else {}))
        self._packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16) if packed else None

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send a bit of it."""
        if self._packer:  # aiohttp's own compression would keep it back until there is more
            data = self._packer.compress(data) + self._packer.flush(zlib.Z_SYNC_FLUSH)
        await super().write(data)

    async def write_eof(self, data: bytes = b"") -> None:
        """Send the last bit of it."""
        if self._packer:
            data = self._packer.compress(data) + self._packer.flush()
            self._packer = None
        await super().write_eof(data)

    async def break_off(self, request: web.Request, said: str) -> None:
        """End it where it is: a page says why, anything else is seen to be incomplete by its reader."""
        if self.content_type == "text/html":
            await self.write_eof(said.encode())
        elif request.transport is not None:
            request.transport.abort()


async def begin_stream(request: web.Request, content_type: str, *, disposition: str = "inline") -> Stream:
    """Begin an answer that is written bit by bit."""
    headers = {
        **security.HEADERS, "Cache-Control": "no-store", "Content-Type": f"{content_type}; charset=utf-8",
        "Content-Disposition": disposition,
    }  # fmt: skip
    packed = content_type == "text/html" and "gzip" in request.headers.get("Accept-Encoding", "")
    response = Stream(packed=packed, headers=headers)
    security.remember(request, response)
    await response.prepare(request)
    request[BEGUN] = response
    return response


def around(request: web.Request, template: str, **context: Any) -> tuple[bytes, bytes]:
    """Write a template that has the mark of a later part; return what stands before and after it."""
    before, mark, after = page_text(request, template, later=LATER, **context).partition(LATER)
    assert mark, f"{template} has no place for what comes later"
    return before.encode(), after.encode()


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

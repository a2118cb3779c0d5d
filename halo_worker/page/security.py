"""Who may see the page and act on it.

Without read or operator keys in [auth] it is open, and listens on loopback alone. With one, a person signs in by the
key, once: a random id in a cookie stands for it from then on (HttpOnly, SameSite), and is forgotten when the process
ends. A read key sees everything, an operator key may decide and run. A page of another site can do nothing: actions
are POST, name their origin and send a token back that only this page's forms hold; and an open page answers to the
names of this machine alone, so that no foreign name can be pointed at it.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from aiohttp import web

from halo_receiver.auth import Keys, Role, Verdict
from halo_worker.config import Settings
from halo_worker.display import is_loopback
from halo_worker.errors import ConfigError

SESSION_SECONDS = 12 * 3600.0
MAX_SESSIONS = 1000  # signed in at once; the oldest is forgotten
MAX_FAILURES, FAILURE_SECONDS = 20, 60.0  # wrong keys in that time, after which sign-in waits
SIGN_IN = "/sign-in"
OPEN_PATHS = (SIGN_IN, "/static/")  # seen without a key
READ_ONLY_POSTS = ("/sql", "/sign-out", SIGN_IN)  # what a read key may send
TOKEN_FIELD, TOKEN_HEADER = "token", "X-Halo-Token"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Guard:
    """The rules of one page, and who is signed in."""

    keys: Keys
    cookie: str  # its name: cookies do not tell the ports of a host apart
    secure: bool  # browsers speak TLS with us, or with the proxy before us
    hosts: frozenset[str] | None  # names it answers to; None: any
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    sessions: dict[str, tuple[Role, float]] = field(default_factory=dict)
    failures: list[float] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        """Whether no key is asked for."""
        return self.keys.open[Role.READ]

    def sign_in(self, key: str, now: float) -> str | None:
        """Return the id of a new session; None where the key is wrong, or too many were."""
        self.failures = [at for at in self.failures if now - at < FAILURE_SECONDS]
        header = f"Bearer {key}"
        if len(self.failures) >= MAX_FAILURES:
            return None
        if self.keys.judge(header, Role.READ) is not Verdict.ALLOWED:
            self.failures.append(now)
            return None
        may_operate = self.keys.judge(header, Role.OPERATE) is Verdict.ALLOWED
        session = secrets.token_urlsafe(32)
        while len(self.sessions) >= MAX_SESSIONS:
            self.sessions.pop(next(iter(self.sessions)))
        self.sessions[session] = (Role.OPERATE if may_operate else Role.READ, now + SESSION_SECONDS)
        return session

    def role(self, session: str, now: float) -> Role | None:
        """Return what a session may do; None where there is none."""
        if self.is_open:
            return Role.OPERATE
        role, ends = self.sessions.get(session, (None, 0.0))
        return role if now < ends else None

    def token(self, session: str) -> str:
        """Return the token that the forms of a session send back."""
        return hmac.new(self.secret, session.encode(), hashlib.sha256).hexdigest()


GUARD = web.AppKey("guard", Guard)
# aiohttp warns of plain keys from the release on that has this one.
_SESSION: Any = web.RequestKey("session", str) if hasattr(web, "RequestKey") else "session"
_FRESH: Any = web.RequestKey("fresh", bool) if hasattr(web, "RequestKey") else "fresh"


def guard_of(settings: Settings, port: int) -> Guard:
    """Make the guard of a page that listens on `port`."""
    page = settings.page
    named = urlsplit(page.url).hostname if page.url else None
    return Guard(
        Keys.of(settings.auth, settings.receiver),
        cookie=f"halo_{port}",
        secure=page.behind_tls_proxy or serves_tls(settings),
        hosts=frozenset(filter(None, [_host(page.endpoint), named])) if _is_local(page.endpoint) else None,
    )


def serves_tls(settings: Settings) -> bool:
    """Whether the page itself speaks TLS: beyond loopback, with the receiver's certificate."""
    beyond = settings.page.endpoint != "off" and not _is_local(settings.page.endpoint)
    return beyond and not settings.page.behind_tls_proxy and settings.receiver.tls_cert_file is not None


def check(settings: Settings) -> None:
    """Refuse what shows the page to strangers: beyond loopback, without TLS or without a key. Raises ConfigError."""
    endpoint, page = settings.page.endpoint, settings.page
    if endpoint == "off" or _is_local(endpoint):
        return
    missing = []
    if not (page.behind_tls_proxy or settings.receiver.tls_cert_file):
        missing.append("TLS")
    if not (settings.auth.read_keys or settings.auth.operator_keys):
        missing.append("a key")
    if missing:
        raise ConfigError(
            f"[page] endpoint {endpoint} is reached from other machines, without {' and without '.join(missing)}",
            hint="set [receiver] tls_cert_file and tls_key_file (or [page] behind_tls_proxy) and [auth] read_keys or "
            "operator_keys; or leave it on 127.0.0.1 and reach it by 'ssh -L'",
        )


def _host(endpoint: str) -> str:
    return endpoint.rpartition(":")[0].strip("[]")


def _is_local(endpoint: str) -> bool:
    return is_loopback(f"http://{endpoint}")


@web.middleware
async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let a request in, or not; and forbid the page everything that it does not do."""
    guard = request.app[GUARD]
    try:
        refused = _refused(request, guard)
        response = refused or await _within(request, handler, guard)
    except web.HTTPException as error:
        for name, value in HEADERS.items():
            error.headers.setdefault(name, value)
        raise
    if not response.prepared:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers.setdefault("Cache-Control", "no-store")
    return response


def _refused(request: web.Request, guard: Guard) -> web.Response | None:
    if guard.hosts is not None and not _answers_to(request.host, guard.hosts):
        return web.Response(status=421, text="This page answers to localhost; [page] url names another name for it.\n")
    if request.method not in ("GET", "HEAD", "POST"):
        return web.Response(status=405, text="Only GET and POST.\n", headers={"Allow": "GET, HEAD, POST"})
    return None


async def _within(request: web.Request, handler: Handler, guard: Guard) -> web.StreamResponse:
    session = request.cookies.get(guard.cookie, "")
    request[_FRESH] = not session
    if not session:
        session = secrets.token_urlsafe(32)
    request[_SESSION] = session
    role = guard.role(session, time.monotonic())
    if role is None and not request.path.startswith(OPEN_PATHS):
        if request.method == "POST":
            return web.Response(status=401, text="Sign in first.\n")
        raise web.HTTPSeeOther(f"{SIGN_IN}?next={quote(request.path_qs, safe='')}")
    if request.method == "POST":
        if not await _is_ours(request, guard, session):
            return web.Response(
                status=403, text="The form is out of date, or of another site: go back, reload the page, try again.\n"
            )
        if role is not Role.OPERATE and request.path not in READ_ONLY_POSTS:
            return web.Response(status=403, text="This needs one of [auth] operator_keys; you signed in to read.\n")
    response = await handler(request)
    if not response.prepared:
        remember(request, response)
    return response


def remember(request: web.Request, response: web.StreamResponse) -> None:
    """Give a viewer who has none the cookie of the session, before an answer is sent."""
    if request[_FRESH] and request.method == "GET" and not request.path.startswith("/static/"):
        set_cookie(response, request.app[GUARD], request[_SESSION])


async def _is_ours(request: web.Request, guard: Guard, session: str) -> bool:
    """Whether a POST comes from a page of ours."""
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc != request.host:
        return False
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        return False
    given = request.headers.get(TOKEN_HEADER) or str((await request.post()).get(TOKEN_FIELD, ""))
    return hmac.compare_digest(given.encode(), guard.token(session).encode())


def _answers_to(host: str, names: frozenset[str]) -> bool:
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return name in names or name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def set_cookie(response: web.StreamResponse, guard: Guard, session: str) -> None:
    """Hand a session to the browser."""
    response.set_cookie(guard.cookie, session, httponly=True, samesite="Lax", secure=guard.secure, path="/")


def session_of(request: web.Request) -> str:
    """Return the id of the session, which every visitor has."""
    session: str = request[_SESSION]
    return session


def token_of(request: web.Request) -> str:
    """Return what a form of this session sends back."""
    return request.app[GUARD].token(session_of(request))


def may_act(request: web.Request) -> bool:
    """Whether who looks may decide and run."""
    return request.app[GUARD].role(session_of(request), time.monotonic()) is Role.OPERATE


def signed_in(request: web.Request) -> bool:
    """Whether somebody signed in, and may sign out."""
    guard = request.app[GUARD]
    return not guard.is_open and guard.role(session_of(request), time.monotonic()) is not None

"""How the server is reached: over stdio by the process that started it, or over HTTP with a key.

Source: modelcontextprotocol.io, "Transports": Origin is checked, and a server of one machine listens on loopback.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import uvicorn
from mcp.server.stdio import stdio_server
from mcp.server.transport_security import TransportSecuritySettings

from halo_receiver.auth import Keys, Role, Verdict
from halo_worker.config import Settings
from halo_worker.errors import ConfigError
from halo_worker.mcp_server.server import make_server
from halo_worker.mcp_server.store import Store

PATH = "/mcp"
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")

Scope = dict[str, Any]
App = Callable[[Scope, Callable[..., Any], Callable[..., Any]], Awaitable[None]]


async def serve_stdio(settings: Settings, *, allow_decisions: bool) -> None:
    """Serve the process that started us, until it closes our stdin."""
    store = Store(settings)
    server = make_server(store, allow_decisions=allow_decisions, local=True)
    task = asyncio.current_task()
    assert task is not None
    _on_signal(task.cancel)
    try:
        with suppress(asyncio.CancelledError):
            async with stdio_server() as (reading, writing):
                await server.run(reading, writing, server.create_initialization_options())
    finally:
        await store.close()


def _on_signal(end: Callable[[], object]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end)


class _Quiet(uvicorn.Server):
    """A server that leaves signals to us: its own way of ending would leave our temporary directory behind."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass(frozen=True, slots=True)
class Guarded:
    """An application behind keys: a request without one that may is answered 401 or 403, and goes no further."""

    app: App
    keys: Keys
    role: Role

    async def __call__(self, scope: Scope, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        if scope["type"] == "http":
            header = next((value for name, value in scope["headers"] if name == b"authorization"), None)
            verdict = self.keys.judge(header, self.role)
            if verdict is not Verdict.ALLOWED:
                await _refuse(send, 401 if verdict is Verdict.UNKNOWN else 403, f"this needs {self.role.value}\n")
                return
        await self.app(scope, receive, send)


async def _refuse(send: Callable[..., Any], status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain"), (b"www-authenticate", b'Bearer realm="halo"')]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})


def check(settings: Settings, host: str, *, allow_decisions: bool) -> None:
    """Refuse what shows traces to strangers. Raises ConfigError that says what is missing."""
    if host.strip("[]") in ("", "0.0.0.0", "::"):  # noqa: S104 - it is refused
        raise ConfigError(
            f"--http {host or ':PORT'} names no address that requests could be checked against",
            hint="name the one it is reached by, such as 127.0.0.1:4321 or halo.example:4321",
        )
    wanted = "operator_keys" if allow_decisions else "read_keys"
    if not settings.auth.operator_keys and (allow_decisions or not settings.auth.read_keys):
        raise ConfigError(
            f"--http needs a key: [auth] {wanted} is empty", hint=f"HALO_AUTH_{wanted.upper()}=KEY sets one"
        )
    if host not in LOOPBACK and settings.receiver.tls_cert_file is None:
        raise ConfigError(
            f"--http {host} is reached from other machines, without TLS",
            hint="set [receiver] tls_cert_file and tls_key_file, or listen on 127.0.0.1 and reach it by 'ssh -L'",
        )


def make_app(settings: Settings, store: Store, host: str, *, allow_decisions: bool) -> App:
    """Return the application: behind a read key, with decisions behind an operator's, for its own Host and Origin."""
    names = LOOPBACK if host in LOOPBACK else (host,)
    security = TransportSecuritySettings(
        allowed_hosts=[f"{name}{port}" for name in names for port in ("", ":*")],
        allowed_origins=[
            f"{scheme}://{name}{port}" for scheme in ("http", "https") for name in names for port in ("", ":*")
        ],
    )
    server = make_server(store, allow_decisions=allow_decisions, local=False)
    app = server.streamable_http_app(
        streamable_http_path=PATH, json_response=True, stateless_http=True, transport_security=security, host=host
    )
    role = Role.OPERATE if allow_decisions else Role.READ
    return Guarded(app, Keys.of(settings.auth, settings.receiver), role)


async def serve_http(
    settings: Settings, host: str, port: int, *, allow_decisions: bool, ready: Callable[[str], None]
) -> None:
    """Serve HTTP until SIGTERM or SIGINT; `ready` is called with the address. Raises ConfigError when it cannot."""
    check(settings, host, allow_decisions=allow_decisions)
    listener = _listen(host, port)
    store = Store(settings)
    with_tls = host not in LOOPBACK
    certificate = settings.receiver.tls_cert_file if with_tls else None
    key = settings.receiver.tls_key_file if with_tls else None
    config = uvicorn.Config(
        make_app(settings, store, host, allow_decisions=allow_decisions), log_config=None, access_log=False,
        lifespan="on", ssl_certfile=certificate, ssl_keyfile=key,
        server_header=False,
    )  # fmt: skip
    ready(f"{'https' if certificate else 'http'}://{host}:{listener.getsockname()[1]}{PATH}")
    serving = _Quiet(config)
    _on_signal(lambda: setattr(serving, "should_exit", True))
    try:
        await serving.serve(sockets=[listener])
    finally:
        await store.close()


def _listen(host: str, port: int) -> socket.socket:
    plain = host.strip("[]")
    try:
        return socket.create_server((plain, port), family=socket.AF_INET6 if ":" in plain else socket.AF_INET)
    except (OSError, OverflowError) as error:
        said_ = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"cannot listen on {host}:{port}: {said_}", hint="choose another with --http") from None

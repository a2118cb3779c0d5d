"""The process of the page: listens, says where, leaves its address in the data directory, ends on SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson
from aiohttp import web

from halo_receiver.logs import event
from halo_receiver.tls import Tls
from halo_worker.config import Settings
from halo_worker.errors import ConfigError
from halo_worker.page import security
from halo_worker.page.app import make_app

log = logging.getLogger("halo.page")

ADDRESS_FILE = "page.json"
USUAL = "127.0.0.1:4320"
SHUTDOWN_SECONDS = 2.0  # for which a stop waits for requests in flight
BACKLOG = 128
GARBAGE_OBJECTS = 20_000  # allocated, after which Python looks for circles


@dataclass(frozen=True, slots=True)
class PageAddress:
    """What a running page leaves in the data directory: its process, and where a browser on this machine finds it."""

    pid: int
    url: str

    @classmethod
    def read(cls, data_dir: Path) -> PageAddress | None:
        """Read it; None where no page runs, or none that left its address."""
        try:
            document = orjson.loads((data_dir / ADDRESS_FILE).read_bytes())
            address = cls(int(document["pid"]), str(document["url"]))
            os.kill(address.pid, 0)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return address


def serve(settings: Settings, *, ready: Callable[[str], None], options: tuple[str, ...] = ()) -> None:
    """Serve until SIGTERM or SIGINT; `ready` is called with the address. Raises ConfigError when it cannot listen."""
    security.check(settings)
    # What is imported is never garbage: laying out 10,000 spans costs a third less when it is not looked through.
    gc.freeze()
    gc.set_threshold(GARBAGE_OBJECTS)
    asyncio.run(_serve(settings, ready, options))


async def _serve(settings: Settings, ready: Callable[[str], None], options: tuple[str, ...]) -> None:
    listener = listen(settings.page.endpoint)
    port = int(listener.getsockname()[1])
    tls = Tls(settings.receiver) if security.serves_tls(settings) else None
    app = make_app(settings, port=port, options=options)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    site = web.SockSite(runner, listener, ssl_context=tls.listening_context() if tls else None)
    await site.start()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    watching = asyncio.create_task(tls.watch()) if tls else None
    url = f"{'https' if tls else 'http'}://{settings.page.endpoint.rpartition(':')[0]}:{port}"
    with _left(settings.store.data_dir, url):
        event(log, "page ready", url=url)
        ready(url)
        await stopping.wait()
    if watching is not None:
        watching.cancel()
    await runner.cleanup()


def listen(endpoint: str) -> socket.socket:
    """Return a listening socket; port 0 is any free one. Raises ConfigError."""
    host, _, port = endpoint.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host.strip("[]"), int(port)), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigError(
            f"the page cannot listen on {endpoint}: {error.strerror or error}",
            hint="choose another with --endpoint or [page] endpoint, or 'off'",
        ) from None


@contextlib.contextmanager
def _left(data_dir: Path, url: str) -> Iterator[None]:
    """Leave the address while the page runs, where this user may write."""
    path = data_dir / ADDRESS_FILE
    with contextlib.suppress(OSError):
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps({"pid": os.getpid(), "url": url}), encoding="utf-8")
        temporary.rename(path)
    try:
        yield
    finally:
        left = PageAddress.read(data_dir)
        if left is not None and left.pid == os.getpid():
            path.unlink(missing_ok=True)

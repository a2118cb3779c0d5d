"""HTTP connections: how many there are, and which are closed because nothing comes of them.

aiohttp has no time-out for a request's header, nor a limit of connections. This stands between it and the transport,
and sees when bytes come; the server says when a request begins and ends.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from halo_receiver.logs import event

log = logging.getLogger("halo.receiver")

MAX_FILES = 65_536  # open at once, where the system allows it
KEPT_FILES = 128  # of these not for connections
LOOK_SECONDS = 1.0
ANSWERING_SECONDS = 60.0  # beyond the time that a request may take to come: for its answer, also to be read


class Connections:
    """All of one port. `make` makes aiohttp's protocol for a new one. Only the event loop's thread may use it."""

    def __init__(
        self,
        make: Callable[[], asyncio.Protocol],
        *,
        limit: int,
        header_seconds: float,
        request_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.clock = clock
        self.closed = 0
        self._make = make
        self._limit = limit
        self._header_seconds = header_seconds
        self._request_seconds = request_seconds + ANSWERING_SECONDS
        self._connections: dict[asyncio.Protocol, Connection] = {}
        self._looking: asyncio.Task[None] | None = None

    def __call__(self) -> Connection:
        """Return the protocol of a new connection."""
        return Connection(self, self._make())

    def __len__(self) -> int:
        return len(self._connections)

    def start(self) -> None:
        """Look from now on."""
        self._looking = asyncio.create_task(self._look())

    def stop(self) -> None:
        """Look no longer."""
        if self._looking is not None:
            self._looking.cancel()

    @contextmanager
    def request(self, protocol: Any) -> Iterator[None]:
        """Have a connection count as one with a request, whose header has come."""
        connection = self._connections.get(protocol)
        if connection is None:  # it has gone already
            yield
            return
        connection.request_since, connection.header_since = self.clock(), None
        try:
            yield
        finally:
            connection.request_since, connection.idle_since = None, self.clock()

    def add(self, protocol: asyncio.Protocol, connection: Connection) -> None:
        """List one. When there are too many, the one that has been without a request longest is closed."""
        if len(self._connections) >= self._limit:
            idle = [one for one in self._connections.values() if one.request_since is None]
            self._close(min(idle, key=lambda one: one.idle_since, default=connection))
        self._connections[protocol] = connection

    def discard(self, protocol: asyncio.Protocol) -> None:
        """Take one off the list."""
        self._connections.pop(protocol, None)

    def _close(self, connection: Connection) -> None:
        self.closed += 1
        self.discard(connection.protocol)
        connection.abort()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            now = self.clock()
            for connection in list(self._connections.values()):
                if connection.late(now, self._header_seconds, self._request_seconds):
                    self._close(connection)


class Connection(asyncio.Protocol):
    """One connection, in front of aiohttp's protocol."""

    def __init__(self, connections: Connections, protocol: asyncio.Protocol) -> None:
        self.protocol = protocol
        self.idle_since = connections.clock()
        self.header_since: float | None = self.idle_since  # a new one has its header still to send
        self.request_since: float | None = None
        self._connections = connections
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "abort")
        self._transport = transport  # type: ignore[assignment]
        self._connections.add(self.protocol, self)
        self.protocol.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self.request_since is None and self.header_since is None:
            self.header_since = self._connections.clock()
        self.protocol.data_received(data)

    def eof_received(self) -> bool | None:
        return self.protocol.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self.protocol)
        self.protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        self.protocol.pause_writing()

    def resume_writing(self) -> None:
        self.protocol.resume_writing()

    def late(self, now: float, header_seconds: float, request_seconds: float) -> bool:
        """Whether its header, or the end of its request, is overdue. Between requests aiohttp closes it."""
        if self.request_since is not None:
            return now - self.request_since > request_seconds
        return self.header_since is not None and now - self.header_since > header_seconds

    def abort(self) -> None:
        """Close it at once."""
        if self._transport is not None:
            self._transport.abort()


def connection_limit(wanted: int) -> int:
    """Raise the limit of open files as far as this process may, and return how many connections each port can have."""
    try:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
        if soft < most:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    except (OSError, ValueError):
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    limit = max(1, min(wanted, (most - KEPT_FILES) // 2))
    if limit < wanted:
        event(log, "connections limited by open files", level=logging.WARNING, each_port=limit, open_files=most)
    return limit

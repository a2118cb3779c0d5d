"""Who watches what is stored: each viewer has a queue of its own, which loses the oldest when it is not read."""

from __future__ import annotations

import asyncio
import base64
from collections import deque
from collections.abc import AsyncGenerator, Callable
from typing import Any

from halo_receiver.pb.segments_pb2 import TailResponse

MAX_VIEWERS = 32
MAX_QUEUE_BYTES = 4 * 2**20  # of one viewer: about 20,000 spans
ALIVE_SECONDS = 15.0  # without a span, after which a viewer is told that the receiver lives

Write = Callable[[dict[str, Any]], None]


class TooManyViewers(Exception):  # noqa: N818
    """There are MAX_VIEWERS already."""


class _Viewer:
    """What waits for one caller."""

    def __init__(self, recent: int) -> None:
        self.recent = recent
        self.told = False  # what was stored before: from then on it gets what comes
        self._waiting: deque[tuple[bytes, int]] = deque()
        self._bytes = 0
        self._missed = 0
        self._came = asyncio.Event()

    def put(self, body: bytes, spans: int) -> None:
        self._waiting.append((body, spans))
        self._bytes += len(body)
        while self._bytes > MAX_QUEUE_BYTES and len(self._waiting) > 1:
            lost, number = self._waiting.popleft()
            self._bytes -= len(lost)
            self._missed += number
        self._came.set()

    def wake(self) -> None:
        self._came.set()

    async def take(self) -> bytes:
        """Return the next message: of what was lost, of spans, or none when nothing comes for a while."""
        if not (self._missed or self._waiting):
            self._came.clear()
            try:
                await asyncio.wait_for(self._came.wait(), ALIVE_SECONDS)
            except TimeoutError:
                return b""
        if self._missed:
            missed, self._missed = self._missed, 0
            return TailResponse(missed=missed).SerializeToString()
        if not self._waiting:
            return b""
        body, _ = self._waiting.popleft()
        self._bytes -= len(body)
        return body


class Tail:
    """All viewers. `write` sends a command to the loader, which tells only while there are any."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._viewers: dict[int, _Viewer] = {}
        self._last = 0
        self._closed = False

    async def messages(self, recent: int) -> AsyncGenerator[bytes]:
        """Yield what is stored, as TailResponse, until `close`. Raises TooManyViewers."""
        if len(self._viewers) >= MAX_VIEWERS:
            raise TooManyViewers
        self._last += 1
        number, viewer = self._last, _Viewer(recent)
        self._viewers[number] = viewer
        try:
            self._write({"do": "watch", "viewer": number, "recent": recent})
            while not self._closed:
                yield await viewer.take()
        finally:
            del self._viewers[number]
            if not self._viewers:
                self._write({"do": "unwatch"})

    def loader_started(self) -> None:
        """Ask a new loader for what the one before was asked."""
        for number, viewer in self._viewers.items():
            self._write({"do": "watch", "viewer": number, "recent": 0 if viewer.told else viewer.recent})

    def hear(self, message: dict[str, Any]) -> None:
        """Pass on what the loader told: to the viewer that it is for, or to all that know what was before."""
        body, spans = base64.b64decode(message["told"]), int(message["spans"])
        for number, viewer in self._viewers.items():
            if message["viewer"] == number:
                viewer.told = True
            elif message["viewer"] is not None or not viewer.told:
                continue
            viewer.put(body, spans)

    def close(self) -> None:
        """Let every viewer go."""
        self._closed = True
        for viewer in self._viewers.values():
            viewer.wake()

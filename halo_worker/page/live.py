"""Traces as they come, for every viewer of the list: one stream from the receiver, however many look.

Nothing is queried and nothing sealed: rows are made of `Segments/Tail`, each once, and sent once a second.
"""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from halo_receiver.store.trace_list import Filters
from halo_worker import segments_client
from halo_worker.errors import ReceiverAway
from halo_worker.live_traces import LiveTrace, LiveTraces, passes
from halo_worker.page.data import DATA, Data
from halo_worker.page.rendering import begin_stream, part_text
from halo_worker.page.traces import Asked, shown

RECENT_SPANS = 2000  # from before the first viewer came
TICK_SECONDS = 1.0  # between two messages to a viewer
ALIVE_SECONDS = 15.0  # without a row, after which a viewer hears that we live
AGAIN_SECONDS = 5.0  # before the receiver is looked for again
MAX_VIEWERS = 100
MAX_PENDING = 100  # rows for one viewer between two messages; the oldest are left out, and counted


@dataclass(slots=True)
class _Row:
    trace: LiveTrace
    shown: dict[str, Any]
    sent: dict[str, Any]


@dataclass(eq=False, slots=True)
class _Viewer:
    asked: Asked
    pending: dict[str, _Row] = field(default_factory=dict)
    missed: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def offer(self, row: _Row) -> None:
        if not _passes(row, self.asked):
            return
        self.pending.pop(row.trace.trace_id, None)
        self.pending[row.trace.trace_id] = row
        if len(self.pending) > MAX_PENDING:
            del self.pending[next(iter(self.pending))]
            self.missed += 1
        self.news.set()

    def take(self) -> dict[str, Any]:
        rows, self.pending = [row.sent for row in self.pending.values()], {}
        missed, self.missed = self.missed, 0
        self.news.clear()
        return {"rows": rows, "missed": missed}


def _passes(row: _Row, asked: Asked) -> bool:
    wanted = asked.wanted
    names = ("agent", "service", "session", "user", "model", "tool")
    filters: dict[str, Any] = {name: getattr(wanted, name) or None for name in names}
    failed = wanted.status == "failed"
    filters |= {"text": asked.text or None, "errors": failed, "status": None if failed else wanted.status or None}
    least = (
        ((row.shown["duration_ns"] or 0) / 1e9, wanted.min_seconds),
        (row.shown["tokens"] or 0, wanted.min_tokens),
        (row.shown["cost_usd"] or 0, wanted.min_cost),
    )
    return all(asked is None or value >= asked for value, asked in least) and passes(row.trace, Filters(**filters))


class Hub:
    """The stream from the receiver, open while anybody looks, and who looks."""

    def __init__(self, data: Data) -> None:
        self._data = data
        self._viewers: set[_Viewer] = set()
        self._traces = LiveTraces()
        self._changed: dict[str, LiveTrace] = {}
        self._running: asyncio.Task[None] | None = None
        self._call: Any = None
        self.state = ""  # why nothing comes; empty when all is well

    def join(self, asked: Asked) -> _Viewer:
        """Add a viewer, and show it the traces that came last."""
        viewer = _Viewer(asked)
        self._viewers.add(viewer)
        for trace in reversed(self._traces.newest(MAX_PENDING)):
            viewer.offer(_row(trace))
        if self._running is None:
            self.state = ""
            self._running = asyncio.create_task(self._run())
        return viewer

    def leave(self, viewer: _Viewer) -> None:
        """Drop a viewer; with the last one the stream ends."""
        self._viewers.discard(viewer)
        if not self._viewers:
            self.close()

    @property
    def full(self) -> bool:
        """Whether there are as many viewers as there may be."""
        return len(self._viewers) >= MAX_VIEWERS

    def close(self) -> None:
        """End the stream."""
        if self._running is not None:
            self._running.cancel()
            self._running = None
        call, self._call = self._call, None
        if call is not None:
            call.cancel()
        self._traces, self._changed = LiveTraces(), {}

    async def _run(self) -> None:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        ended.set()
        again = 0.0
        while True:
            if ended.is_set() and loop.time() >= again:
                ended.clear()
                again = loop.time() + AGAIN_SECONDS
                threading.Thread(target=self._read, args=(loop, ended), name="tail", daemon=True).start()
            await asyncio.sleep(TICK_SECONDS)
            changed, self._changed = self._changed, {}
            for row in map(_row, changed.values()):
                for viewer in self._viewers:
                    viewer.offer(row)

    def _read(self, loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
        """Read the receiver's stream to its end, on a thread of its own."""
        try:
            with segments_client.tail(self._data.directory, recent=RECENT_SPANS) as messages:
                self._call = messages
                for message in messages:
                    loop.call_soon_threadsafe(self._take, message)
        except ReceiverAway as error:
            _quietly(loop, self._say, f"{error}; {error.hint}")
        _quietly(loop, ended.set)

    def _take(self, message: Any) -> None:
        self._say("")
        for trace in self._traces.take(message.spans, asyncio.get_running_loop().time()):
            self._changed[trace.trace_id] = trace
        if message.missed:
            for viewer in self._viewers:
                viewer.missed += message.missed

    def _say(self, state: str) -> None:
        if state != self.state:
            self.state = state
            for viewer in self._viewers:
                viewer.news.set()


def _quietly(loop: asyncio.AbstractEventLoop, act: Any, *arguments: Any) -> None:
    """Do it on the loop, unless that has ended."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(act, *arguments)


def _row(trace: LiveTrace) -> _Row:
    row = shown(trace.row())
    html = part_text("trace_rows.html.j2", rows=[row])
    sent = {"id": trace.trace_id, "start": str(row["start_ns"] or 0), "spans": row["span_count"], "html": html}
    return _Row(trace, row, sent)


HUB = web.AppKey("hub", Hub)


async def start(app: web.Application) -> None:
    """Make the hub; it opens nothing before somebody looks."""
    app[HUB] = Hub(app[DATA])
    app.on_shutdown.append(_shut)


async def _shut(app: web.Application) -> None:
    app[HUB].close()


async def stream(request: web.Request) -> web.StreamResponse:
    """Send rows as server-sent events: `traces` with rows and the number missed, `state` with why nothing comes."""
    hub = request.app[HUB]
    if hub.full:
        raise web.HTTPServiceUnavailable(text="too many viewers\n", headers={"Retry-After": "30"})
    asked = Asked.of(request.query)
    response = await begin_stream(request, "text/event-stream")
    viewer = hub.join(asked)
    try:
        told = None
        while True:
            if hub.state != told:
                told = hub.state
                await response.write(_event("state", {"text": told}))
            if viewer.pending or viewer.missed:
                await response.write(_event("traces", viewer.take()))
            try:
                await asyncio.wait_for(viewer.news.wait(), ALIVE_SECONDS)
            except TimeoutError:
                await response.write(b": alive\n\n")
            viewer.news.clear()
    except ConnectionError:
        return response
    finally:
        hub.leave(viewer)


def _event(name: str, value: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps(value)}\n\n".encode()


ROUTES = [web.get("/traces/live", stream)]

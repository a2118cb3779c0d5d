"""The list of traces: newest first, filtered by the address, a page at a time; a search for a text streams its hits."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Generator
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from halo_receiver.logs import event
from halo_receiver.store import manifest, trace_list
from halo_receiver.store.reader import Reader
from halo_receiver.store.segment import listed
from halo_worker import freshness
from halo_worker.errors import HaloError, InputError
from halo_worker.page.data import DATA, Data
from halo_worker.page.rendering import around, begin_stream, part_text, render
from halo_worker.page.trace_index import TraceIndex, Wanted

log = logging.getLogger("halo.page")

PAGE_TRACES = 50
REFRESH_SECONDS = 2.0  # between two looks for segments that came
SEAL_SECONDS = 10.0  # between two times that the receiver is asked to seal, whoever asks for it
FIRST_SECONDS = 2.0  # for which a page waits for an index that is being made
SEARCH_MEMORY = "128MiB"
STATUSES = {
    "": "any status", "failed": "with a failed span", "error": "root failed", "ok": "root ok", "unset": "root unset",
}  # fmt: skip
_NUMBERS = {"min_seconds": float, "min_tokens": int, "min_cost": float}


@dataclass(frozen=True, slots=True)
class Asked:
    """What an address asks for. The page begins after `before` (start, id), and a search after the segment `older`."""

    wanted: Wanted
    text: str = ""
    finding: str = ""
    before: tuple[int, str] | None = None
    older: str = ""

    @classmethod
    def of(cls, query: Any) -> Asked:
        """Read it from the parameters. Raises InputError that names the one that is wrong."""
        given: dict[str, Any] = {one.name: query.get(one.name, "").strip() for one in fields(Wanted)}
        for name, kind in _NUMBERS.items():
            given[name] = _number(name, given[name], kind)
        if given["status"] not in STATUSES:
            raise InputError(f"there is no status {given['status']}", hint=f"known are: {', '.join(STATUSES)}")
        start, _, trace_id = query.get("before", "").partition("-")
        before = (int(start), trace_id) if start.isdecimal() and len(start) < 20 and trace_id else None
        text, finding = query.get("q", "").strip(), query.get("finding", "").strip()
        return cls(Wanted(**given), text, finding, before, query.get("older", ""))

    def filters(self) -> dict[str, str]:
        """Return the filters as parameters of an address."""
        given = {one.name: getattr(self.wanted, one.name) for one in fields(Wanted)}
        given |= {"q": self.text, "finding": self.finding}
        return {
            name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in given.items() if value
        }

    def address(self, **changes: str) -> str:
        """Return the address of the list with these filters, and with `changes`; an empty one is left out."""
        given = {name: value for name, value in {**self.filters(), **changes}.items() if value}
        return f"/traces?{urlencode(given)}" if given else "/traces"


def _number(name: str, text: str, kind: Any) -> Any:
    try:
        return kind(text) if text else None
    except ValueError:
        raise InputError(f"{name} is not a number: {text}", hint="such as 10 or 0.5") from None


class Traces:
    """The index, kept up to date, and the one place that asks for a seal."""

    def __init__(self, data: Data) -> None:
        self._data = data
        self.index = TraceIndex(data.directory)
        self.made = asyncio.Event()  # once all segments that were there at the start are in it
        self._told: set[str] = set()  # segments that the log has named
        self._sealed = 0.0
        self._sealing = asyncio.Lock()
        self._keeping = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        seen: Any = None
        while True:
            stamp = await self._data.blocking(self._stamp)
            if stamp != seen or self.index.waiting:
                seen = await self._refresh(stamp)
            self.made.set()
            await asyncio.sleep(REFRESH_SECONDS)

    async def _refresh(self, stamp: Any) -> Any:
        try:
            await self._data.blocking(self.index.refresh)
        except Exception as error:  # noqa: BLE001 - a segment that cannot be read now may be later
            event(log, "index not refreshed", level=logging.WARNING, reason=f"{type(error).__name__}: {error}")
            return None
        for name in self.index.faults.keys() - self._told:
            event(log, "segment not in index", level=logging.WARNING, segment=name, reason=self.index.faults[name])
        self._told = set(self.index.faults)
        return stamp

    def _stamp(self) -> Any:
        return tuple(path.name for path in listed(self._data.directory / "segments"))

    async def first(self) -> None:
        """Wait until the segments that were there at the start are in the index, FIRST_SECONDS at most."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.made.wait(), FIRST_SECONDS)

    async def seal(self) -> None:
        """Have what was acknowledged readable and in the index; at most once in SEAL_SECONDS, whoever asks."""
        async with self._sealing:
            now = asyncio.get_running_loop().time()
            if self._sealed and now - self._sealed < SEAL_SECONDS:
                return
            self._sealed = now
            await self._data.blocking(freshness.refresh, self._data.settings)
            await self._refresh(None)

    async def close(self) -> None:
        """Stop, and let go of the index."""
        self._keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._keeping
        await self._data.blocking(self.index.close)


TRACES = web.AppKey("traces", Traces)


async def start(app: web.Application) -> None:
    """Open the index, and begin to keep it up to date."""
    app[TRACES] = Traces(app[DATA])


async def stop(app: web.Application) -> None:
    """Stop."""
    await app[TRACES].close()


async def show(request: web.Request) -> web.StreamResponse:
    """Show the list of traces."""
    asked, traces, data = Asked.of(request.query), request.app[TRACES], request.app[DATA]
    if request.query.get("fresh"):
        await traces.seal()
        raise web.HTTPSeeOther(asked.address())
    await traces.first()
    among = await data.blocking(_counted, data, asked.finding) if asked.finding else None
    if asked.text:
        return await _stream(request, asked, among)
    rows = await data.blocking(
        lambda: traces.index.page(asked.wanted, PAGE_TRACES + 1, after=asked.before, among=among)
    )
    last = rows[PAGE_TRACES - 1] if len(rows) > PAGE_TRACES else None
    older = asked.address(before=f"{last['start_ns']}-{last['trace_id']}") if last else ""
    context = await _context(request, asked)
    return render(request, "traces.html.j2", rows=[shown(row) for row in rows[:PAGE_TRACES]], older=older, **context)


async def _context(request: web.Request, asked: Asked) -> dict[str, Any]:
    index = request.app[TRACES].index
    count, names = await request.app[DATA].blocking(lambda: (index.count(), index.names()))
    given = asked.filters()
    return {
        "asked": given,
        "count": count,
        "waiting": index.waiting,
        "faults": len(index.faults),
        "names": names,
        "statuses": STATUSES,
        "chips": [(name, value, asked.address(**{name: ""})) for name, value in given.items()],
        "more_filters": bool(given.keys() & {"session", "user", "finding", *_NUMBERS}),
        "live": not (asked.before or asked.older or asked.finding),
        "live_address": asked.address().replace("/traces", "/traces/live", 1),
        "fresh_address": asked.address(fresh="1"),
        "first_page": asked.address() if asked.before or asked.older else "",
    }


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """Return what a row of the list shows of a row of the index, or of a trace that is still coming."""
    tokens = [row[name] for name in ("input_tokens", "output_tokens") if row[name] is not None]
    ended = row.get("end_ns")
    duration = ended - row["start_ns"] if ended and row["start_ns"] else row.get("duration_ns")
    return {
        **row,
        "duration_ns": duration,
        "tokens": sum(tokens) if tokens else None,
        "who": ", ".join(row["agent_names"][:2] or row["service_names"][:2]),
        "what": row["input_text"] or row["root_name"] or "",
    }


def _counted(data: Data, finding: str) -> frozenset[str]:
    """Return the traces in which any report saw an issue."""
    issue, archive = data.memory().find(finding), data.archive
    found = (archive.affected_traces(run_id, issue.issue_id) for run_id in archive.ids())
    return frozenset().union(*found)


async def _stream(request: web.Request, asked: Asked, among: frozenset[str] | None) -> web.StreamResponse:
    """Write the page, and the rows as the segments are searched, the newest first, until a page is full."""
    data = request.app[DATA]
    before, after = around(request, "traces.html.j2", rows=None, older="", **await _context(request, asked))
    response = await begin_stream(request, "text/html")
    await response.write(before)
    hits, onward = 0, ""
    searching = _hits(request.app[TRACES].index, data, asked, among)
    end: dict[str, Any] = {"fault": ""}
    try:
        while hits < PAGE_TRACES and (found := await data.blocking(next, searching, None)) is not None:
            rows, onward = found
            hits += len(rows)
            await response.write(part_text("trace_rows.html.j2", rows=[shown(row) for row in rows]).encode())
        end["older"] = onward if hits >= PAGE_TRACES else ""
    except HaloError as error:
        end |= {"older": "", "fault": str(error)}
    finally:
        searching.close()
    await response.write(part_text("trace_search_end.html.j2", hits=hits, **end).encode())
    await response.write_eof(after)
    return response


def _hits(
    index: TraceIndex, data: Data, asked: Asked, among: frozenset[str] | None
) -> Generator[tuple[list[dict[str, Any]], str]]:
    """Yield the rows of the traces that hold the text, a segment at a time, and the address of what comes after them.

    The newest segment comes first; of one with more than a page of them the newest are shown.
    """
    directory = data.directory / "segments"
    entries = manifest.load(directory, listed(directory))
    gone = manifest.replaced(directory, entries)
    newest = sorted(entries, key=lambda entry: (entry.last_received_ns, entry.name), reverse=True)
    names = [entry.name for entry in newest if entry.name not in gone]
    begin = names.index(asked.older) if asked.older in names else 0
    told: set[str] = set()
    for place, name in enumerate(names[begin:], begin):
        with Reader([directory / name], memory_limit=SEARCH_MEMORY, threads=1) as reader:
            ids = set(trace_list.with_text(reader, asked.text)) - told
        told |= ids
        ids = ids & among if among is not None else ids
        after = asked.before if name == asked.older else None
        rows = index.page(asked.wanted, PAGE_TRACES + 1, after=after, among=ids) if ids else []
        onward = asked.address(older=names[place + 1]) if place + 1 < len(names) else ""
        if len(rows) > PAGE_TRACES:
            rows = rows[:PAGE_TRACES]
            onward = asked.address(older=name, before=f"{rows[-1]['start_ns']}-{rows[-1]['trace_id']}")
        yield rows, onward


ROUTES = [web.get("/traces", show)]

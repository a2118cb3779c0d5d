"""One trace: its spans in time beside what was said, a span whole, its logs, and all of it as OTLP/JSON."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import orjson
from aiohttp import web

from halo_receiver.store import trace_spans
from halo_receiver.store.reader import Reader
from halo_worker.page import otlp_json, trace_view
from halo_worker.page.data import DATA, Data, trace_path
from halo_worker.page.kept_rows import KeptRows, Laid, opened
from halo_worker.page.rendering import around, begin_stream, part_text, render
from halo_worker.page.trace_view import Row
from halo_worker.page.traces import TRACES, shown

SPANS_A_PAGE = 200  # drawn by the server; the script draws what is seen of all
LOGS = 500
MISSING = "It may not have come yet, or be kept no more; the list of traces shows what is stored."
VALUE_CHARACTERS = 2_000  # of a value of a span; the rest by a button
VIEWS = {"conversation": "Conversation", "span": "Span", "logs": "Logs"}
LISTS = ("attributes", "resource_attributes", "scope_attributes")  # shown key by key
STRUCTURES = ("events", "links", *LISTS)
Result = TypeVar("Result")

ROWS = web.AppKey("rows", KeptRows)


async def _read(request: web.Request, ask: Callable[[Reader, str], Result]) -> Result:
    """Ask the segments that may hold the trace."""
    data, trace_id = request.app[DATA], request.match_info["trace_id"]

    def asked() -> Result:
        with opened(data, trace_id) as reader:
            return ask(reader, trace_id)

    return await data.blocking(asked)


def _whole(kept: KeptRows, query: Any, reader: Reader, trace_id: str) -> tuple[Laid, dict[str, Any]]:
    laid = kept.of(trace_id, reader)
    return laid, _panel(query, reader, trace_id, laid) if laid.rows else {}


def _panel(query: Any, reader: Reader, trace_id: str, laid: Laid) -> dict[str, Any]:
    """Return what stands beside the waterfall."""
    span_id = query.get("span", "")
    view = query.get("view") or ("span" if span_id else "conversation")
    rows, by_id = laid.rows, laid.by_id
    panel: dict[str, Any] = {"view": view, "views": VIEWS, "span_id": span_id, "by_id": by_id, "trace_id": trace_id}
    if view == "conversation":
        first = max(1, _number(query.get("step"), 1))
        shared, turns = trace_view.conversation(reader, trace_id, first)
        later = first + trace_view.STEPS if first + trace_view.STEPS <= len(rows) else 0
        panel |= {"shared": shared, "turns": turns, "first": first, "later": later, "steps": trace_view.STEPS}
    elif view == "logs":
        panel["logs"] = trace_spans.trace_logs(reader, trace_id, LOGS)
    else:
        span_id = span_id or rows[0].span["span_id"]
        span = trace_spans.whole_span(reader, trace_id, span_id)
        logs = trace_spans.trace_logs(reader, trace_id, LOGS, span_id=span_id)
        panel |= {"span_id": span_id, "span": span and _described(span), "logs": logs, "row": by_id.get(span_id)}
    return panel


def _described(span: dict[str, Any]) -> dict[str, Any]:
    """Sort the columns of a span: values of one line, texts, attributes as sent, events and links."""
    plain: list[tuple[str, str, int, str]] = []
    texts: list[tuple[str, str, int, str]] = []
    for name, value in span.items():
        if name in STRUCTURES or value in (None, "", []):
            continue
        text = as_text(value)
        is_long = len(text) > 100 or "\n" in text
        (texts if is_long else plain).append((name, *_cut(text), _address(span, name)))
    return {
        "plain": plain,
        "texts": texts,
        "lists": [(name, _attributes(span, name)) for name in LISTS if span[name]],
        "events": [(event["time"], event["name"], _cut(as_text(event["attributes"]))) for event in span["events"]],
        "links": span["links"],
    }


def _attributes(span: dict[str, Any], name: str) -> list[tuple[str, str, int, str]]:
    return [(key, *_cut(as_text(value)), _address(span, name, key)) for key, value in span[name].items()]


def as_text(value: Any) -> str:
    """Write a value for a person: text as it is, the rest as JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, indent=2 if isinstance(value, list | dict) else None)


def _cut(text: str) -> tuple[str, int]:
    return text[:VALUE_CHARACTERS], len(text)


def _address(span: dict[str, Any], name: str, key: str = "") -> str:
    asked = urlencode({"name": name, **({"key": key} if key else {})})
    return f"{trace_path(span['trace_id'])}/spans/{quote(span['span_id'], safe='')}/text?{asked}"


def _number(text: str | None, otherwise: int) -> int:
    return int(text) if text and text.isdecimal() else otherwise


def _missing(request: web.Request, what: str) -> web.Response:
    return render(request, "error.html.j2", status=404, what=what, hint=MISSING)


async def show(request: web.Request) -> web.StreamResponse:
    """Show a trace: its title as soon as the index has it, then what is read from the segments."""
    data, traces, trace_id = request.app[DATA], request.app[TRACES], request.match_info["trace_id"]
    await traces.first()
    row = await data.blocking(traces.index.find, trace_id)
    if row is None:  # it may have come a moment ago: from the live list, or by a link of an agent
        await traces.seal()
        row = await data.blocking(traces.index.find, trace_id)
    body = None if row else await _body(request, row)
    if not row and not body:
        return _missing(request, f"There is no trace {trace_id}")
    title = (shown(row)["what"] if row else "") or trace_id
    before, after = around(request, "trace.html.j2", title=title, trace_id=trace_id)
    response = await begin_stream(request, "text/html")
    await response.write(before)
    body = body or await _body(request, row)
    gone = "" if body else part_text("error_part.html.j2", what="Its spans are not here any more", hint=MISSING)
    await response.write((body or gone).encode())
    await response.write_eof(after)
    return response


async def _body(request: web.Request, row: dict[str, Any] | None) -> str:
    """Write what stands below the title; nothing where there are no spans. `row` is the trace in the index."""
    data, traces, trace_id = request.app[DATA], request.app[TRACES], request.match_info["trace_id"]
    laid, panel = await _read(request, functools.partial(_whole, request.app[ROWS], request.query))
    rows = laid.rows
    if not rows:
        return ""
    before, after, place, of = await data.blocking(traces.index.neighbours, row) if row else (None, None, 0, 0)
    pages = -(-len(rows) // SPANS_A_PAGE)
    page = min(max(1, _number(request.query.get("page"), 1)), pages)
    return part_text(
        "trace_body.html.j2", rows=rows[(page - 1) * SPANS_A_PAGE : page * SPANS_A_PAGE], total=len(rows),
        page=page, pages=pages, facts=_facts(rows, row), panel=panel,
        session={"before": before, "after": after, "place": place, "of": of},
        found=_findings(rows), base=trace_path(trace_id),
    )  # fmt: skip


def _facts(rows: list[Row], row: dict[str, Any] | None) -> dict[str, Any]:
    """Return what the head of the page says."""
    spans = [one.span for one in rows]
    ends = [span["start_ns"] + (span["duration_ns"] or 0) for span in spans if span["start_ns"]]
    start = min((span["start_ns"] for span in spans if span["start_ns"]), default=0)
    listed = shown(row) if row else {}
    return {
        "start_ns": start,
        "duration_ns": max(ends, default=start) - start,
        "errors": sum(span["status_code"] == "ERROR" for span in spans),
        "tokens": listed.get("tokens"),
        "cost_usd": listed.get("cost_usd"),
        "who": listed.get("who") or next((one.agent for one in rows if one.agent), ""),
        "session_id": next((span["session_id"] for span in spans if span["session_id"]), ""),
        "user_id": next((span["user_id"] for span in spans if span["user_id"]), ""),
    }


def _findings(rows: list[Row]) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """Return the findings that mark the trace: issue, title, and the role and id of each span."""
    found: dict[str, tuple[str, str, list[tuple[str, str]]]] = {}
    for row in rows:
        for mark in row.marks:
            found.setdefault(mark.issue_id, (mark.issue_id, mark.title, []))[2].append((mark.role, row.span["span_id"]))
    return list(found.values())


async def spans(request: web.Request) -> web.StreamResponse:
    """Answer with every span as the script draws it."""
    kept, trace_id = request.app[ROWS], request.match_info["trace_id"]
    packed = await request.app[DATA].blocking(lambda: kept.of(trace_id).packed)
    response = web.Response(body=packed, content_type="application/json")
    response.enable_compression()
    return response


async def part(request: web.Request) -> web.StreamResponse:
    """Answer with what stands beside the waterfall, alone."""
    _, panel = await _read(request, functools.partial(_whole, request.app[ROWS], request.query))
    if not panel:
        return web.Response(status=404, text="there is no such trace\n")
    base = trace_path(request.match_info["trace_id"])
    return web.Response(text=part_text("trace_panel.html.j2", panel=panel, base=base), content_type="text/html")


async def text(request: web.Request) -> web.StreamResponse:
    """Answer with one value of a span, whole, as plain text."""
    name, key = request.query.get("name", ""), request.query.get("key")
    span_id = request.match_info["span_id"]
    span = await _read(request, lambda reader, trace_id: trace_spans.whole_span(reader, trace_id, span_id))
    value = (span or {}).get(name)
    if key is not None:
        value = value.get(key) if isinstance(value, dict) else None
    if value is None:
        return _missing(request, "There is no such value")
    response = web.Response(text=as_text(value), content_type="text/plain")
    response.enable_compression()
    return response


async def download(request: web.Request) -> web.StreamResponse:
    """Answer with the trace as one OTLP/JSON document, written as it is read."""
    data, trace_id = request.app[DATA], request.match_info["trace_id"]
    chunks = _chunks(data, trace_id)
    first = await data.blocking(next, chunks, None)
    if first is None:
        return _missing(request, f"There is no trace {trace_id}")
    name = "".join(one for one in trace_id if one.isalnum())[:64]
    response = await begin_stream(request, "application/json", disposition=f'attachment; filename="{name}.otlp.json"')
    await response.write(b'{"resourceSpans":[' + first)
    while (chunk := await data.blocking(next, chunks, None)) is not None:
        await response.write(b"," + chunk)
    await response.write(b"]}")
    await response.write_eof()
    return response


def _chunks(data: Data, trace_id: str) -> Iterator[bytes]:
    with opened(data, trace_id, threads=1) as reader:
        for rows in trace_spans.as_sent(reader, trace_id):
            yield b",".join(orjson.dumps(otlp_json.resource_spans(row)) for row in rows)


async def start(app: web.Application) -> None:
    """Have a place for the rows of the traces that are looked at."""
    app[ROWS] = KeptRows(app[DATA])


_TRACE = "/traces/{trace_id}"
ROUTES = [
    web.get(_TRACE, show),
    web.get(f"{_TRACE}/spans.json", spans),
    web.get(f"{_TRACE}/part", part),
    web.get(f"{_TRACE}/otlp.json", download),
    web.get(f"{_TRACE}/spans/{{span_id}}/text", text),
]

"""Reads what the page shows around the findings: traces, spans and the text around quotes, all bounded."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from halo_receiver.store import queries
from halo_receiver.store.reader import Reader
from halo_worker.analysis.evidence import Spans
from halo_worker.report.model import Evidence, Report
from halo_worker.report.page_data import Glance, Scene, TraceRow, key_of, quote_key
from halo_worker.report.states import Point

MAX_TRACES = 30  # drawn; of the findings that lead
MAX_TRACE_SPANS = 2000
MAX_NAME = 200
MAX_EXCERPT = 400  # of what a span was given and gave
AROUND = 160  # characters before and after a quote
MAX_IDS = 1000

_ID = re.compile(r"\b(?:[0-9a-f]{32}|[0-9a-f]{16})\b")


def collect(reader: Reader, report: Report, history: Mapping[str, Sequence[Point]]) -> Scene:
    """Read the scene of a report from its window. Needs `overview.prepare`."""
    return Scene(
        traces=_traces(reader, report),
        spans=_spans(reader, report),
        excerpts=_excerpts(reader, report),
        history={issue: list(points) for issue, points in history.items()},
        known_ids=_known_ids(reader, report.answer) if report.answer else None,
    )


def _traces(reader: Reader, report: Report) -> dict[str, list[TraceRow]]:
    ids = list(dict.fromkeys(item.symptom_span.trace_id for item in report.findings if item.symptom_span))
    rows = reader.query(
        f"SELECT trace_id, span_id, parent_span_id, left(name, {MAX_NAME}) AS name, span_type, "
        "epoch_ns(start_time) AS start_ns, duration_ns, failed FROM _s WHERE list_contains($1, trace_id) "
        f"QUALIFY row_number() OVER (PARTITION BY trace_id ORDER BY start_time) <= {MAX_TRACE_SPANS}",
        [ids[:MAX_TRACES]],
    )
    traces: dict[str, list[TraceRow]] = {}
    for row in rows:
        traces.setdefault(row.pop("trace_id"), []).append(TraceRow(**row))
    return traces


def _spans(reader: Reader, report: Report) -> dict[str, Glance]:
    refs = {ref for item in report.findings for ref in (item.origin_span, item.symptom_span) if ref is not None}
    if not refs:
        return {}
    ordered = sorted(refs, key=key_of)
    rows = queries.spans_of(
        reader,
        f"trace_id || '/' || span_id AS key, left(name, {MAX_NAME}) AS name, span_type, agent_name AS agent, "
        "model, epoch_ns(start_time) AS start_ns, duration_ns, "
        f"left(input_text, {MAX_EXCERPT + 1}) AS given, left(output_text, {MAX_EXCERPT + 1}) AS gave, "
        "CAST(output_messages->'$[*].tool_calls[*]' AS VARCHAR) AS calls, "
        f"left(coalesce(error_message, status_message), {MAX_EXCERPT + 1}) AS error",
        [(ref.trace_id, ref.span_id) for ref in ordered],
    )
    return {row.pop("key"): _glance(row) for row in rows}


def _glance(row: dict[str, Any]) -> Glance:
    calls = _called(row.pop("calls"))
    row |= {name: _cut(row[name] or "") for name in ("given", "gave", "error")}
    row["gave"] = "\n".join(part for part in (row["gave"], *calls) if part)
    return Glance.model_validate(row)


def _called(calls: str | None) -> list[str]:
    """Write the tool calls of a message as a person reads calls."""
    try:
        listed = json.loads(calls or "[]")
    except (ValueError, RecursionError):
        return []
    written = []
    for call in listed if isinstance(listed, list) else []:
        if isinstance(call, dict) and call.get("name"):
            arguments = call.get("arguments")
            text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
            written.append(_cut(f"calls {call['name']}({text})"))
    return written[:5]


def _cut(text: str) -> str:
    return text if len(text) <= MAX_EXCERPT else text[: MAX_EXCERPT - 1] + "…"


def _excerpts(reader: Reader, report: Report) -> dict[str, str]:
    quotes = [quote for item in report.findings for quote in (*item.evidence, *item.counter_evidence)]
    spans = Spans(reader)
    spans.fetch({(quote.trace_id, quote.span_id) for quote in quotes})
    excerpts = {}
    for quote in quotes:
        text = spans.text(quote.trace_id, quote.span_id, quote.field)
        if text is not None and text != quote.quote and quote.quote in text:
            excerpts[quote_key(quote)] = _around(text, quote)
    return excerpts


def _around(text: str, quote: Evidence) -> str:
    at = text.index(quote.quote)
    first, last = max(0, at - AROUND), min(len(text), at + len(quote.quote) + AROUND)
    return ("…" if first else "") + text[first:last] + ("…" if last < len(text) else "")


def _known_ids(reader: Reader, answer: str) -> list[str]:
    """Of the trace and span ids an answer names, return those the window has."""
    named = sorted(set(_ID.findall(answer)))[:MAX_IDS]
    _, rows = queries.json_rows(
        reader,
        "SELECT id FROM (SELECT unnest($1::VARCHAR[]) AS id) "
        "WHERE id IN (SELECT trace_id FROM _s) OR id IN (SELECT span_id FROM _s)",
        [named],
    )
    return [row["id"] for row in rows]

"""The report as one self-contained page: opens offline, light and dark, prints, readable on a phone.

Text from traces is escaped by the template engine everywhere; what scripts read is JSON inside a data block in which
`<`, `>` and `&` are written as escapes. A content security policy forbids the page every connection.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from halo_worker.report import words
from halo_worker.report.memory import Point
from halo_worker.report.model import Finding, Report

MAX_WATERFALL_ROWS = 60
Row = dict[str, Any]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("halo_worker.report"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    for name in ("percent", "count", "short", "dollars", "duration", "minute", "day", "plural", "since"):
        environment.filters[name] = getattr(words, name)
    environment.filters["visible"] = visible
    return environment


@cache
def _asset(name: str) -> str:
    return resources.files("halo_worker.report").joinpath("assets", name).read_text(encoding="utf-8")


def visible(text: str) -> str:
    """Show control and direction-changing characters as what they are, so that a quote reads as it is stored."""
    return "".join(
        f"⟨U+{ord(character):04X}⟩"
        if (not character.isprintable() and character not in "\n\t") or "‪" <= character <= "‮"
        or "⁦" <= character <= "⁩"
        else character
        for character in text
    )  # fmt: skip


def data_block(value: Any) -> Markup:
    """Write JSON that can stand in a page: no character in it can end the block or begin markup."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))  # noqa: S704


def waterfall(rows: Sequence[Row], origin: str | None, symptom: str | None) -> list[Row]:
    """Lay a trace out: depth, offset and width in percent, culprit and symptom marked; a long one is cut to them."""
    known = {row["span_id"] for row in rows}
    children: dict[str | None, list[Row]] = {}
    for row in sorted(rows, key=lambda item: (item["start_ns"] or 0, item["span_id"])):
        parent = row["parent_span_id"] if row["parent_span_id"] in known else None
        children.setdefault(parent, []).append(row)
    begins = [row["start_ns"] for row in rows if row["start_ns"]]
    start = min(begins, default=0)
    end = max((row["start_ns"] + (row["duration_ns"] or 0) for row in rows if row["start_ns"]), default=start)
    whole = max(1, end - start)
    laid: list[Row] = []
    todo = [(row, 0) for row in reversed(children.get(None, []))]
    while todo:
        row, depth = todo.pop()
        begin, lasted = (row["start_ns"] or start) - start, row["duration_ns"] or 0
        laid.append(
            {
                "name": row["name"], "type": row["span_type"] or "span", "depth": min(depth, 12),
                "left": round(100 * begin / whole, 2), "width": max(0.4, round(100 * lasted / whole, 2)),
                "duration_ns": row["duration_ns"], "error": bool(row["failed"]), "span_id": row["span_id"],
                "origin": row["span_id"] == origin, "symptom": row["span_id"] == symptom and symptom != origin,
            }
        )  # fmt: skip
        todo.extend((child, depth + 1) for child in reversed(children.get(row["span_id"], [])))
    if len(laid) <= MAX_WATERFALL_ROWS:
        return laid
    marked = [index for index, row in enumerate(laid) if row["origin"] or row["symptom"]] or [0]
    first = max(0, min(marked) - MAX_WATERFALL_ROWS // 2)
    return laid[first : first + MAX_WATERFALL_ROWS]


def sparkline(history: Sequence[Point], finding: Finding) -> dict[str, Any] | None:
    """Return the path of a small trend of the rate over windows, 120 by 28; None when there is only one."""
    rates = [point.rate for point in history[-14:]] + [finding.prevalence.rate]
    if len(rates) < 2:
        return None
    top = max(*rates, 0.0001)
    step = 116 / (len(rates) - 1)
    dots = [(round(2 + index * step, 1), round(26 - 22 * rate / top, 1)) for index, rate in enumerate(rates)]
    return {
        "path": "M" + " L".join(f"{x},{y}" for x, y in dots),
        "last": dots[-1],
        "label": " → ".join(words.percent(rate) for rate in rates[-5:]),
    }


def render_html(
    report: Report,
    *,
    traces: Mapping[str, Sequence[Row]] | None = None,
    history: Mapping[str, Sequence[Point]] | None = None,
) -> str:
    """Write the page. `traces` are the rows of evidence traces, for the waterfalls; `history` past windows by issue."""
    traces, history = traces or {}, history or {}
    shown = []
    for finding in report.findings:
        evidence_trace = finding.symptom_span.trace_id if finding.symptom_span else ""
        rows = traces.get(evidence_trace, ())
        origin = finding.origin_span.span_id if finding.origin_span else None
        symptom = finding.symptom_span.span_id if finding.symptom_span else None
        shown.append(
            {
                "f": finding,
                "waterfall": waterfall(rows, origin, symptom) if rows else [],
                "waterfall_of": len(rows),
                "trace_id": evidence_trace,
                "spark": sparkline(history.get(finding.issue_id, ()), finding),
                "where": _concentration(finding),
            }
        )
    charts = {
        "timeline": report.totals.timeline,
        "agents": [group.model_dump() for group in report.totals.by_agent[:10]],
        "models": [group.model_dump() for group in report.totals.by_model[:10]],
    }
    script = _asset("report.js")
    library = _asset("chart.umd.min.js")
    hashes = " ".join(f"'sha256-{_digest(text)}'" for text in (library, script))
    return _environment().get_template("report.html.j2").render(
        report=report,
        headline=words.headline(report),
        findings=shown,
        css=Markup(_asset("report.css")),  # noqa: S704 - our own file
        library=Markup(library),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        policy=f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src {hashes}",
        charts=data_block(charts),
    )  # fmt: skip


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _concentration(finding: Finding) -> list[dict[str, Any]]:
    """Return the values a finding concentrates in: those whose traces it affects more often than traces at large."""
    overall = finding.prevalence.rate
    picked = [b for b in finding.breakdown if b.rate >= overall * 0.9]
    return [
        {"dimension": b.dimension, "value": b.value, "traces": b.traces, "of": b.of, "rate": b.rate}
        for b in sorted(picked, key=lambda b: (-b.rate, -b.traces))[:6]
    ]


def render_index(reports: Sequence[Report], issues: Sequence[Mapping[str, Any]]) -> str:
    """Write the page over all reports and issues, newest first."""
    return _environment().get_template("index.html.j2").render(
        reports=[{"r": report, "headline": words.headline(report)} for report in reports],
        issues=issues,
        css=Markup(_asset("report.css")),  # noqa: S704 - our own file
        policy="default-src 'none'; style-src 'unsafe-inline'; img-src data:",
    )  # fmt: skip

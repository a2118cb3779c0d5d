"""What a report's page is written from: the report, and what stands around its findings, as the templates take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from markupsafe import Markup

from halo_worker.report import answer_markdown, briefs, causes, charts, formats, headline, phrases
from halo_worker.report.drawing import trend, waterfall
from halo_worker.report.model import Breakdown, Evidence, Finding, Report, SpanRef
from halo_worker.report.page_data import Scene, key_of, quote_key
from halo_worker.report.rows import told

MAX_WHERE = 6
Q_STANDS_OUT = 0.05
FILTER_FROM = 8  # findings from which on a filter is offered


class LinksTo(Protocol):
    """Addresses of traces and issues; None where there is none."""

    def to_trace(self, trace_id: str, span_id: str = "") -> str | None:
        """Return the address of a trace, or of its span."""

    def to_issue(self, issue_id: str) -> str | None:
        """Return the address of an issue."""


def view(
    report: Report, scene: Scene, *, index: str | None, links: LinksTo, folder: Path | None = None
) -> dict[str, Any]:
    """Return what `report_body.html.j2` takes. `index` leads to the page over all reports.

    `folder`: where the report lies, for links that open a coding agent on a brief there.
    """
    known = None if scene.known_ids is None else set(scene.known_ids)
    shown, folded = headline.unfolded(report)
    first = causes.causes(report)
    titles = {finding.issue_id: headline.titled(finding) for finding in (*shown, *folded)}
    page = _Page(scene, links, titles, report.window.end, folder)
    return {
        "report": report,
        "headline": headline.headline(report),
        "partial": formats.partial(report),
        "engine": formats.engine(report),
        "answer": Markup(answer_markdown.to_html(report.answer, known)) if report.answer else None,  # noqa: S704 - made inert there
        "causes": first,
        "remainder": causes.remainder(report, first),
        "counts": causes.counts(report),
        "nothing": formats.nothing(report),
        "checks": formats.checks(report.coverage) if report.coverage.detectors else "",
        "findings": [
            *(_finding(finding, page, is_open=True) for finding in shown),
            *(_finding(finding, page, is_open=False) for finding in folded),
        ],
        "shown": len(shown),
        "unlisted": headline.open_rows(report) > len(first),
        "muted": told(report.findings).muted,
        "filtered": len(shown) + len(folded) >= FILTER_FROM,
        "index": index,
        "charts": charts.of_report(report),
    }


def view_of_finding(
    finding: Finding, scene: Scene, links: LinksTo, *, now_ns: int, folder: Path | None = None
) -> dict[str, Any]:
    """Return what the templates take of one finding that stands alone, told at `now_ns`."""
    titles = {finding.issue_id: headline.titled(finding)}
    return _finding(finding, _Page(scene, links, titles, now_ns, folder), is_open=True)


@dataclass(frozen=True, slots=True)
class _Page:
    """What the parts of a page are written from."""

    scene: Scene
    links: LinksTo
    titles: Mapping[str, str]
    now_ns: int
    folder: Path | None = None


def _finding(finding: Finding, page: _Page, *, is_open: bool) -> dict[str, Any]:
    scene = page.scene
    origin, symptom = finding.origin_span, finding.symptom_span
    rows = scene.traces.get(symptom.trace_id, []) if symptom else []
    return {
        "f": finding,
        "title": page.titles[finding.issue_id],
        "open": is_open,
        "counted": headline.counted_of(finding),
        "change": formats.change(finding),
        "agents": briefs.open_with(finding, page.folder),
        "common": [phrases.in_common(one, now_ns=page.now_ns) for one in finding.common],
        "impact": formats.impact(finding.impact) if finding.impact else "",
        "issue_url": page.links.to_issue(finding.issue_id),
        "trace_url": page.links.to_trace(symptom.trace_id, symptom.span_id) if symptom else None,
        "trend": trend(scene.history.get(finding.issue_id, ()), finding.prevalence.rate),
        "where": concentration(finding),
        "agent": next((item.value for item in finding.breakdown if item.dimension == "agent"), ""),
        "top": max(finding.prevalence.high * 1.25, 0.02),
        "causes": origin is not None and origin != symptom,
        "origin": _glance(origin, scene),
        "symptom": _glance(symptom, scene),
        "told": any(ref is not None and key_of(ref) in scene.spans for ref in (origin, symptom)),
        "bars": waterfall(rows, origin.span_id if origin else None, symptom.span_id if symptom else None),
        "spans": len(rows),
        "trace_id": symptom.trace_id if symptom else "",
        "evidence": [_quote(item, page) for item in finding.evidence],
        "counter": [_quote(item, page) for item in finding.counter_evidence],
        "together": [(other, page.titles[other]) for other in finding.seen_with if other in page.titles],
    }


def _glance(ref: SpanRef | None, scene: Scene) -> dict[str, Any] | None:
    return None if ref is None else {"ref": ref, "is": scene.spans.get(key_of(ref))}


def _quote(item: Evidence, page: _Page) -> dict[str, Any]:
    excerpt = page.scene.excerpts.get(quote_key(item), item.quote)
    before, found, after = excerpt.partition(item.quote)
    url = page.links.to_trace(item.trace_id, item.span_id)
    return {"e": item, "before": before if found else "", "after": after if found else "", "url": url}


def concentration(finding: Finding) -> dict[str, Any]:
    """Return the values whose traces a finding affects more than others, tested; else those where it is seen most."""
    tested = [
        b
        for b in finding.breakdown
        if b.q_value is not None and b.q_value < Q_STANDS_OUT and (b.risk_ratio is None or b.risk_ratio > 1)
    ]
    if tested:
        return {
            "title": "Where it concentrates",
            "rows": _foremost(tested),
            "ratios": any(b.risk_ratio for b in tested),
        }
    usual = [b for b in finding.breakdown if b.rate >= finding.prevalence.rate * 0.9]
    return {"title": "Where it is seen", "rows": _foremost(usual), "ratios": False}


def _foremost(breakdown: Sequence[Breakdown]) -> list[Breakdown]:
    return sorted(breakdown, key=lambda b: (-b.rate, -b.traces))[:MAX_WHERE]

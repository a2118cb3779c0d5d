"""The report as one self-contained page: opens offline, light and dark, prints, readable on a phone.

Text from traces is escaped by the template engine everywhere, and what cannot be seen in it is shown; what scripts read
is JSON inside a data block in which `<`, `>` and `&` are written as escapes. A content security policy forbids the page
every connection and every script but its own two.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from halo_worker.display import NAME_CHARACTERS, cut, one_line, visible
from halo_worker.links import NONE, Links
from halo_worker.report import answer_markdown, causes, formats, headline, phrases
from halo_worker.report.drawing import trend, waterfall
from halo_worker.report.issue import Issue
from halo_worker.report.model import SEVERITIES, Breakdown, Evidence, Finding, GroupTotals, Report, SpanRef
from halo_worker.report.page_data import Scene, key_of, quote_key
from halo_worker.report.rows import told

MAX_STRING = 8000  # of any one text on the page; report.json holds it whole
MAX_WHERE = 6
MAX_CHARTED = 10  # agents, models in a chart; the tables have more
Q_STANDS_OUT = 0.05
FILTER_FROM = 8  # findings from which on a filter is offered
INDEX_REPORTS = 500
_SETTLED = ("resolved", "muted", "wrong")

_FILTERS = (
    "count", "short", "dollars", "duration", "minute", "day", "plural", "cut", "chance", "left_out", "set_aside",
    "released", "fix_check",
)  # fmt: skip


def _shown(value: Any) -> Any:
    """Every string that the template writes passes here, before it is escaped."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return visible(cut(value, MAX_STRING))
    return value


def _joined(write: Callable[[Any], str]) -> Callable[[Any], str]:
    return lambda value: write(value).replace(" %", "\N{NO-BREAK SPACE}%")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("halo_worker.report"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, finalize=_shown,
    )  # fmt: skip
    for name in _FILTERS:
        environment.filters[name] = getattr(formats, name)
    for name in ("percent", "since"):  # a figure and its sign stay on one line
        environment.filters[name] = _joined(getattr(formats, name))
    environment.filters["unbroken"] = _joined(str)
    environment.filters["cause_label"] = formats.cause_label
    environment.filters["shell"] = lambda text: shlex.quote(one_line(text))  # ids of imported files may be anything
    return environment


@cache
def _asset(name: str) -> str:
    return resources.files("halo_worker.report").joinpath("assets", name).read_text(encoding="utf-8")


def data_block(value: Any) -> Markup:
    """Write JSON that can stand in a page: no character in it can end the block or begin markup."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))  # noqa: S704


def render_html(report: Report, scene: Scene | None = None, *, index: str | None = None, links: Links = NONE) -> str:
    """Write the page. `scene` is what stands around the findings; `index` a relative link to the page over all."""
    scene = scene or Scene()
    known = None if scene.known_ids is None else set(scene.known_ids)
    charts = {
        "timeline": report.totals.timeline,
        "agents": [_charted(group) for group in report.totals.by_agent[:MAX_CHARTED]],
        "models": [_charted(group) for group in report.totals.by_model[:MAX_CHARTED]],
    }
    shown, folded = headline.unfolded(report)
    first = causes.causes(report)
    page = _Page(report, scene, links, {finding.issue_id: headline.titled(finding) for finding in (*shown, *folded)})
    script, library = _asset("report.js"), _asset("chart.umd.min.js")
    hashes = " ".join(f"'sha256-{_digest(text)}'" for text in (library, script))
    return _environment().get_template("report.html.j2").render(
        report=report,
        headline=headline.headline(report),
        partial=formats.partial(report),
        engine=formats.engine(report),
        answer=Markup(answer_markdown.to_html(report.answer, known)) if report.answer else None,  # noqa: S704 - made inert there
        causes=first,
        remainder=causes.remainder(report, first),
        counts=causes.counts(report),
        nothing=formats.nothing(report),
        checks=formats.checks(report.coverage) if report.coverage.detectors else "",
        findings=[
            *(_finding(finding, page, is_open=True) for finding in shown),
            *(_finding(finding, page, is_open=False) for finding in folded),
        ],
        shown=len(shown),
        unlisted=headline.open_rows(report) > len(first),
        muted=told(report.findings).muted,
        filtered=len(shown) + len(folded) >= FILTER_FROM,
        index=index,
        css=Markup(_asset("report.css")),  # noqa: S704 - our own file
        library=Markup(library),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        policy=f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src {hashes}",
        charts=data_block(charts),
    )  # fmt: skip


def _charted(group: GroupTotals) -> dict[str, Any]:
    return {**group.model_dump(), "name": one_line(group.name, NAME_CHARACTERS)}


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@dataclass(frozen=True, slots=True)
class _Page:
    """What the parts of a page are written from."""

    report: Report
    scene: Scene
    links: Links
    titles: Mapping[str, str]


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
        "common": [phrases.in_common(one, now_ns=page.report.window.end) for one in finding.common],
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


def index_headline(states: Sequence[str]) -> str:
    """Say in a line how the issues stand."""
    if not states:
        return "No failure modes are known yet."
    current = [state for state in states if state not in _SETTLED]
    worse = ", ".join(f"{states.count(name)} {name}" for name in ("new", "regressed", "worsening") if name in states)
    text = f"{formats.plural(len(current), 'failure mode')} now{f': {worse}' if worse else ''}"
    return f"{text}; {states.count('resolved')} resolved." if "resolved" in states else f"{text}."


def render_index(reports: Sequence[Report], issues: Iterable[Issue]) -> str:
    """Write the page over all reports, newest first, and issues. An issue leads to the last report that holds it."""
    last: dict[str, str] = {}
    for report in reports:
        for finding in report.findings:
            last.setdefault(finding.issue_id, report.id)
    rows: list[dict[str, Any]] = [
        {
            "i": issue,
            "f": issue.finding,
            "title": headline.titled(issue.finding),
            "state": issue.state,
            "report": last.get(issue.issue_id),
            "trend": trend(issue.history),
            "rate": issue.history[-1].rate if issue.history else None,
        }
        for issue in issues
    ]
    rows.sort(key=lambda row: (row["state"] in _SETTLED, SEVERITIES.index(row["f"].severity), -row["i"].last_seen))
    script = _asset("report.js")
    return _environment().get_template("index.html.j2").render(
        headline=index_headline([row["state"] for row in rows]),
        reports=[{"r": report, "headline": headline.headline(report)} for report in reports[:INDEX_REPORTS]],
        more=max(0, len(reports) - INDEX_REPORTS),
        issues=rows,
        whose=formats.whose([issue.scope for issue in (row["i"] for row in rows)]),
        css=Markup(_asset("report.css")),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        policy=f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{_digest(script)}'",
    )  # fmt: skip

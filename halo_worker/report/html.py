"""The report as one self-contained page: opens offline, light and dark, prints, readable on a phone.

Text from traces is escaped by the template engine everywhere, and what cannot be seen in it is shown. A content
security policy forbids the page every connection, and every style and script but its own.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from halo_worker.links import NONE, Links
from halo_worker.report import formats, headline
from halo_worker.report.drawing import trend
from halo_worker.report.issue import Issue
from halo_worker.report.model import SEVERITIES, Report
from halo_worker.report.page_data import Scene
from halo_worker.report.rendering import environment
from halo_worker.report.view import view

INDEX_REPORTS = 500
_SETTLED = ("resolved", "muted", "wrong")


@cache
def _environment() -> Environment:
    return environment("halo_worker.report")


@cache
def _asset(name: str) -> str:
    return resources.files("halo_worker.report").joinpath("assets", name).read_text(encoding="utf-8")


def render_html(
    report: Report, scene: Scene | None = None, *, index: str | None = None, links: Links = NONE,
    folder: Path | None = None,
) -> str:  # fmt: skip
    """Write the page. `scene` is what stands around the findings; `index` a relative link to the page over all.

    `folder`: where the report lies, for links that open a coding agent on a brief there.
    """
    return _document("report.html.j2", **view(report, scene or Scene(), index=index, links=links, folder=folder))


def _document(template: str, **context: Any) -> str:
    """Write a self-contained page with our stylesheet and script; its policy allows these two by their hashes."""
    css, script = _asset("report.css"), _asset("report.js")
    return _environment().get_template(template).render(
        css=Markup(css),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        policy=f"default-src 'none'; style-src {_hash(css)}; img-src data:; script-src {_hash(script)}",
        **context,
    )  # fmt: skip


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


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
    return _document(
        "index.html.j2",
        headline=index_headline([row["state"] for row in rows]),
        reports=[{"r": report, "headline": headline.headline(report)} for report in reports[:INDEX_REPORTS]],
        more=max(0, len(reports) - INDEX_REPORTS),
        issues=rows,
        whose=formats.whose([issue.scope for issue in (row["i"] for row in rows)]),
    )

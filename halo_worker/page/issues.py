"""Failure modes over time: a table whose filters are its address, and each one's history, evidence and decisions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast
from urllib.parse import quote

from aiohttp import web

from halo_worker.errors import InputError
from halo_worker.page import security
from halo_worker.page.data import DATA, Data, PageLinks, trace_path
from halo_worker.page.paging import Paging
from halo_worker.page.rendering import render
from halo_worker.report import charts, formats
from halo_worker.report.decisions import Action
from halo_worker.report.drawing import trend
from halo_worker.report.headline import titled
from halo_worker.report.issue import Issue
from halo_worker.report.model import SEVERITIES, Finding
from halo_worker.report.page_data import Scene, read_scene
from halo_worker.report.states import Point
from halo_worker.report.statistics import wilson
from halo_worker.report.view import view_of_finding

PER_PAGE = 100
MAX_POINTS = 60  # windows in the chart; the table below it has as many
MAX_TRACES = 50  # affected ones that are listed
MAX_AGENTS = 3
SETTLED = ("resolved", "muted", "wrong")
STATES = ("new", "regressed", "worsening", "ongoing", "improving", "resolved", "muted", "wrong")
ASKED = ("q", "state", "severity", "agent", "sort")
DONE: dict[Action, str] = {
    "mute": "Muted: no report and no sink tells of it; it is still measured.",
    "unmute": "No longer muted.",
    "resolve": "Resolved: the next windows check it, and say if it comes back.",
    "reopen": "Reopened.",
    "wrong": "Marked wrong: its hits no longer count.",
    "note": "Noted.",
}


async def list_issues(request: web.Request) -> web.Response:
    """List the issues; `state`, `severity`, `agent`, `q` and `sort` of the address filter and order them."""
    data = request.app[DATA]
    paging = Paging.of(request, PER_PAGE)
    return render(request, "issues.html.j2", **await data.blocking(table, data, dict(request.query), paging))


def table(data: Data, asked: dict[str, str], paging: Paging) -> dict[str, Any]:
    """Return what the table of issues shows: those that the filters leave, and what can be filtered by."""
    memory = data.memory()
    issues = list(memory.issues.values()) or list(memory.others.values())
    rows = [_row(issue) for issue in issues]
    agents = sorted({agent for row in rows for agent in row["agents"]})
    kept = [row for row in rows if _fits(row, asked)]
    kept.sort(key=_order(asked.get("sort", "")))
    shown = [row | {"trend": trend(row["i"].history)} for row in paging.cut(kept)]
    return {
        "rows": shown,
        "paging": paging.over(len(kept)),
        "all": len(rows),
        "settled": sum(row["state"] in SETTLED for row in rows),
        "asked": {name: asked.get(name, "") for name in ASKED},
        "agents": agents,
        "states": [state for state in STATES if any(row["state"] == state for row in rows)],
        "severities": SEVERITIES,
        "by_hand": not memory.issues and bool(issues),
        "whose": formats.whose([issue.scope for issue in issues]) if memory.issues else "",
    }


def _row(issue: Issue) -> dict[str, Any]:
    finding = issue.finding
    return {
        "i": issue,
        "f": finding,
        "title": titled(finding),
        "state": issue.state,
        "rate": issue.history[-1].rate if issue.history else finding.prevalence.rate,
        "agents": _agents(finding),
        "impact": _impact(finding),
        "release": finding.last_release,
    }


def _agents(finding: Finding) -> list[str]:
    return [one.value for one in finding.breakdown if one.dimension == "agent"][:MAX_AGENTS]


def _impact(finding: Finding) -> str:
    """Say in a few words what it cost: dollars, or tokens where no price is known, and people."""
    taken = finding.impact
    if taken is None:
        return ""
    cost = formats.dollars(taken.cost_usd) if taken.cost_usd else f"{formats.short(taken.tokens)} tokens"
    return " · ".join(filter(None, [cost, formats.plural(taken.users, "user") if taken.users else ""]))


def _fits(row: dict[str, Any], asked: dict[str, str]) -> bool:
    state = asked.get("state", "")
    if state == "" and row["state"] in SETTLED:
        return False
    if state not in ("", "all") and row["state"] != state:
        return False
    if asked.get("severity", "") not in ("", row["f"].severity):
        return False
    if asked.get("agent") and asked["agent"] not in row["agents"]:
        return False
    text = f"{row['title']} {row['f'].category} {row['i'].issue_id} {' '.join(row['agents'])}".lower()
    return all(word in text for word in asked.get("q", "").lower().split())


def _order(name: str) -> Any:
    keys = {
        "rate": lambda row: -row["rate"],
        "first": lambda row: -row["i"].first_seen,
        "last": lambda row: -row["i"].last_seen,
    }
    usual = lambda row: (row["state"] in SETTLED, SEVERITIES.index(row["f"].severity), -row["i"].last_seen)  # noqa: E731
    return keys.get(name, usual)


async def show(request: web.Request) -> web.Response:
    """Show one issue."""
    return await _shown(request)


async def _shown(request: web.Request, *, problem: str = "", status: int = 200) -> web.Response:
    data = request.app[DATA]
    context = await data.blocking(_view, data, request.match_info["id"])
    done = DONE.get(cast(Action, request.query.get("done", "")), "")
    return render(request, "issue.html.j2", status=status, done=done, problem=problem, **context)


def _view(data: Data, issue_id: str) -> dict[str, Any]:
    issue = data.memory().find(issue_id)
    points = [point for point in issue.history if point.of][-MAX_POINTS:]
    run_id, finding, scene = _last_report(data, issue)
    traces = sorted(data.archive.affected_traces(run_id, issue.issue_id)) if run_id else []
    return {
        "i": issue,
        "state": issue.state,
        "standing": issue.standing,
        "title": titled(issue.finding),
        "impact": _impact(issue.finding),
        "agents": _agents(issue.finding),
        "item": view_of_finding(
            finding,
            scene,
            PageLinks(data.settings),
            now_ns=data.clock(),
            folder=data.folder(run_id) if run_id else None,
        ),
        "run_id": run_id,
        "points": [(point, _interval(point)) for point in reversed(points)],
        "chart": _chart(points),
        "whose": formats.whose([issue.scope]),
        "traces": [(trace, trace_path(trace)) for trace in traces[:MAX_TRACES]],
        "all_traces": len(traces),
        "filter": f"/traces?finding={quote(issue.issue_id, safe='')}",
        "decisions": list(reversed(issue.decisions)),
        "verified": list(reversed(data.archive.verifications.of(issue.issue_id))),
    }


def _last_report(data: Data, issue: Issue) -> tuple[str | None, Finding, Scene]:
    """Return the last report that held an issue, and what it said; its last known words where there is none."""
    archive = data.archive
    held = next((point.run_id for point in reversed(issue.history) if point.traces), None)
    for run_id in [held] if held else archive.ids()[:PER_PAGE]:
        for report in archive.reports_of([run_id])[0]:
            for finding in report.findings:
                if finding.issue_id == issue.issue_id:
                    return report.id, finding, read_scene(archive.directory / report.id)
    return None, issue.finding, Scene()


def _chart(points: Sequence[Point]) -> Any:
    if len(points) < 2:
        return None
    values = [(point.rate, *_interval(point)) for point in points]
    return charts.rates("Rate by window", [formats.minute(point.end_ns)[5:] for point in points], values)


def _interval(point: Point) -> tuple[float, float]:
    return wilson(min(point.traces, point.of), point.of)


async def decide(request: web.Request) -> web.Response:
    """Take a decision, as `halo issues` does, and lead back to the issue."""
    data, form = request.app[DATA], await request.post()
    action = str(form.get("action", ""))
    if action not in DONE:
        raise InputError(f"there is no action '{action}'")
    given = {name: str(form.get(name, "")).strip() for name in ("note", "release", "by")}
    by = given["by"] or ("" if security.signed_in(request) else None)
    try:
        issue_id = await data.blocking(_decide, data, request.match_info["id"], action, given, by)
    except InputError as error:
        missing = "Say why in the note: readers and the model are told." if action in ("wrong", "note") else str(error)
        return await _shown(request, problem=missing, status=400)
    raise web.HTTPSeeOther(f"/issues/{quote(issue_id, safe='')}?done={action}")


def _decide(data: Data, issue_id: str, action: Action, given: dict[str, str], by: str | None) -> str:
    issue = data.memory().find(issue_id)
    data.archive.decisions.append(
        issue.issue_id, action, now_ns=data.clock(), note=given["note"], by=by,
        release=(given["release"] or None) if action == "resolve" else None,
    )  # fmt: skip
    return issue.issue_id


ROUTES = [
    web.get("/issues", list_issues),
    web.get("/issues/{id}", show),
    web.post("/issues/{id}/decide", decide),
]

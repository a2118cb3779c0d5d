"""An issue as data, the same wherever it is listed: the command line's JSON and MCP."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from halo_worker.report.issue import Issue
from halo_worker.report.memory import IssueMemory
from halo_worker.report.model import iso_nano


def listed(memory: IssueMemory, *, followed: bool = False) -> tuple[list[Issue], bool]:
    """Return the issues, last seen first, and whether they are those of runs by hand: where no window is followed.

    `followed`: only those that have a history in the scope of the memory.
    """
    issues = [issue for issue in memory.issues.values() if not followed or issue.history]
    by_hand = not issues and not followed
    return _last_seen_first(memory.others.values() if by_hand else issues), by_hand


def _last_seen_first(issues: Iterable[Issue]) -> list[Issue]:
    return sorted(issues, key=lambda one: (-one.last_seen, one.issue_id))


def rate(issue: Issue) -> float | None:
    """Return the rate of the last window."""
    return issue.history[-1].rate if issue.history else None


def row(issue: Issue) -> dict[str, Any]:
    """Return what a list says of an issue."""
    now = rate(issue)
    return {
        "issue_id": issue.issue_id,
        "state": issue.state,
        "severity": issue.finding.severity,
        "title": issue.finding.title,
        "schedule": issue.scope,
        "first_seen": iso_nano(issue.first_seen),
        "last_seen": iso_nano(issue.last_seen),
        "rate": None if now is None else round(now, 6),
        "windows": len(issue.history),
    }


def details(issue: Issue) -> dict[str, Any]:
    """Return what is said of one issue beside its row: windows and decisions, oldest first."""
    return {
        "category": issue.finding.category,
        "history": [
            {
                "run_id": point.run_id, "end": iso_nano(point.end_ns), "traces": point.traces, "of": point.of,
                "state": point.state or None, "muted": point.muted, "struck": point.struck,
            }
            for point in issue.history
        ],
        "decisions": [
            {
                "action": item.action, "note": item.note, "at": iso_nano(item.at_ns), "by": item.by,
                "release": item.release, "traces": list(item.traces),
            }
            for item in issue.decisions
        ],
    }  # fmt: skip

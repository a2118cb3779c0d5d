"""The reports of a data directory, and its issue memory: which of them it is made of, as a schedule or a run by hand
sees them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import EllipsisType

from halo_worker.config import Settings
from halo_worker.errors import InputError
from halo_worker.report.archive import Archive
from halo_worker.report.issue import Scope
from halo_worker.report.memory import IssueMemory
from halo_worker.report.model import Report
from halo_worker.report.shared import ALONE, Alone
from halo_worker.window import Window

REMEMBERED = 1000  # newest reports that issues are known from: 4 ms each to read, at every run


def reports_dir(current: Settings) -> Path:
    """Return where reports are published."""
    return current.store.data_dir / "reports"


def archive(current: Settings, shared: Alone | None = None, *, at_once: bool = False) -> Archive:
    """Return the reports of the data directory; where there is a lake, with those of its other hosts.

    These are as of a few seconds ago at most, or of now where `at_once` says so.
    """
    found = Archive(reports_dir(current), shared=shared or _shared(current))
    found.shared.look(at_once=at_once)
    return found


def _shared(current: Settings) -> Alone:
    if not current.lake.on:
        return ALONE
    from halo_worker.shared_reports import SharedReports  # what only a lake needs

    return SharedReports(current.lake, reports_dir(current))


def watermarks(current: Settings) -> Callable[[str, int], int | None]:
    """Return the question: where did a schedule's last published window end, as of a time?"""
    found = archive(current)
    return lambda name, now_ns: found.watermark(name, now_ns=now_ns)


def last_reports(current: Settings, found: Archive | None = None) -> dict[str, Report]:
    """Return the newest report of each schedule that has run; an archive that is given remembers what was read."""
    reports, _ = (found or archive(current)).reports(newest=REMEMBERED)
    return {report.schedule: report for report in reversed(reports) if report.schedule}


def memory(current: Settings, *, scope: Scope | EllipsisType = ...) -> IssueMemory:
    """Return the issues of the data directory, as one schedule sees them; without it, as the last to see each."""
    return open_memory(archive(current), scope=scope)


def open_memory(
    archive: Archive,
    *,
    scope: Scope | EllipsisType = ...,
    window: Window | None = None,
    by_hand: bool = False,
) -> IssueMemory:
    """Return the issues that the reports of `archive` tell of, as `scope` sees them.

    With a window, as they were before it: what was found in it, and later, is no past to compare it with.
    """
    from halo_worker.analysis.detectors import REPLACED  # reads the whole catalogue

    reports, _ = archive.reports(newest=REMEMBERED)

    def precedes(report: Report) -> bool:
        return window is None or _precedes(report, window, by_hand=by_hand)

    return IssueMemory(
        reports,
        archive.decisions.read(),
        scope=scope,
        precedes=precedes,
        replaced=REPLACED,
        traces_of=Archive(archive.directory).affected_traces,  # that archive has read nothing, and keeps nothing
    )


def _precedes(report: Report, window: Window, *, by_hand: bool) -> bool:
    """Say whether a report's window comes before another.

    A schedule's windows may overlap, and come in order. A run by hand may look at the time of a schedule's windows
    once more, so that windows are left out that share half of their length with it.
    """
    if not by_hand:
        return report.window.end < window.end_ns
    shared = min(report.window.end, window.end_ns) - max(report.window.start, window.start_ns)
    shorter = min(report.window.end - report.window.start, window.end_ns - window.start_ns)
    return report.window.end < window.end_ns and shared < shorter / 2


def scope_by_hand(current: Settings, archive: Archive, asked: str | None) -> Scope:
    """Return whose memory a run by hand reads: the schedule that was asked for, else the only one, else its own.

    Raises InputError when there is no schedule of that name, configured or in the reports.
    """
    reported = scopes_of(archive.reports(newest=REMEMBERED)[0])
    configured = list(current.schedules)
    if asked is not None:
        if asked in configured or asked in reported:
            return asked
        known = ", ".join(dict.fromkeys((*configured, *reported))) or "none"
        raise InputError(f"there is no schedule {json.dumps(asked)}", hint=f"there are: {known}")
    if len(configured) > 1:
        return None
    if not reported or configured[0] in reported:
        return configured[0]
    return reported[0] if len(reported) == 1 else None


def scopes_of(reports: Sequence[Report]) -> list[str]:
    """Return the schedules whose memory reports extend."""
    return sorted({report.scope for report in reports if report.scope is not None and report.is_remembered})

"""The message of an episode: a report of one finding, with verified quotes of its newest traces.

Everything that delivers, redacts and renders a report then does so with an alert.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from halo_receiver.store.reader import Reader
from halo_worker import assembly
from halo_worker.alerts.conditions import Ended, Finding, nanoseconds
from halo_worker.alerts.journal import Event, Look
from halo_worker.alerts.look import Found
from halo_worker.analysis import overview
from halo_worker.analysis.detectors import QUOTES, quotes, tables
from halo_worker.analysis.draft import Draft, DraftFinding
from halo_worker.analysis.evidence import verify
from halo_worker.config_alerts import AlertConfig
from halo_worker.links import Links
from halo_worker.report import formats
from halo_worker.report.alert import AlertNote
from halo_worker.report.comparison import Counts
from halo_worker.report.headline import titled
from halo_worker.report.memory import IssueMemory
from halo_worker.report.model import SEVERITIES, Coverage, Engine, Evidence, Report, ReportWindow, State, Totals
from halo_worker.report.model import Finding as Reported
from halo_worker.report.statistics import wilson
from halo_worker.window import SECOND, Window

_STATES: Mapping[str, State] = {"new": "new", "regressed": "regressed", "rate": "worsening"}
_NEWEST = f"""
  SELECT trace_id, span_id, field, quote FROM _blamed JOIN _t USING (trace_id)
  WHERE detector = $1 AND key = $2 AND list_contains($3, trace_id)
  QUALIFY row_number() OVER (PARTITION BY trace_id ORDER BY span_id) = 1
  ORDER BY start_time DESC, trace_id LIMIT {QUOTES}
"""


def reported(
    reader: Reader, found: Found, issue_ids: Sequence[str], known: IssueMemory, window: Window
) -> dict[str, Reported]:
    """Return findings as a report would have them, with their newest evidence; those whose quotes are not found are not
    among them. Makes the tables of a report, which takes seconds: it is asked only where an episode begins.
    """
    overview.prepare(reader)
    tables.prepare(reader, tables.known())
    drafts = [_with_newest(reader, found.drafts[issue_id]) for issue_id in issue_ids]
    units = {unit.name: unit for unit in found.ran.units}
    engine = Engine(mode="detectors", rules={name: unit.version for name, unit in units.items()})
    draft = Draft(engine, quotes.prove(reader, drafts, units))
    about = assembly.About("alert", window, window.end_ns, None, None)
    assembled = assembly.assemble(reader, about, draft, verify(reader, draft), known, not_examined=())
    return {one.issue_id: one for one in assembled.report.findings if one.issue_id in issue_ids}


def _with_newest(reader: Reader, draft: DraftFinding) -> DraftFinding:
    traces = sorted({one.trace_id for one in draft.occurrences})
    rows = reader.query(_NEWEST, [draft.detector_name, draft.key, traces])
    return replace(draft, evidence=[Evidence(**row) for row in rows] or draft.evidence)


def severe_enough(finding: Reported, config: AlertConfig) -> bool:
    """Say whether a finding is as severe as an alert wants."""
    return SEVERITIES.index(finding.severity) <= SEVERITIES.index(config.min_severity)


def opened(look: Look, config: AlertConfig, decided: Finding, finding: Reported, *, links: Links) -> Event:
    """Return the event of an episode that begins, with its message."""
    end_ns = look.end_ns
    episode = f"{_stamp(end_ns)}-{_short(look.alert, decided.issue_id, end_ns)}"
    told = finding.model_copy(
        update={
            "state": _STATES[config.when], "group_id": None, "symptoms": [], "muted": False,
            "prevalence": finding.prevalence.model_copy(update=_prevalence(decided.counted, decided)),
        }
    )  # fmt: skip
    says = _says_opened(config, decided, told)
    newest = told.evidence[0] if told.evidence else None
    link = links.to_issue(told.issue_id) or (links.to_trace(newest.trace_id, newest.span_id) if newest else None)
    note = AlertNote(name=look.alert, when=config.when, what="opened", episode=episode, opened_at=end_ns, link=link)
    report = _report(episode, note, told, decided.counted, says, Window(end_ns - nanoseconds(config.window), end_ns))
    return Event(
        "opened", episode, decided.issue_id, end_ns, says, told.severity, decided.counted, decided.before, episode,
        report.model_dump(mode="json"),
    )  # fmt: skip


def over(look: Look, ended: Ended, first: Report | None) -> Event:
    """Return the event of an episode that is over; its message has the finding of the first, where that is there."""
    end_ns, began, since = look.end_ns, ended.episode.opened, ended.since
    message = f"{_stamp(end_ns)}-{_short(look.alert, began.issue_id, began.at_ns, 'over')}"
    title = titled(first.findings[0]) if first and first.findings else began.issue_id
    says = f"over: {title}: {_says_over(ended)}"
    event = Event("over", began.episode, began.issue_id, end_ns, says, began.severity, since)
    if first is None or not first.findings or first.alert is None:
        return event
    told = first.findings[0].model_copy(
        update={
            "state": "resolved", "evidence": [], "counter_evidence": [], "affected": [], "affected_spans": 0,
            "affected_left_out": 0, "breakdown": [], "calls": None, "common": [], "impact": None,
            "prevalence": first.findings[0].prevalence.model_copy(update=_prevalence(since, None)),
        }
    )  # fmt: skip
    note = first.alert.model_copy(update={"what": "over"})
    report = _report(message, note, told, since, says, Window(ended.last_ns, end_ns))
    return replace(event, message=message, report=report.model_dump(mode="json"))


def _report(report_id: str, note: AlertNote, finding: Reported, counted: Counts, says: str, window: Window) -> Report:
    rules = {finding.detector.name: finding.detector.version} if finding.detector else {}
    return Report(
        id=report_id, window=ReportWindow(start=window.start_ns, end=window.end_ns), created_at=window.end_ns,
        alert=note, summary=says, headline=says, first_window=False,
        engine=Engine(mode="detectors", rules=rules), findings=[finding],
        coverage=Coverage(traces=counted.of, traces_examined=counted.of, detectors=len(rules)),
        totals=Totals(traces=counted.of, affected_traces=counted.traces),
    )  # fmt: skip


def _prevalence(counted: Counts, decided: Finding | None) -> dict[str, object]:
    low, high = wilson(*counted)
    before = decided.before if decided else None
    return {
        "traces": counted.traces, "of": counted.of, "rate": counted.rate, "low": low, "high": high,
        "previous_rate": before.rate if before else None, "p_value": decided.p_value if decided else None,
        "enough": None,
    }  # fmt: skip


def _says_opened(config: AlertConfig, decided: Finding, finding: Reported) -> str:
    here, before = decided.counted, decided.before
    first = {"new": "new: ", "regressed": "back: ", "rate": ""}[config.when]
    text = f"{first}{titled(finding)}: {_of(here)} in {config.window} ({formats.percent(here.rate)})"
    if before is not None:
        text += f", against {_of(before)} before ({formats.percent(before.rate)})"
    if finding.resolution is not None:
        text += f"; resolved {formats.minute(finding.resolution.at)} UTC"
    return f"{text}."


def _says_over(ended: Ended) -> str:
    since = ended.since
    from_ = f"since {formats.minute(ended.last_ns)} UTC"
    if not since.of:
        return f"no trace has arrived {from_}."
    lasted = formats.duration(ended.last_ns - ended.episode.opened.at_ns)
    held = f", after {lasted}" if ended.last_ns - ended.episode.opened.at_ns >= SECOND else ""
    left = _of(since) if since.traces else f"none of {formats.plural(since.of, 'trace')}"
    return f"{left} {from_}{held}."


def _of(counted: Counts) -> str:
    return f"{counted.traces:,} of {formats.plural(counted.of, 'trace')}"


def _stamp(unix_nano: int) -> str:
    return f"{datetime.fromtimestamp(unix_nano // SECOND, UTC):%Y%m%dT%H%M%SZ}"


def _short(*parts: object) -> str:
    """Return what tells messages of one second apart: the same for the same episode, however often it is made."""
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()[:8]

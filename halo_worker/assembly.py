"""The report, put together from what is verified: identities, states, severities, totals and contrasts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from halo_receiver.store.reader import Reader
from halo_worker import resolutions
from halo_worker.analysis import contrast, overview
from halo_worker.analysis.affected_spans import MAX_SPANS_OF_TRACE
from halo_worker.analysis.calibration import NOTE
from halo_worker.analysis.decision_scope import traces_since
from halo_worker.analysis.draft import Draft, Refuted
from halo_worker.analysis.evidence import Verified, VerifiedFinding
from halo_worker.analysis.facts import Facts, facts
from halo_worker.analysis.identities import identity
from halo_worker.display import cut
from halo_worker.report import briefs, formats
from halo_worker.report.affected import AffectedSpan
from halo_worker.report.decisions import Decision
from halo_worker.report.groups import in_groups
from halo_worker.report.headline import headline
from halo_worker.report.identity import mask
from halo_worker.report.issue import Assessment, Releases, Seen
from halo_worker.report.memory import IssueMemory, rule_name
from halo_worker.report.model import (
    Coverage,
    Detector,
    Finding,
    Fix,
    Note,
    Release,
    Report,
    ReportWindow,
    SetAside,
    SpanRef,
    Status,
)
from halo_worker.report.rows import told
from halo_worker.report.severity import order_of, severity_of
from halo_worker.report.states import UNKNOWN_RULE, Point, absent_windows
from halo_worker.window import Window

SIGNATURE_CHARACTERS = 2000  # of an error's text; its issue is told by all of it


@dataclass(frozen=True, slots=True)
class About:
    """What a report says of its run."""

    run_id: str
    window: Window
    created_ns: int
    schedule: str | None
    prompt: str | None
    memory: str | None = None  # of a run by hand: the schedule whose memory it reads
    remembered: bool = False


@dataclass(frozen=True, slots=True)
class Assembled:
    """A report, the history of its issues, and all of its affected spans."""

    report: Report
    history: dict[str, list[Point]]
    affected: list[AffectedSpan]


def assemble(
    reader: Reader,
    about: About,
    draft: Draft,
    verified: Verified,
    known: IssueMemory,
    *,
    not_examined: Sequence[str],
) -> Assembled:
    """Put the report together: what is verified, held against the windows before.

    Needs the tables of `overview.prepare` and `run_detectors`.
    """
    releases = overview.releases(reader)
    seen_first = _first_seen(known.releases, releases)
    findings, history, affected = [], {}, []
    traces_of: dict[str, set[str]] = {}
    unsure = [item for item in verified.findings if _is_note(item)]
    sure = [item for item in verified.findings if not _is_note(item)]
    for item, fact in zip(sure, facts(reader, sure), strict=True):
        issue_id, continues = identity(item.draft, known)
        traces_of[issue_id] = {occurrence.trace_id for occurrence in item.occurrences}
        assessed = known.assess(issue_id, _seen(reader, item, traces_of[issue_id], seen_first))
        history[issue_id] = assessed.history
        affected += [
            AffectedSpan(issue_id, one.trace_id, one.origin_span_id, one.symptom_span_id, item.draft.category)
            for one in item.occurrences
        ]
        findings.append(_finding(item, fact, assessed, continues, known))
    totals = overview.totals(reader, sorted(set().union(*traces_of.values())), releases)
    findings = in_groups(sorted(findings, key=order_of), affected, known.leads)
    muted = [one.issue_id for row in told(findings).muted for one in (row.lead, *row.symptoms)]
    muted_traces = len(set().union(*(traces_of[issue_id] for issue_id in muted)))
    outcomes, contrasts = contrast.contrasts(reader)
    set_aside = [_set_aside(item, known) for item in draft.set_aside]
    seen = {*history, *(item.issue_id for item in set_aside), *(identity(item.draft, known)[0] for item in unsure)}
    resolved = known.resolved_now(seen, of=totals.traces, rules=draft.engine.rules)
    for issue in resolved:
        history[issue.issue_id] = issue.history
    findings += [issue.gone(totals.traces) for issue in resolved]
    report = Report(
        id=about.run_id,
        window=ReportWindow(start=about.window.start_ns, end=about.window.end_ns),
        created_at=about.created_ns,
        schedule=about.schedule,
        remembered=about.remembered,
        memory=about.memory,
        prompt=about.prompt,
        answer=draft.answer,
        summary=draft.summary,
        status=_status(about, draft, findings),
        stopped_by=draft.stopped_by,
        unanswered=draft.unanswered,
        engine=draft.engine,
        coverage=Coverage(
            traces=totals.traces,
            spans=totals.spans,
            traces_examined=min(draft.traces_examined, totals.traces),
            sampled=draft.sampled,
            not_examined=[*draft.not_examined, *_beyond(verified.findings), *not_examined],
            unsupported=draft.unsupported,
            detectors=len(draft.engine.rules),
            detectors_off=draft.detectors_off,
        ),
        totals=totals.model_copy(update={"muted_traces": muted_traces}),
        first_window=known.windows == 0,
        findings=findings,
        outcomes=outcomes,
        contrasts=contrasts,
        left_out=draft.left_out,
        fixes=resolutions.fix_checks(reader, known, traces_of, draft.engine.rules, seen_first),
        set_aside=set_aside,
        notes=[_note(item) for item in unsure],
        rejected=verified.rejected,
    )
    line = headline(report)
    if unanswered := formats.unanswered(report):
        line = f"{unanswered[0].upper()}{unanswered[1:].rstrip('.')}. {line}"
    report = report.model_copy(update={"headline": line, "summary": report.summary or line})
    return Assembled(report, history, affected)


def _beyond(findings: Sequence[VerifiedFinding]) -> list[str]:
    """Say which affected spans are counted and not listed."""
    return [
        f"{formats.plural(item.spans_left_out, 'affected span')} of {item.draft.title!r} are not listed: "
        f"at most {MAX_SPANS_OF_TRACE} of one trace are"
        for item in findings
        if item.spans_left_out
    ]


def _is_note(item: VerifiedFinding) -> bool:
    return item.draft.source == "detector" and item.draft.confidence < NOTE


def _note(item: VerifiedFinding) -> Note:
    draft, seen = item.draft, item.prevalence
    return Note(
        detector=draft.detector_name, title=draft.title, category=draft.category, confidence=draft.confidence,
        traces=seen.traces, of=seen.of, evidence=item.evidence,
    )  # fmt: skip


def _set_aside(item: Refuted, known: IssueMemory) -> SetAside:
    finding = item.finding
    return SetAside(
        issue_id=identity(finding, known)[0], title=finding.title, verdict=item.verdict, traces=item.dropped,
        of=len({one.trace_id for one in finding.occurrences}), why=item.why, evidence=item.evidence,
    )  # fmt: skip


def _seen(reader: Reader, item: VerifiedFinding, traces: set[str], releases: Releases) -> Seen:
    def since(decision: Decision) -> int:
        return traces_since(reader, traces, decision, releases)

    return Seen(
        traces=item.prevalence.traces,
        of=item.prevalence.of,
        first_seen=item.first_seen_ns,
        rule=_rule(item),
        confidence=item.draft.confidence,
        since=since,
    )


def _rule(item: VerifiedFinding) -> str:
    draft = item.draft
    if draft.source != "detector":
        return UNKNOWN_RULE
    return rule_name(draft.detector_name, draft.rule_version, judged=draft.judged)


def _first_seen(before: Releases, now: Sequence[Release]) -> dict[tuple[str, str], int]:
    """Return when each release was first seen, in earlier windows or in this one."""
    first = dict(before)
    for release in now:
        key = (release.service, release.version)
        first[key] = min(release.first_seen, first.get(key, release.first_seen))
    return first


def _status(about: About, draft: Draft, findings: list[Finding]) -> Status:
    """Return failed for a question without an answer and without findings, partial for what stopped early."""
    if about.prompt and draft.answer is None and not findings:
        return "failed"
    return "partial" if draft.stopped_by or draft.unanswered is not None else "complete"


def _finding(
    item: VerifiedFinding, fact: Facts, assessed: Assessment, continues: list[str], known: IssueMemory
) -> Finding:
    draft, prevalence, before = item.draft, item.prevalence, known.issues.get(assessed.issue_id)
    severity, reason = severity_of(
        rate=prevalence.rate,
        traces=prevalence.traces,
        failed_share=item.failed_traces / max(1, prevalence.traces),
        recovered_share=item.recovered_traces / max(1, prevalence.traces),
        state=assessed.state,
        hint=draft.severity_hint,
        impact=fact.impact,
        first_window=known.windows == 0,
    )
    first = next((one for one in item.occurrences if one.trace_id == item.evidence[0].trace_id), item.occurrences[0])
    finding = Finding(
        issue_id=assessed.issue_id,
        title=draft.title,
        description=draft.description,
        category=draft.category,
        severity=severity,
        severity_reason=reason,
        confidence=draft.confidence,
        source=draft.source,
        state=assessed.state,
        first_seen=assessed.first_seen,
        last_seen=item.last_seen_ns,
        first_release=(before.finding.first_release if before else None) or fact.first_release,
        last_release=fact.last_release or (before.finding.last_release if before else None),
        detector=Detector(
            name=draft.detector_name, sql=draft.sql, version=draft.rule_version, definition=draft.definition
        ),
        signature=cut(mask(draft.key), SIGNATURE_CHARACTERS),
        prevalence=prevalence.model_copy(
            update={
                "previous_rate": assessed.derived.previous_rate,
                "p_value": assessed.derived.p_value,
                "enough": assessed.derived.enough,
            }
        ),
        judged=draft.judged,
        comparable=assessed.derived.comparable,
        muted=assessed.muted,
        resolution=resolutions.resolution(assessed),
        replaces=continues,
        seen_from=fact.seen_from,
        absent_windows=absent_windows(assessed.history),
        calls=fact.calls,
        place=fact.place,
        told_otherwise=fact.told_otherwise,
        common=fact.common,
        impact=fact.impact,
        breakdown=item.breakdown,
        origin_span=_ref(first.trace_id, first.origin_span_id),
        symptom_span=_ref(first.trace_id, first.symptom_span_id or first.origin_span_id),
        affected=item.affected,
        affected_spans=len(item.occurrences),
        affected_left_out=item.spans_left_out,
        evidence=item.evidence,
        counter_evidence=item.counter_evidence,
        root_cause=draft.root_cause,
        fix=Fix(summary=draft.fix_summary, validation=draft.fix_validation, brief=""),
    )
    brief = briefs.brief_of(finding)
    return finding.model_copy(update={"fix": finding.fix.model_copy(update={"brief": brief})})


def _ref(trace_id: str, span_id: str | None) -> SpanRef | None:
    return SpanRef(trace_id=trace_id, span_id=span_id) if span_id else None

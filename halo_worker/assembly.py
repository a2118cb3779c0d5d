"""The report, put together from what is verified: identities, states, severities, totals and contrasts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from halo_receiver.store.reader import Reader
from halo_worker.analysis import contrast, overview
from halo_worker.analysis.draft import Draft
from halo_worker.analysis.evidence import Verified, VerifiedFinding
from halo_worker.report import briefs
from halo_worker.report.memory import Assessment, Issue, IssueMemory, Point, mask, severity_of
from halo_worker.report.model import (
    SEVERITIES,
    Coverage,
    Detector,
    Finding,
    Fix,
    Report,
    ReportWindow,
    SpanRef,
    Status,
)
from halo_worker.report.together import seen_together
from halo_worker.report.words import headline
from halo_worker.window import Window


@dataclass(frozen=True, slots=True)
class About:
    """What a report says of its run."""

    run_id: str
    window: Window
    created_ns: int
    schedule: str | None
    prompt: str | None


@dataclass(frozen=True, slots=True)
class Assembled:
    """A report, the history of its issues, and all of its affected spans: (issue, trace, span)."""

    report: Report
    history: dict[str, list[Point]]
    affected: list[tuple[str, str, str]]


def assemble(
    reader: Reader,
    about: About,
    draft: Draft,
    verified: Verified,
    known: IssueMemory,
    *,
    not_examined: Sequence[str],
) -> Assembled:
    """Put the report together: what is verified, held against the windows before. Needs `overview.prepare`."""
    findings, history, affected = [], {}, []
    traces_of: dict[str, set[str]] = {}
    for item in verified.findings:
        issue_id = item.draft.issue_id or known.identify(item.draft.category, item.draft.detector_name, item.draft.key)
        if issue_id in history:
            continue  # two findings of one failure mode: the larger stands
        assessed = known.assess(
            issue_id, traces=item.prevalence.traces, of=item.prevalence.of, first_seen=item.first_seen_ns
        )
        history[issue_id] = assessed.history
        traces_of[issue_id] = {occurrence.trace_id for occurrence in item.occurrences}
        affected += [
            (issue_id, occurrence.trace_id, occurrence.symptom_span_id or occurrence.origin_span_id or "")
            for occurrence in item.occurrences
        ]
        if not assessed.muted:
            findings.append(_finding(item, assessed))
    totals = overview.totals(reader, sorted(set().union(*traces_of.values())))
    together = seen_together({item.issue_id: traces_of[item.issue_id] for item in findings})
    findings = [item.model_copy(update={"seen_with": together.get(item.issue_id, [])}) for item in findings]
    outcomes, contrasts = contrast.contrasts(reader)
    resolved = known.resolved_now(set(history), of=totals.traces)
    for issue in resolved:
        history[issue.issue_id] = issue.history
    findings.sort(key=lambda one: (SEVERITIES.index(one.severity), -one.prevalence.traces, one.issue_id))
    findings += [_resolved(issue, totals.traces) for issue in resolved if not issue.muted]
    report = Report(
        id=about.run_id,
        window=ReportWindow(start=about.window.start_ns, end=about.window.end_ns),
        created_at=about.created_ns,
        schedule=about.schedule,
        prompt=about.prompt,
        answer=draft.answer,
        summary=draft.summary,
        status=_status(about, draft, findings),
        stopped_by=draft.stopped_by,
        engine=draft.engine,
        coverage=Coverage(
            traces=totals.traces,
            spans=totals.spans,
            traces_examined=min(draft.traces_examined, totals.traces),
            sampled=draft.sampled,
            not_examined=[*draft.not_examined, *not_examined],
            unsupported=draft.unsupported,
        ),
        totals=totals,
        findings=findings,
        outcomes=outcomes,
        contrasts=contrasts,
        rejected=verified.rejected,
    )
    report = report.model_copy(update={"summary": report.summary or headline(report)})
    return Assembled(report, history, affected)


def _status(about: About, draft: Draft, findings: list[Finding]) -> Status:
    """A question without an answer, and nothing else that is verified, is a failed run; what stopped is partial."""
    if about.prompt and draft.answer is None and not findings:
        return "failed"
    return "partial" if draft.stopped_by or (about.prompt and draft.answer is None) else "complete"


def _finding(item: VerifiedFinding, assessed: Assessment) -> Finding:
    draft, prevalence = item.draft, item.prevalence
    severity, reason = severity_of(
        rate=prevalence.rate,
        traces=prevalence.traces,
        failed_share=item.failed_traces / max(1, prevalence.traces),
        recovered_share=item.recovered_traces / max(1, prevalence.traces),
        state=assessed.state,
        hint=draft.severity_hint,
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
        detector=Detector(name=draft.detector_name, sql=draft.sql),
        signature=mask(draft.key),
        prevalence=prevalence.model_copy(
            update={
                "previous_rate": assessed.previous_rate,
                "p_value": assessed.p_value,
                "enough": assessed.enough,
            }
        ),
        breakdown=item.breakdown,
        origin_span=_ref(first.trace_id, first.origin_span_id),
        symptom_span=_ref(first.trace_id, first.symptom_span_id or first.origin_span_id),
        affected=item.affected,
        evidence=item.evidence,
        counter_evidence=item.counter_evidence,
        root_cause=draft.root_cause,
        fix=Fix(summary=draft.fix_summary, validation=draft.fix_validation, brief=""),
    )
    brief = briefs.brief_of(finding)
    return finding.model_copy(update={"fix": finding.fix.model_copy(update={"brief": brief})})


def _ref(trace_id: str, span_id: str | None) -> SpanRef | None:
    return SpanRef(trace_id=trace_id, span_id=span_id) if span_id else None


def _resolved(issue: Issue, traces: int) -> Finding:
    """Say of an issue of the last window that it is gone from this one; its evidence is that of then."""
    last = issue.finding
    return last.model_copy(
        update={
            "state": "resolved",
            "severity": "low",
            "severity_reason": "it is not seen any more",
            "prevalence": last.prevalence.model_copy(
                update={
                    "traces": 0, "of": traces, "rate": 0.0, "low": 0.0,
                    "high": min(1.0, 3 / traces) if traces else 1.0,
                    "previous_rate": last.prevalence.rate, "p_value": None,
                }
            ),
            "affected": [], "breakdown": [], "seen_with": [], "evidence": [], "counter_evidence": [],
        }
    )  # fmt: skip

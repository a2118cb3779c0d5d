"""Which traces of the open window have an issue, by its own rule: a detector, or SQL that a model wrote."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from halo_receiver.store.reader import Reader
from halo_worker.analysis import affected_spans, capture, detectors, overview
from halo_worker.analysis.exclusions import Exclusions
from halo_worker.analysis.questions import Questions
from halo_worker.errors import InputError
from halo_worker.report.headline import titled
from halo_worker.report.issue import Issue
from halo_worker.report.memory import IssueMemory, rule_name

RULES = {unit.name: unit.version for unit in detectors.DETECTORS}
NO_RULE_HINT = "'halo cases' exports its traces; 'halo run' with a model may state a rule for it"


@dataclass(slots=True)
class Found:
    """An issue as the window has it: the traces that its rule names, `span_of` each the span that shows it."""

    issue_id: str
    title: str
    rule: str
    traces: set[str] = field(default_factory=set)
    span_of: dict[str, str] = field(default_factory=dict)

    def add(self, trace_id: str, span_id: str | None) -> None:
        """Count a trace."""
        self.traces.add(trace_id)
        if span_id:
            self.span_of.setdefault(trace_id, span_id)


def rule_of(issue: Issue, known: IssueMemory) -> str:
    """Return the name of what measures an issue today: a detector with its version, or `sql`.

    Raises InputError where nothing does: a model found it and stated no rule, or its detector is no more.
    """
    finding = issue.finding
    if issue.standing.wrong_as_a_whole:
        raise InputError(
            f"{issue.issue_id} was called wrong: no hit of it counts",
            hint=f"'halo issues reopen {issue.issue_id}' ends that",
        )
    if finding.source == "rlm":
        if has_sql(issue):
            return "sql"
        raise InputError(
            f"no rule: a model found {issue.issue_id} by reading traces, and stated no SQL that finds it again",
            hint=NO_RULE_HINT,
        )
    name = known.rule_of_today(finding, RULES)
    if name is None:
        gone = finding.detector.name if finding.detector else "its detector"
        raise InputError(f"no rule: this build has no detector '{gone}', by which {issue.issue_id} was found")
    return name


def has_sql(issue: Issue) -> bool:
    """Say whether a model found it and stated SQL that finds it again."""
    return issue.finding.source == "rlm" and bool(issue.finding.detector and issue.finding.detector.sql)


def has_rule(issue: Issue, known: IssueMemory) -> bool:
    """Say whether something measures an issue without a model."""
    return has_sql(issue) if issue.finding.source == "rlm" else known.rule_of_today(issue.finding, RULES) is not None


def none_found(issue: Issue, known: IssueMemory) -> Found:
    """Return an issue of which the window holds no trace."""
    return Found(issue.issue_id, titled(issue.finding), rule_of(issue, known))


def by_detectors(reader: Reader, known: IssueMemory) -> dict[str, Found]:
    """Run the detectors over the window, and return what they find by issue id."""
    found: dict[str, Found] = {}
    for draft in detectors.every_finding(reader, Exclusions(known)):
        issue_id, _ = known.identify(draft.category, draft.detector_name, draft.key)
        issue_id = known.continued.get(issue_id, issue_id)
        one = found.setdefault(
            issue_id, Found(issue_id, draft.title, rule_name(draft.detector_name, draft.rule_version))
        )
        for seen in draft.occurrences:
            one.add(seen.trace_id, seen.symptom_span_id or seen.origin_span_id)
    return found


def by_sql(reader: Reader, issues: list[Issue], work_dir: Path, *, threads: int) -> tuple[dict[str, Found], list[str]]:
    """Run the SQL of issues that a model found; return what it finds, and what could not be run. Needs no tables."""
    return asyncio.run(_by_sql(reader, issues, work_dir, threads)) if issues else ({}, [])


async def _by_sql(
    reader: Reader, issues: list[Issue], work_dir: Path, threads: int
) -> tuple[dict[str, Found], list[str]]:
    questions = Questions.of(reader, work_dir, threads=threads)
    found, problems = {}, []
    try:
        for issue in issues:
            detector = issue.finding.detector
            named = await affected_spans.named_by(questions, (detector.sql if detector else None) or "")
            if isinstance(named, str):
                problems.append(f"{issue.issue_id} was not measured: {named}")
                continue
            wrong = {trace for decision in issue.standing.wrong for trace in decision.traces}
            one = found[issue.issue_id] = Found(issue.issue_id, titled(issue.finding), "sql")
            for seen in named.occurrences:
                if seen.trace_id not in wrong:
                    one.add(seen.trace_id, seen.symptom_span_id)
    finally:
        await questions.close()
    return found, problems


def measured(reader: Reader, issue: Issue, known: IssueMemory, work_dir: Path, *, threads: int) -> Found:
    """Measure one issue. Makes the tables of `overview.prepare`. Raises InputError where its rule cannot be run."""
    if issue.finding.source == "rlm":
        overview.prepare(reader)
        found, problems = by_sql(reader, [issue], work_dir, threads=threads)
        if problems:
            raise InputError(problems[0])
        return found[issue.issue_id]
    found = by_detectors(reader, known)
    return found.get(issue.issue_id) or none_found(issue, known)


def blind(reader: Reader, rule: str, side: str) -> list[str]:
    """Return what a side (a condition on `_sides`) lacks for a detector to see anything; empty where it sees."""
    spans = f"(FROM _s WHERE trace_id IN (SELECT trace_id FROM _sides WHERE {side}))"
    name = rule.partition("@")[0]
    return next((one.lacks for one in capture.off(capture.captured(reader, spans)) if one.name == name), [])

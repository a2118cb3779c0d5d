"""Which traces of the open window have an issue, by its own rule: a detector, or SQL that a model wrote."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from halo_receiver.store.reader import Reader
from halo_worker.analysis import affected_spans, detectors, overview
from halo_worker.analysis.detectors import Own, capture, rules
from halo_worker.analysis.detectors.own import Ran
from halo_worker.analysis.exclusions import Exclusions
from halo_worker.analysis.identities import identity
from halo_worker.analysis.questions import Questions
from halo_worker.config import Settings
from halo_worker.errors import InputError
from halo_worker.report.headline import titled
from halo_worker.report.issue import Issue
from halo_worker.report.memory import IssueMemory, rule_name

NO_RULE_HINT = (
    "with a model ([model], OPENAI_API_KEY) 'halo verify' has it judged on both sides; 'halo cases' exports it"
)


@dataclass(frozen=True, slots=True)
class Rules:
    """The detectors that there are, halo's and the user's; what is switched off for reports measures all the same."""

    versions: Mapping[str, int]
    own: Own
    threads: int = 2

    @classmethod
    def of(cls, current: Settings, work_dir: Path) -> Rules:
        """Read the user's rules; `work_dir` is for running them."""
        own = Own(current.detectors.paths, frozenset(), work_dir / "own", current.store.threads)
        units = (*detectors.DETECTORS, *rules.load(own.paths)[0])
        return cls({unit.name: unit.version for unit in units}, own, current.store.threads)

    def rule_of(self, issue: Issue, known: IssueMemory) -> str | None:
        """Return what measures an issue without a model: a detector with its version, or `sql`; else None."""
        if has_sql(issue) or issue.finding.source == "rlm":
            return "sql" if has_sql(issue) else None
        return known.rule_of_today(issue.finding, self.versions)


@dataclass(slots=True)
class Found:
    """An issue as the window has it: the traces that its rule names, `span_of` each the span that shows it."""

    issue_id: str
    title: str
    rule: str
    traces: set[str] = field(default_factory=set)
    span_of: dict[str, str] = field(default_factory=dict)
    judged: bool = False  # by a model, which saw a sample

    def add(self, trace_id: str, span_id: str | None) -> None:
        """Count a trace."""
        self.traces.add(trace_id)
        if span_id:
            self.span_of.setdefault(trace_id, span_id)


def rule_of(issue: Issue, known: IssueMemory, there: Rules) -> str:
    """Return the name of what measures an issue today: a detector with its version, or `sql`.

    Raises InputError where nothing does: a model found it and stated no rule, or its detector is no more.
    """
    finding = issue.finding
    if issue.standing.wrong_as_a_whole:
        raise InputError(
            f"{issue.issue_id} was called wrong: no hit of it counts",
            hint=f"'halo issues reopen {issue.issue_id}' ends that",
        )
    if (name := there.rule_of(issue, known)) is not None:
        return name
    if finding.source == "rlm":
        raise InputError(
            f"no rule: a model found {issue.issue_id} by reading traces, and stated no SQL that finds it again",
            hint=NO_RULE_HINT,
        )
    gone = finding.detector.name if finding.detector else "its detector"
    raise InputError(
        f"no rule: there is no detector '{gone}', by which {issue.issue_id} was found",
        hint="'halo detectors' lists them; [detectors] paths names your own",
    )


def has_sql(issue: Issue) -> bool:
    """Say whether SQL of a model, or of an operator's expectation, finds it again."""
    return bool(issue.finding.detector and issue.finding.detector.sql)


def _name_of_sql(issue: Issue) -> str:
    """Name the SQL of an issue: of an operator's expectation by its version, as reports do; a model's has none."""
    detector = issue.finding.detector
    if detector is None or issue.finding.source == "rlm":
        return "sql"
    return rule_name(detector.name, detector.version)


def none_found(issue: Issue, rule: str) -> Found:
    """Return an issue of which the window holds no trace."""
    return Found(issue.issue_id, titled(issue.finding), rule)


def by_detectors(reader: Reader, known: IssueMemory, there: Rules) -> tuple[dict[str, Found], Ran]:
    """Run the detectors over the window; return what they find by issue id, and which ran."""
    found: dict[str, Found] = {}
    drafts, ran = detectors.every_finding(reader, Exclusions(known), there.own)
    for draft in drafts:
        issue_id, _ = identity(draft, known)
        issue_id = known.continued.get(issue_id, issue_id)
        one = found.setdefault(
            issue_id, Found(issue_id, draft.title, rule_name(draft.detector_name, draft.rule_version))
        )
        for seen in draft.occurrences:
            one.add(seen.trace_id, seen.symptom_span_id or seen.origin_span_id)
    return found, ran


def has_run(rule: str, ran: Ran) -> bool:
    """Say whether a detector ran: a user's may fail on a window."""
    return rule.partition("@")[0] in {unit.name for unit in ran.units}


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
            one = found[issue.issue_id] = Found(issue.issue_id, titled(issue.finding), _name_of_sql(issue))
            for seen in named.occurrences:
                if seen.trace_id not in wrong:
                    one.add(seen.trace_id, seen.symptom_span_id)
    finally:
        await questions.close()
    return found, problems


def measured(reader: Reader, issue: Issue, known: IssueMemory, work_dir: Path, there: Rules) -> Found:
    """Measure one issue. Makes the tables of `overview.prepare`. Raises InputError where its rule cannot be run."""
    if has_sql(issue):
        overview.prepare(reader)
        found, problems = by_sql(reader, [issue], work_dir, threads=there.threads)
        if problems:
            raise InputError(problems[0])
        return found[issue.issue_id]
    rule = rule_of(issue, known, there)
    found, ran = by_detectors(reader, known, there)
    if not has_run(rule, ran):
        raise InputError(f"{issue.issue_id} was not measured: {'; '.join(ran.problems) or 'its detector did not run'}")
    return found.get(issue.issue_id) or none_found(issue, rule)


def blind(reader: Reader, rule: str, side: str) -> list[str]:
    """Return what a side (a condition on `_sides`) lacks for a detector to see anything; empty where it sees."""
    spans = f"(FROM _s WHERE trace_id IN (SELECT trace_id FROM _sides WHERE {side}))"
    name = rule.partition("@")[0]
    return next((one.lacks for one in capture.off(capture.captured(reader, spans)) if one.name == name), [])

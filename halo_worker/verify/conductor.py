"""One verification from the question to the record: sides, rule, counts, comparison, verdict."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from halo_worker import issues
from halo_worker.config import Settings
from halo_worker.errors import InputError
from halo_worker.report.archive import Archive
from halo_worker.report.comparison import VERDICTS, deciding
from halo_worker.report.formats import plural
from halo_worker.report.headline import titled
from halo_worker.report.issue import Issue
from halo_worker.report.memory import IssueMemory
from halo_worker.report.statistics import benjamini_hochberg
from halo_worker.report.verification import (
    NewIssue,
    ReleaseReport,
    Verification,
)
from halo_worker.verify import judged, measure, sides
from halo_worker.verify.counting import Counted, Opened, counted, verdict, which
from halo_worker.verify.measure import Found, Rules
from halo_worker.verify.plan import Plan, by_decision


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: of one issue or of all, with the sides that were named, if any; as a schedule sees it."""

    issue_id: str | None
    plan: Plan | None
    schedule: str | None = None
    with_new: bool = False  # of one issue: also look for failure modes that the side before does not hold
    ask_model: bool = True  # where no rule measures the issue: a model judges traces of both sides, for tokens


@dataclass(frozen=True, slots=True)
class Answer:
    """A verification, or a release report; `new` of one issue's verification where it was asked for."""

    verified: Verification | ReleaseReport
    new: list[NewIssue] = field(default_factory=list)

    @property
    def verdicts(self) -> set[str]:
        """All verdicts, and `new` where there is a new failure mode."""
        one = self.verified
        many = one.issues if isinstance(one, ReleaseReport) else [one]
        return {item.verdict for item in many} | ({"new"} if self.new else set())


def verify(
    current: Settings, question: Question, *, now_ns: int, say: Callable[[str], None] = lambda _: None
) -> Answer:
    """Answer the question, and keep the answer beside the issue memory. A model is asked only about an issue that was
    named and that nothing else measures; `say` hears of it.

    Raises InputError or ReportError in one sentence for an unknown issue, one without a rule, a release nobody sent,
    and sides that hold nothing.
    """
    sides.data_dir(current)
    archive = issues.archive(current)
    if question.issue_id is None:
        return _release_report(current, archive, question, now_ns)
    issue = issues.open_memory(archive).find(question.issue_id)
    scope = issues.scope_by_hand(current, archive, question.schedule) if question.schedule else issue.scope
    known = issues.open_memory(archive, scope=scope)
    issue = known.find(issue.issue_id)
    by_model = question.ask_model and judged.needed(current, issue)
    if not by_model:
        measure.rule_of(issue, known, Rules.of(current, Path()))
    plan = question.plan
    if plan is None or not (plan.after or plan.key or plan.files):
        plan = by_decision(issue, plan, now_ns)
    with _opened(current, plan, scope, now_ns) as (opened, work_dir):
        there = Rules.of(current, work_dir)
        warnings: list[str] = []
        if by_model:
            say(f"no rule: {current.model.name} judges traces of both sides")
            seen = judged.judged(current, opened, issue, work_dir)
            found, opened, warnings = seen.found, seen.opened, seen.warnings
        else:
            found = measure.measured(opened.sides.reader, issue, known, work_dir, there)
        one = counted(opened, issue, found)
        one.warnings.extend(warnings)
        verified = verdict(one, opened, now_ns)
        new: list[NewIssue] = []
        if question.with_new:
            new = _new(opened, known, measure.by_detectors(opened.sides.reader, known, there)[0])
    _keep(archive, [verified])
    return Answer(verified, new)


def _release_report(current: Settings, archive: Archive, question: Question, now_ns: int) -> Answer:
    plan = question.plan
    if plan is None or not (plan.after or plan.key or plan.files):
        raise InputError(
            "--all needs a side: nothing says what came after", hint="--all --release V, or --all --since T"
        )
    scope = issues.scope_by_hand(current, archive, question.schedule)
    known = issues.open_memory(archive, scope=scope)
    with _opened(current, plan, scope, now_ns) as (opened, work_dir):
        followed = [one for one in _followed(known).values() if not _silent(one)]
        there = Rules.of(current, work_dir)
        found, ran = measure.by_detectors(opened.sides.reader, known, there)
        learned = [one for one in followed if measure.has_sql(one)]
        by_sql, problems = measure.by_sql(opened.sides.reader, learned, work_dir, threads=current.store.threads)
        found |= by_sql
        ruled = {one.issue_id: rule for one in followed if (rule := there.rule_of(one, known)) is not None}
        failed = {one for one, rule in ruled.items() if rule != "sql" and not measure.has_run(rule, ran)}
        failed |= {one.issue_id for one in learned} - by_sql.keys()
        every = [
            counted(opened, issue, found.get(issue.issue_id) or measure.none_found(issue, ruled[issue.issue_id]))
            for issue in followed
            if issue.issue_id in ruled.keys() - failed and issue.first_seen < opened.sides.split_ns
        ]
        verified = _adjusted([one for one in every if one.before.traces or one.after.traces], opened, now_ns)
        new = _new(opened, known, found)
        warnings = [*opened.sides.problems, *ran.problems, *problems]
        if unruled := len(followed) - len(ruled):
            warnings.append(
                f"no rule: {plural(unruled, 'issue')} that nothing measures without a model ('halo verify ID' asks one)"
            )
        report = ReleaseReport(
            before=opened.sides.before, after=opened.sides.after, release=plan.release, issues=verified, new=new,
            warnings=warnings, at=now_ns,
        )  # fmt: skip
    _keep(archive, verified)
    return Answer(report, new)


@contextmanager
def _opened(current: Settings, plan: Plan, scope: str | None, now_ns: int) -> Iterator[tuple[Opened, Path]]:
    schedule = current.schedules.get(scope or "")
    filters = sides.Filters(tuple(schedule.services), tuple(schedule.agents)) if schedule else sides.Filters()
    with sides.opened(current, plan, filters, now_ns) as both, tempfile.TemporaryDirectory(prefix="halo-") as folder:
        rows = both.reader.query("SELECT trace_id, after, began_ns FROM _sides")
        began = {row["trace_id"]: row["began_ns"] for row in rows if not row["after"]}
        after = {row["trace_id"] for row in rows if row["after"]}
        if not after and not plan.open_end:
            raise InputError(
                f"the side after is empty: no stored trace {which(both.after)}", hint=sides.stored(both.held)
            )
        yield Opened(both, began, after), Path(folder) / "questions"


def _adjusted(every: Sequence[Counted], opened: Opened, now_ns: int) -> list[Verification]:
    """Compare several issues: p-values are adjusted for their number (Benjamini-Hochberg); the worst come first."""
    p_values = [deciding(one.before, one.after, one.standardised) for one in every]
    q_values = benjamini_hochberg([1.0 if p is None else p for p in p_values])
    verified = [
        verdict(one, opened, now_ns, q).model_copy(update={"q_value": q})
        for one, q in zip(every, q_values, strict=True)
    ]
    return sorted(verified, key=lambda one: (VERDICTS.index(one.verdict), -one.after.traces, one.issue_id))


def _new(opened: Opened, known: IssueMemory, found: dict[str, Found]) -> list[NewIssue]:
    """Return the failure modes after the change that neither the side before nor a report from before it holds."""
    new = []
    for one in found.values():
        issue = _followed(known).get(one.issue_id)
        hits = len(one.traces & opened.after)
        earlier = issue is not None and issue.first_seen < opened.sides.split_ns
        if hits and not earlier and not (issue and _silent(issue)) and not one.traces & opened.began.keys():
            title = titled(issue.finding) if issue else one.title
            new.append(NewIssue(issue_id=one.issue_id, title=title, traces=hits, of=len(opened.after)))
    return sorted(new, key=lambda one: (-one.traces, one.issue_id))


def _followed(known: IssueMemory) -> Mapping[str, Issue]:
    """Return the issues that are followed; where nothing is, those that runs by hand found."""
    return known.issues or known.others


def _silent(issue: Issue) -> bool:
    return issue.muted or issue.standing.wrong_as_a_whole is not None


def _keep(archive: Archive, verified: Sequence[Verification]) -> None:
    kept = archive.verifications
    for one in verified:
        kept.append(one)

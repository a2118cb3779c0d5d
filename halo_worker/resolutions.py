"""What a window says of the issues that a person resolved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from halo_receiver.store.reader import Reader
from halo_worker.analysis.decision_scope import Releases, traces_since
from halo_worker.report.comparison import Counts, compare
from halo_worker.report.decisions import Decision
from halo_worker.report.fixes import Affected, FixCheck, Resolution
from halo_worker.report.headline import titled
from halo_worker.report.issue import Assessment, Issue
from halo_worker.report.memory import IssueMemory
from halo_worker.report.states import MAX_POOLED, UNKNOWN_RULE, not_all_false, same_rule


def resolution(assessed: Assessment) -> Resolution | None:
    """Write the decision that is in force on a finding of this window."""
    decision = assessed.resolution
    if decision is None:
        return None
    return Resolution(
        at=decision.at_ns, by=decision.by, note=decision.note, release=decision.release, traces=assessed.since
    )


def fix_checks(
    reader: Reader, known: IssueMemory, traces_of: Mapping[str, set[str]], rules: Mapping[str, int], releases: Releases
) -> list[FixCheck]:
    """Check every resolution that is in force, until one is shown to hold. Needs `overview.prepare`.

    `traces_of` are the affected traces of this window by issue, `rules` the detectors that ran.
    """
    found = []
    for issue, decision, rule in _resolved(known, rules):
        earlier = [one for one in known.fixes.get(issue.issue_id, []) if one.decided_at == decision.at_ns]
        if earlier and earlier[-1].verdict == "fixed":
            continue
        here = Counts(
            traces_since(reader, traces_of.get(issue.issue_id, set()), decision, releases),
            traces_since(reader, None, decision, releases),
        )
        before = _before(issue, decision, rule)
        if before.of and here.of:
            found.append(_check(issue, decision, before, here, earlier))
    return found


def _resolved(known: IssueMemory, rules: Mapping[str, int]) -> Iterator[tuple[Issue, Decision, str]]:
    """Yield the issues that a person resolved and that this window measured, with their rule."""
    for issue in known.issues.values():
        finding, decision = issue.finding, issue.standing.resolved
        if decision is None or (finding.source == "rlm" and not (finding.detector and finding.detector.sql)):
            continue
        rule = UNKNOWN_RULE if finding.source == "rlm" else known.rule_of_today(finding, rules)
        if rule is not None:
            yield issue, decision, rule


def _before(issue: Issue, decision: Decision, rule: str) -> Counts:
    """Add up the last windows before a decision that are comparable."""
    counted = [
        point
        for point in issue.history
        if point.end_ns <= decision.at_ns and point.counts and same_rule(point.rule, rule)
    ][-MAX_POOLED:]
    return Counts(sum(point.traces for point in counted), sum(point.of for point in counted))


def _check(issue: Issue, decision: Decision, before: Counts, here: Counts, earlier: list[FixCheck]) -> FixCheck:
    after = Counts(
        here.traces + sum(one.window.traces for one in earlier), here.of + sum(one.window.of for one in earlier)
    )
    compared = compare(before, after, sure=not_all_false(after.traces, issue.finding.confidence))
    return FixCheck(
        issue_id=issue.issue_id, title=titled(issue.finding), release=decision.release, decided_at=decision.at_ns,
        window=_affected(here), before=_affected(before), after=_affected(after), verdict=compared.verdict,
        p_value=compared.p_value, needed=compared.needed,
    )  # fmt: skip


def _affected(counts: Counts) -> Affected:
    return Affected(traces=counts.traces, of=counts.of)

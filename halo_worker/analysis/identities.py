"""Which issue a finding is of, and findings of one issue joined before anything is counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from halo_worker.analysis.draft import DraftFinding
from halo_worker.report.memory import IssueMemory


def identity(finding: DraftFinding, known: IssueMemory) -> tuple[str, list[str]]:
    """Return the id of a finding, and those of issues that it continues beside its own."""
    if finding.issue_id:
        return finding.issue_id, []
    return known.identify(finding.known_category or finding.category, finding.detector_name, finding.key)


def joined(findings: Sequence[DraftFinding], known: IssueMemory) -> list[DraftFinding]:
    """Return one finding for each issue: the words of the first, the spans and quotes of all, a detector's rule."""
    by_issue: dict[str, DraftFinding] = {}
    for finding in findings:
        issue_id = identity(finding, known)[0]
        first = by_issue.get(issue_id)
        by_issue[issue_id] = finding if first is None else _with(first, finding)
    return list(by_issue.values())


def _with(first: DraftFinding, other: DraftFinding) -> DraftFinding:
    if first.source == "rlm" and other.source == "detector":
        first = replace(
            first, source="detector", detector_name=other.detector_name, rule_version=other.rule_version, sql=other.sql
        )
    return replace(
        first,
        occurrences=list(dict.fromkeys([*first.occurrences, *other.occurrences])),
        spans_left_out=first.spans_left_out + other.spans_left_out,
        evidence=list(dict.fromkeys([*first.evidence, *other.evidence])),
        sql=first.sql or other.sql,
    )

"""What a reader is told, row by row: a failure mode with its symptoms. Muted ones are counted, and not told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from halo_worker.report.model import Finding


@dataclass(frozen=True, slots=True)
class Row:
    """One cause: the finding that leads, and the others that are seen in its traces."""

    lead: Finding
    symptoms: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Told:
    """The findings of a report: what is going on, what is resolved, and what a person muted."""

    rows: tuple[Row, ...]
    resolved: tuple[Finding, ...]
    muted: tuple[Row, ...]

    @property
    def findings(self) -> list[Finding]:
        """Every finding that is told, in the order of its row."""
        current = [finding for row in self.rows for finding in (row.lead, *row.symptoms)]
        return [*current, *self.resolved]


def told(findings: Sequence[Finding]) -> Told:
    """Sort findings into rows. A muted lead mutes its row, a muted symptom itself alone."""
    by_id = {finding.issue_id: finding for finding in findings}
    rows: list[Row] = []
    muted: list[Row] = []
    resolved: list[Finding] = []
    for finding in findings:
        if finding.group_id in by_id and finding.group_id != finding.issue_id:
            continue  # a symptom: told with its lead
        members = [by_id[other] for other in finding.symptoms if other in by_id]
        quiet = [one for one in members if one.muted and not finding.muted]
        muted += [Row(one) for one in quiet]
        row = Row(finding, tuple(one for one in members if one not in quiet))
        if finding.muted:
            muted.append(row)
        elif finding.state == "resolved" and not members:
            resolved.append(finding)
        else:
            rows.append(row)
    return Told(tuple(rows), tuple(resolved), tuple(muted))

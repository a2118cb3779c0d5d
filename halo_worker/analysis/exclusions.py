"""What people called wrong does not count: hits are left out before anything is counted, and the report says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from halo_worker.analysis.draft import DraftFinding, Occurrence
from halo_worker.analysis.identities import identity
from halo_worker.report.decisions import Decision
from halo_worker.report.memory import IssueMemory
from halo_worker.report.model import LeftOut

MAX_TOLD = 20  # reasons that a model is given, the newest
MAX_REASON = 300  # characters of one


class Exclusions:
    """The decisions `wrong` of one memory, applied to what a run finds; `left_out` tells what they took away."""

    def __init__(self, known: IssueMemory) -> None:
        self._known = known
        self.left_out: list[LeftOut] = []

    def apply(self, finding: DraftFinding) -> DraftFinding | None:
        """Return a finding without the hits that were called wrong; None when none is left."""
        issue_id, _ = identity(finding, self._known)
        wrong = self._known.wrong(issue_id)
        if not wrong:
            return finding
        named = _named(wrong)
        kept = [one for one in finding.occurrences if named is not None and one.trace_id not in named]
        evidence = [one for one in finding.evidence if named is not None and one.trace_id not in named]
        self._note(issue_id, finding, kept, wrong[-1], named is not None)
        if not kept and not evidence:
            return None
        return replace(finding, occurrences=kept, evidence=evidence)

    def _note(
        self, issue_id: str, finding: DraftFinding, kept: Sequence[Occurrence], decision: Decision, named: bool
    ) -> None:
        gone = {one.trace_id for one in finding.occurrences} - {one.trace_id for one in kept}
        if gone:
            self.left_out.append(
                LeftOut(
                    issue_id=issue_id, title=finding.title, traces=len(gone), named=named, because=decision.note,
                    by=decision.by, at=decision.at_ns,
                )
            )  # fmt: skip

    def told(self) -> str:
        """Return the reasons for a model, as what is not a failure; empty without any."""
        reasons = [
            (decision.at_ns, issue.finding.title, decision.note)
            for issue in self._known.issues.values()
            for decision in issue.standing.wrong
        ]
        lines = [
            f"- {_line(title)!r} was reported and is no failure: {_line(note)}"
            for _, title, note in sorted(reasons)[-MAX_TOLD:]
        ]
        return "\n".join(("Not failures, by decision of the operator:", *lines)) if lines else ""


def _named(wrong: Sequence[Decision]) -> set[str] | None:
    """Return the traces that decisions name; None when one of them is about every hit."""
    if any(not decision.traces for decision in wrong):
        return None
    return {trace for decision in wrong for trace in decision.traces}


def _line(text: str) -> str:
    return " ".join(text.split())[:MAX_REASON]

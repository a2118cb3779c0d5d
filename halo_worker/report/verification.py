"""What `halo verify` found, as data: printed, and kept beside the issue memory in `reports/verifications.jsonl`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from halo_worker.report.base import Model, Moment, Timed
from halo_worker.report.comparison import Compared, Counts, Standardised, Verdict
from halo_worker.report.record import read_lines
from halo_worker.report.shared import ALONE, Alone
from halo_worker.report.statistics import wilson

VERIFICATIONS_FILE = "verifications.jsonl"

Basis = Literal["traces", "reports"]


class Rate(Model):
    """Affected traces of all of one side, with a 95 % Wilson interval; `basis` says what was counted."""

    traces: int = Field(ge=0)
    of: int = Field(ge=0)
    rate: float
    low: float
    high: float
    what: str  # in words: which traces
    basis: Basis = "traces"

    @classmethod
    def of_counts(cls, counts: Counts, what: str, basis: Basis = "traces") -> Rate:
        """Make one of counts."""
        low, high = wilson(*counts)
        low, high = low if counts.traces else 0.0, high if counts.traces < counts.of else 1.0  # without rounding
        return cls(traces=counts.traces, of=counts.of, rate=counts.rate, low=low, high=high, what=what, basis=basis)


class Difference(Model):
    """After minus before, with a 95 % interval; negative is less often."""

    value: float
    low: float
    high: float


class StandardisedRates(Model):
    """Both rates over the groups of traces that both sides hold, in the proportions of before."""

    by: list[str]  # agent, model, input: what shifted between the sides
    before: float
    after: float
    p_value: float | None  # Mantel and Haenszel's test
    covered: float  # share of the traces before that have their like after


class Verification(Timed):
    """Whether an issue is gone: its rule on both sides of a change, compared."""

    issue_id: str
    title: str
    verdict: Verdict
    before: Rate
    after: Rate
    difference: Difference
    p_value: float | None
    smallest_detectable: float | None
    needed: int | None
    basis: Basis  # reports, where a side is counted from published reports
    rule: str
    standardised: StandardisedRates | None = None
    q_value: float | None = None  # p_value adjusted for the number of issues of a release report
    warnings: list[str] = []
    at: Moment
    release: str | None = None


class NewIssue(Model):
    """A failure mode that the side after holds, and neither the side before nor an earlier report."""

    issue_id: str
    title: str
    traces: int
    of: int


class ReleaseReport(Timed):
    """What each issue did between two sides, and what is new since."""

    before: str
    after: str
    release: str | None
    issues: list[Verification]
    new: list[NewIssue]
    warnings: list[str] = []
    at: Moment


def verification(
    issue: tuple[str, str], sides: tuple[Rate, Rate], compared: Compared, *, rule: str, at_ns: int,
    standardised: tuple[list[str], Standardised] | None = None, warnings: list[str] | None = None,
    release: str | None = None,
) -> Verification:  # fmt: skip
    """Put together what was compared; `issue` is its id and title."""
    value, low, high = compared.difference
    before, after = sides
    return Verification(
        issue_id=issue[0], title=issue[1], verdict=compared.verdict, before=before, after=after,
        difference=Difference(value=value, low=low, high=high), p_value=compared.p_value,
        smallest_detectable=compared.smallest_detectable, needed=compared.needed,
        basis="reports" if "reports" in (before.basis, after.basis) else "traces", rule=rule,
        standardised=_rates(*standardised) if standardised else None, warnings=warnings or [], at=at_ns,
        release=release,
    )  # fmt: skip


def _rates(by: list[str], found: Standardised) -> StandardisedRates:
    return StandardisedRates(
        by=by, before=found.before, after=found.after, p_value=found.p_value, covered=found.covered
    )


class Verifications:
    """The verifications of one directory of reports, one a line; a line that cannot be read costs itself alone."""

    def __init__(self, directory: Path, shared: Alone = ALONE) -> None:
        self.path = directory / VERIFICATIONS_FILE
        self._shared = shared

    def append(self, verified: Verification) -> None:
        """Keep one, synced. Raises ReportError when the disk refuses."""
        self._shared.record(self.path, verified.model_dump_json())

    def of(self, issue_id: str) -> list[Verification]:
        """Return those of one issue, oldest first. Raises ReportError when the disk refuses."""
        found = []
        for line in read_lines(self.path):
            if issue_id.encode() not in line:
                continue
            try:
                verified = Verification.model_validate(json.loads(line))
            except (ValueError, ValidationError, RecursionError):
                continue
            if verified.issue_id == issue_id:
                found.append(verified)
        return found

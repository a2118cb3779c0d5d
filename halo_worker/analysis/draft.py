"""What both engines hand over: findings before anything about them has been checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from halo_worker.report.labelled import Label
from halo_worker.report.model import DetectorOff, Engine, Evidence, LeftOut, Severity, Stop


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One affected span: the span that caused it and the span where it showed, where they are known."""

    trace_id: str
    origin_span_id: str | None = None
    symptom_span_id: str | None = None

    @property
    def span_id(self) -> str | None:
        """The span a person should look at first: what caused it, else where it showed."""
        return self.origin_span_id or self.symptom_span_id


@dataclass(frozen=True, slots=True)
class DraftFinding:
    """A failure mode as an engine claims it. `key` is what identifies it across windows: ids and numbers masked.

    Counts are not here: they are computed from `occurrences`, or from `sql` over the whole window.
    """

    title: str
    description: str
    category: str
    source: Literal["detector", "rlm"]
    confidence: float
    key: str
    detector_name: str
    sql: str | None = None
    occurrences: list[Occurrence] = field(default_factory=list)
    spans_left_out: int = 0  # affected spans beyond the limits of `affected_spans`
    evidence: list[Evidence] = field(default_factory=list)
    counter_evidence: list[Evidence] = field(default_factory=list)
    root_cause: str = ""
    definition: str = ""  # what the detector looks for
    fix_summary: str = ""
    fix_validation: str = ""
    severity_hint: Severity | None = None
    rule_version: int = 1  # of the detector
    issue_id: str | None = None  # where it is known already
    known_category: str | None = None  # that identifies it, where a model put it into another
    judged: bool = False  # a model chose its spans


@dataclass(frozen=True, slots=True)
class Refuted:
    """A detector's finding, or the part of it that a model's verdict takes out, with the reason and verified quotes."""

    finding: DraftFinding
    verdict: Literal["refuted", "partly"]
    dropped: int  # traces
    why: str
    evidence: list[Evidence]


@dataclass(slots=True)
class Draft:
    """What one engine made of a window."""

    engine: Engine
    findings: list[DraftFinding] = field(default_factory=list)
    answer: str | None = None
    summary: str = ""
    stopped_by: Stop | None = None
    unanswered: str | None = None  # as in the report
    traces_examined: int = 0
    sampled: bool = False
    not_examined: list[str] = field(default_factory=list)
    unsupported: list[str] = field(default_factory=list)
    detectors_off: list[DetectorOff] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    set_aside: list[Refuted] = field(default_factory=list)
    rejected_citations: int = 0
    rejected_findings: int = 0
    rejected_reasons: list[str] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)  # of judged traces

"""The report, as data: `report.json` is this model, and `proto/report.schema.json` is generated from it.

Laws, kept by `analysis.evidence` before anything becomes a `Report`: every quote is found verbatim in the span it
cites; every count is computed from the store; what fails is dropped and counted in `rejected`.
"""

from __future__ import annotations

import json
from typing import Literal

from pydantic import Field

from halo_worker.report.alert import AlertNote
from halo_worker.report.aside import LeftOut as LeftOut
from halo_worker.report.aside import Note as Note
from halo_worker.report.aside import SetAside as SetAside
from halo_worker.report.base import MaybeMoment, Moment, Timed
from halo_worker.report.base import Model as Model
from halo_worker.report.base import iso_nano as iso_nano
from halo_worker.report.evidence import Evidence as Evidence
from halo_worker.report.evidence import SpanRef as SpanRef
from halo_worker.report.facts import Calls, Common, Impact, Place, ToldOtherwise
from halo_worker.report.fixes import FixCheck, ReleaseRef
from halo_worker.report.fixes import Resolution as Resolution
from halo_worker.report.totals import ControlFlow as ControlFlow
from halo_worker.report.totals import GroupTotals as GroupTotals
from halo_worker.report.totals import Release as Release
from halo_worker.report.totals import RunOutcome as RunOutcome
from halo_worker.report.totals import Totals as Totals

REPORT_VERSION = 1

Severity = Literal["critical", "high", "medium", "low"]
State = Literal["new", "ongoing", "worsening", "improving", "regressed", "resolved"]
Status = Literal["complete", "partial", "failed"]
Stop = Literal["turns", "tokens", "cost", "seconds", "error", "interrupted"]

SEVERITIES: tuple[Severity, ...] = ("critical", "high", "medium", "low")


class ReportWindow(Timed):
    """`[start, end)` of arrival time."""

    start: Moment
    end: Moment


class Detector(Model):
    """What measures a finding without a model: its name, and SQL that names trace_id and span_id where there is one.

    Rates that two versions of a detector measured are not compared.
    """

    name: str
    sql: str | None = None
    version: int = 1
    definition: str = ""  # what it looks for


class Prevalence(Model):
    """Traces affected of traces in the window, with a 95 % Wilson interval, against the windows before."""

    traces: int = Field(ge=0)
    of: int = Field(ge=0)
    rate: float = Field(ge=0, le=1)
    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)
    previous_rate: float | None = None
    p_value: float | None = None
    enough: bool | None = None  # whether both windows together could show a change at all; null without an earlier one


class Breakdown(Model):
    """Where a finding concentrates: affected traces of the traces that have this value.

    `risk_ratio` and `q_value` (against the traces without it; Fisher's exact test, Benjamini-Hochberg over all
    breakdowns of the report) are there where three affected traces or more have it; a ratio of null with a q_value
    means that no other trace is affected.
    """

    dimension: str  # agent, model, version, tool, service
    value: str
    traces: int
    of: int
    rate: float
    risk_ratio: float | None = None
    q_value: float | None = None


class Outcome(Model):
    """How traces ended, as far as it is known, and from what: the ground that `contrasts` stand on."""

    source: str  # evaluation, root status, detectors
    known: int  # traces whose outcome it tells
    failed: int
    tested: int  # values compared; none where there is too little data
    note: str


class Contrast(Model):
    """A value that goes with failure: traces that have it against those that do not.

    Fisher's exact test, adjusted over all values tested in the window (Benjamini-Hochberg). It says that the two go
    together, not that one causes the other.
    """

    outcome: str  # the source of the outcome
    dimension: str  # agent, model, version, prompt, tool, tool sequence, provider, service
    value: str
    failed: int
    of: int
    rate: float
    low: float
    high: float
    rest_failed: int
    rest_of: int
    rest_rate: float
    support: float  # share of all failed traces that have the value
    risk_ratio: float | None  # rate over rest_rate; null where no other trace failed
    p_value: float
    q_value: float
    same_traces: list[str] = []  # other values that exactly the same traces have


class Fix(Model):
    """What to change, how to see that it helped, and a brief to paste to a coding agent."""

    summary: str
    validation: str
    brief: str


class Finding(Timed):
    """One failure mode in one window."""

    issue_id: str
    title: str
    description: str
    category: str
    severity: Severity
    severity_reason: str
    confidence: float = Field(ge=0, le=1)
    source: Literal["detector", "rlm"]
    state: State
    first_seen: Moment
    last_seen: Moment
    first_release: ReleaseRef | None = None  # of the first affected trace of all windows that names one
    last_release: ReleaseRef | None = None  # of the last affected trace
    detector: Detector | None = None
    signature: str = ""  # what identifies it across windows, with ids and numbers masked
    prevalence: Prevalence
    judged: bool = False  # a model chose its spans among those of the detector, or gave it others
    comparable: bool = True  # false: what measures it has changed since the window before, and no state is derived
    muted: bool = False  # a person asked not to be told; it is measured all the same
    resolution: Resolution | None = None  # of a person, in force until this window
    group_id: str | None = None  # the issue that leads the findings of one cause, this one among them
    symptoms: list[str] = []  # of the one that leads: the other issues of its group
    replaces: list[str] = []  # issues of earlier rules that this one continues beside its own
    breakdown: list[Breakdown] = []
    origin_span: SpanRef | None = None
    symptom_span: SpanRef | None = None
    affected: list[SpanRef] = Field(default=[], max_length=50)  # the first of affected.jsonl
    affected_spans: int = Field(default=0, ge=0)  # rows of affected.jsonl
    affected_left_out: int = Field(default=0, ge=0)  # affected spans beyond its limits of one trace and of one finding
    evidence: list[Evidence] = []
    counter_evidence: list[Evidence] = []
    seen_from: MaybeMoment = None  # the first affected trace of this window; `first_seen` is of all windows
    absent_windows: int = 0  # windows without it just before this one, since it was seen last
    calls: Calls | None = None
    place: Place | None = None
    told_otherwise: ToldOtherwise | None = None
    common: list[Common] = []  # what the affected calls share and other calls of the same name do not
    impact: Impact | None = None
    seen_with: list[str] = []  # issues whose traces in this window are nearly the same: often one cause
    root_cause: str = ""
    fix: Fix


class Engine(Model):
    """What looked at the window, and what it used."""

    mode: Literal["detectors", "rlm"]
    model: str | None = None
    route: str | None = None  # direct, map, judge or loop, and why: rlm only
    route_reason: str | None = None
    turns: int = 0
    model_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost_usd: float | None = None
    seconds: float = 0.0
    rules: dict[str, int] = {}  # the detectors that ran, with their versions


class DetectorOff(Model):
    """A detector that cannot see anywhere in the window, and what the captured spans lack for it."""

    name: str
    lacks: list[str]


class Coverage(Model):
    """What was read, what was not, and what the capture cannot support."""

    traces: int = 0
    spans: int = 0
    traces_examined: int = 0
    sampled: bool = False
    not_examined: list[str] = []
    unsupported: list[str] = []
    detectors: int = 0  # that there are; those that see something are the ones not in detectors_off
    detectors_off: list[DetectorOff] = []


class Rejected(Model):
    """What failed verification and was not shipped."""

    citations: int = 0
    findings: int = 0
    reasons: list[str] = []


class Report(Timed):
    """What one run found in one window.

    `remembered` says whether it extends an issue memory, `memory` whose: absent, a schedule's report extends that of
    its schedule, and a run by hand none.
    """

    report_version: int = REPORT_VERSION
    id: str
    window: ReportWindow
    created_at: Moment
    schedule: str | None = None
    remembered: bool | None = None
    memory: str | None = None
    alert: AlertNote | None = None  # of a message between reports: it has one finding, and no memory is made of it
    prompt: str | None = None
    answer: str | None = None
    summary: str = ""
    headline: str = ""  # the answer in one line, of the whole report: a sink may be told of a part of it
    first_window: bool | None = None  # whether there is no earlier window to compare with; null where nobody knows
    status: Status = "complete"
    stopped_by: Stop | None = None
    unanswered: str | None = None  # why the model did not answer the question; without one, why it could not be asked
    engine: Engine
    coverage: Coverage = Coverage()
    totals: Totals = Totals()
    findings: list[Finding] = []
    outcomes: list[Outcome] = []
    contrasts: list[Contrast] = []
    left_out: list[LeftOut] = []
    fixes: list[FixCheck] = []  # of issues that a person resolved
    set_aside: list[SetAside] = []
    notes: list[Note] = []
    rejected: Rejected = Rejected()

    @property
    def is_remembered(self) -> bool:
        """Whether it extends an issue memory."""
        return self.schedule is not None if self.remembered is None else self.remembered

    @property
    def scope(self) -> str | None:
        """The schedule whose memory it reads and extends; None: that of runs by hand."""
        return self.schedule or self.memory

    def to_json(self) -> str:
        """Write the report as `report.json` holds it: two-space indented, times as ISO-8601."""
        return self.model_dump_json(indent=2) + "\n"


def schema() -> str:
    """Write the JSON Schema of `report.json`; `make schema` puts it into `proto/report.schema.json`."""
    return json.dumps(Report.model_json_schema(mode="serialization"), indent=2, ensure_ascii=False) + "\n"

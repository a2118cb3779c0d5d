"""The report, as data: `report.json` is this model, and `proto/report.schema.json` is generated from it.

Laws, kept by `analysis.evidence` before anything becomes a `Report`: every quote is found verbatim in the span it
cites; every count is computed from the store; what fails is dropped and counted in `rejected`.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, field_validator

REPORT_VERSION = 1

Severity = Literal["critical", "high", "medium", "low"]
State = Literal["new", "ongoing", "worsening", "improving", "regressed", "resolved"]
Status = Literal["complete", "partial", "failed"]
Stop = Literal["turns", "tokens", "cost", "seconds", "error", "interrupted"]

SEVERITIES: tuple[Severity, ...] = ("critical", "high", "medium", "low")
STATES: tuple[State, ...] = ("new", "ongoing", "worsening", "improving", "regressed", "resolved")


def iso_nano(unix_nano: int) -> str:
    """Write a time as ISO-8601 UTC with nine digits and Z, as every JSON of ours does."""
    seconds, nanos = divmod(unix_nano, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanos:09d}Z"


def _unix_nano(value: Any) -> Any:
    if isinstance(value, datetime):
        value = value if value.tzinfo else value.replace(tzinfo=UTC)
        return int(value.timestamp()) * 1_000_000_000 + value.microsecond * 1000
    if isinstance(value, str):
        head, _, fraction = value.rstrip("Z").partition(".")
        moment = datetime.fromisoformat(head).replace(tzinfo=UTC)
        return int(moment.timestamp()) * 1_000_000_000 + int((fraction or "0").ljust(9, "0")[:9])
    return value


class Model(BaseModel):
    """The base of every part: nothing unknown, nothing changed afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# Nanoseconds since the Unix epoch in Python, ISO-8601 with nine digits and Z in JSON.
Moment = Annotated[
    int,
    PlainSerializer(iso_nano, return_type=str, when_used="json"),
]


class _Timed(Model):
    @field_validator("*", mode="before")
    @classmethod
    def _read_moments(cls, value: Any, info: Any) -> Any:
        field = cls.model_fields[info.field_name]
        return _unix_nano(value) if any(isinstance(meta, PlainSerializer) for meta in field.metadata) else value


class ReportWindow(_Timed):
    """`[start, end)` of arrival time."""

    start: Moment
    end: Moment


class SpanRef(Model):
    """A span, named."""

    trace_id: str
    span_id: str


class Evidence(Model):
    """A verbatim quote: a substring of the decoded text of `field` of that span.

    `field` is `name`, `input_text`, `output_text`, `status_message`, `error_message`, `attributes["key"]` or
    `events[i].attributes["key"]`.
    """

    trace_id: str
    span_id: str
    field: str
    quote: str


class Detector(Model):
    """What measures a finding without a model: its name, and SQL that names trace_id and span_id where there is one.

    Rates that two versions of a detector measured are not compared.
    """

    name: str
    sql: str | None = None
    version: int = 1


class Resolution(_Timed):
    """A person's decision that an issue is fixed, and what this window says of it."""

    at: Moment
    by: str = ""
    note: str = ""
    release: str | None = None
    traces: int = Field(ge=0)  # affected here that started after it, or in that release or one first seen after it


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


class Finding(_Timed):
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
    detector: Detector | None = None
    signature: str = ""  # what identifies it across windows, with ids and numbers masked
    prevalence: Prevalence
    comparable: bool = True  # false: what measures it has changed since the window before, and no state is derived
    muted: bool = False  # a person asked not to be told; it is measured all the same
    resolution: Resolution | None = None  # of a person, in force until this window
    group_id: str | None = None  # the issue that leads the findings of one cause, this one among them
    symptoms: list[str] = []  # of the one that leads: the other issues of its group
    replaces: list[str] = []  # issues of earlier rules that this one continues beside its own
    breakdown: list[Breakdown] = []
    origin_span: SpanRef | None = None
    symptom_span: SpanRef | None = None
    affected: list[SpanRef] = Field(default=[], max_length=50)
    evidence: list[Evidence] = []
    counter_evidence: list[Evidence] = []
    seen_with: list[str] = []  # issues whose traces in this window are nearly the same: often one cause
    root_cause: str = ""
    fix: Fix


class Engine(Model):
    """What looked at the window, and what it used."""

    mode: Literal["detectors", "rlm"]
    model: str | None = None
    route: str | None = None  # direct, map or loop, and why: rlm only
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


class GroupTotals(Model):
    """Totals of one agent, model or service; a name in parentheses stands for what has none, or for the rest."""

    name: str
    traces: int = 0
    spans: int = 0
    error_traces: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    duration_p50_ns: int | None = None
    duration_p95_ns: int | None = None


class Release(_Timed):
    """A version of a service (`service.version`), as this window has it."""

    service: str
    version: str
    traces: int
    first_seen: Moment


class RunOutcome(Model):
    """How many traces ended one way.

    `outcome` is error, ok, paused (for a person or an event), cancelled or unknown; `basis` is recorded where a root
    status, an evaluation or a user says it, and null where nobody does.
    """

    outcome: str
    basis: str | None
    traces: int


class ControlFlow(Model):
    """Exceptions that were recorded as errors and are control flow, of one class."""

    kind: str  # paused, handed_off, finished, guarded, closed, aborted
    name: str
    traces: int
    spans: int


class Totals(Model):
    """Totals of the window, computed from the store. Tokens and cost are of LLM and embedding calls, each once."""

    traces: int = 0
    spans: int = 0
    error_traces: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    duration_p50_ns: int | None = None
    duration_p95_ns: int | None = None
    affected_traces: int = 0  # traces with at least one finding
    affected_cost_usd: float | None = None  # what those traces spent
    muted_traces: int = 0  # traces with a finding that a person muted, alone or with the one that leads it
    by_agent: list[GroupTotals] = []
    by_model: list[GroupTotals] = []
    by_service: list[GroupTotals] = []
    releases: list[Release] = []
    outcomes: list[RunOutcome] = []  # together all traces
    control_flow: list[ControlFlow] = []  # none of it is a failure
    timeline: list[dict[str, Any]] = []  # {start, traces, error_traces, affected_traces, tokens, cost_usd} per bucket

    @property
    def known_outcomes(self) -> int:
        """Traces of which somebody recorded how they ended."""
        return sum(one.traces for one in self.outcomes if one.basis is not None)


class Rejected(Model):
    """What failed verification and was not shipped."""

    citations: int = 0
    findings: int = 0
    reasons: list[str] = []


class LeftOut(_Timed):
    """What was found and does not count, for a person said that it is no failure."""

    issue_id: str
    title: str
    traces: int = Field(ge=0)
    named: bool  # true: only the traces that the person named; false: every hit of the issue
    because: str
    by: str = ""
    at: Moment


class Report(_Timed):
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
    prompt: str | None = None
    answer: str | None = None
    summary: str = ""
    headline: str = ""  # the answer in one line, of the whole report: a sink may be told of a part of it
    status: Status = "complete"
    stopped_by: Stop | None = None
    engine: Engine
    coverage: Coverage = Coverage()
    totals: Totals = Totals()
    findings: list[Finding] = []
    outcomes: list[Outcome] = []
    contrasts: list[Contrast] = []
    left_out: list[LeftOut] = []
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

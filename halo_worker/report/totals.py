"""What a window held, counted in the store: traces, tokens, cost, durations, releases, outcomes."""

from __future__ import annotations

from typing import Any

from halo_worker.report.base import Model, Moment, Timed


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


class Release(Timed):
    """A version of a service (`service.version`), as this window has it."""

    service: str
    version: str
    traces: int
    first_seen: Moment


class RunOutcome(Model):
    """How many traces ended one way.

    `outcome` is served, told but not served (work failed, and an answer came after it), error, ended in mid-work (the
    last act is a call of a tool or a hand-off), limit reached, gave up (refused, or handed to a person), cancelled,
    paused (for a person or an event) or unknown. `basis` is recorded where a root status, an evaluation or a user says
    it, structure where the run itself shows it, judged where a model says it, and null where nobody does.
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
        return sum(one.traces for one in self.outcomes if one.basis == "recorded")

"""One failure mode over time, and what a window says of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from halo_worker.report.decisions import Decision, Standing, standing
from halo_worker.report.model import Finding, State
from halo_worker.report.states import UNKNOWN_RULE, Derived, Point, state_after

Scope = str | None  # a schedule's name; None: runs by hand
Releases = Mapping[tuple[str, str], int]  # (service, version) → when it was first seen, unix nanoseconds


@dataclass(slots=True)
class Issue:
    """A failure mode over time, oldest window first. `scope` is the memory that its history is of."""

    issue_id: str
    finding: Finding  # as last reported
    first_seen: int
    last_seen: int
    scope: Scope = None
    history: list[Point] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    regressed_ns: int = 0  # when a report last said that it was back

    @property
    def standing(self) -> Standing:
        """The decisions that are in force. A resolution ends with the report that says it is back."""
        now = standing(self.decisions)
        ended = now.resolved is not None and self.regressed_ns > now.resolved.at_ns
        return replace(now, resolved=None) if ended else now

    @property
    def muted(self) -> bool:
        """Whether a person asked not to be told."""
        return self.standing.muted is not None

    @property
    def state(self) -> str:
        """The state in which the last window and people's decisions leave it: a report's, `muted` or `wrong`."""
        now = self.standing
        if now.wrong_as_a_whole:
            return "wrong"
        if now.muted:
            return "muted"
        if now.resolved:
            return "resolved"
        if not self.history:
            return self.finding.state
        left = state_after(self.history)
        # A window that held leftovers of before a resolution, which a person then took back.
        return "ongoing" if left == "resolved" and self.history[-1].traces else left

    def gone(self, of: int) -> Finding:
        """Return the finding that says that a window of `of` traces does not hold it; its words are those of then."""
        last = self.finding
        return last.model_copy(
            update={
                "state": "resolved",
                "severity_reason": f"{last.severity} when it was seen last",
                "prevalence": last.prevalence.model_copy(
                    update={
                        "traces": 0, "of": of, "rate": 0.0, "low": 0.0, "high": min(1.0, 3 / of) if of else 1.0,
                        "previous_rate": last.prevalence.rate, "p_value": None,
                    }
                ),
                "muted": False, "resolution": None, "group_id": None, "symptoms": [], "replaces": [],
                "comparable": True, "affected": [], "affected_spans": 0, "affected_left_out": 0, "breakdown": [],
                "seen_with": [], "evidence": [], "counter_evidence": [], "seen_from": None, "absent_windows": 0,
                "calls": None, "place": None, "told_otherwise": None, "common": [], "impact": None,
            }
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Seen:
    """What this window holds of an issue.

    `since` counts its traces that a decision speaks of: those that show whether what a person resolved is back.
    """

    traces: int
    of: int
    first_seen: int
    rule: str = UNKNOWN_RULE
    confidence: float = 1.0
    since: Callable[[Decision], int] | None = None


@dataclass(frozen=True, slots=True)
class Assessment:
    """What the memory says of a finding of this window."""

    issue_id: str
    derived: Derived
    first_seen: int
    history: list[Point]
    muted: bool = False
    resolution: Decision | None = None  # of a person, in force until this window
    since: int = 0  # traces of this window that it speaks of

    @property
    def state(self) -> State:
        """The state as the report tells it."""
        return self.derived.state

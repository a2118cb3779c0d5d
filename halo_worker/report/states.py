"""The state of an issue, derived from the windows that were looked at.

`new`: never seen. `regressed`: seen, then absent from windows with enough traces to show it (three expected at its
last rate: chance alone hides it once in twenty), or resolved by a person, and back. `worsening`, `improving`: the rate
differs from the window before (Fisher's exact test, p < 0.01, by a quarter or more); where that one holds fewer than
ten affected traces, from the last up to seven together. `ongoing`: none of these, also when there is too little data,
which `enough` tells. `resolved`: absent since from windows with enough traces to show it (five expected at its last
rate), or resolved by a person and not back.

No state is derived from a window in which the issue was muted or its hits were called wrong, nor across a change of the
rule that measures it: such a finding is `ongoing`, and not comparable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from halo_worker.report.model import State
from halo_worker.report.statistics import P_CHANGED, could_differ, rates_differ

CHANGED_BY = 0.25  # relative change of the rate, below which a difference is not worth reporting
EXPECTED_TO_RESOLVE = 5.0
EXPECTED_TO_REGRESS = 3.0  # rule of three: none seen of three expected has p = 0.05
MAX_POOLED = 7  # earlier windows that are taken together where the last alone holds too little
MIN_HITS = 10  # affected traces before, below which an earlier window is added
ALL_FALSE = 0.1  # chance that every hit after a person's decision is a false alarm, up to which it is back

UNKNOWN_RULE = ""


@dataclass(frozen=True, slots=True)
class Point:
    """One window of an issue's history. Times are unix nanoseconds."""

    run_id: str
    end_ns: int
    traces: int
    of: int
    state: str = ""  # as reported; empty where the window did not hold it
    rule: str = UNKNOWN_RULE  # what measured it, with its version; a change of it makes rates incomparable
    made_ns: int = 0  # when the report was made
    muted: bool = False
    struck: bool = False  # a person said that these hits are wrong

    @property
    def rate(self) -> float:
        """Affected of all."""
        return self.traces / self.of if self.of else 0.0

    @property
    def counts(self) -> bool:
        """Whether a state may be derived from it."""
        return self.of > 0 and not self.muted and not self.struck


class Derived(NamedTuple):
    """A state and what it rests on; `enough` is None without an earlier window to compare with."""

    state: State
    previous_rate: float | None = None
    p_value: float | None = None
    enough: bool | None = None
    comparable: bool = True


class Presence(NamedTuple):
    """The last window that held an issue, its place in the history, and the traces looked at since, by its rule."""

    last: Point
    place: int
    absent_of: int


def same_rule(one: str, other: str) -> bool:
    """Say whether two windows were measured by one rule, as far as that is known."""
    return UNKNOWN_RULE in (one, other) or one == other


def presence(history: Sequence[Point]) -> Presence | None:
    """Return the last window that held an issue; None where no window that counts did."""
    absent: list[Point] = []
    for place in range(len(history) - 1, -1, -1):
        point = history[place]
        if not point.counts:
            continue
        if point.traces:
            return Presence(point, place, sum(item.of for item in absent if same_rule(item.rule, point.rule)))
        absent.append(point)
    return None


def absent_windows(history: Sequence[Point]) -> int:
    """Count the windows that did not hold an issue since the last one that did."""
    before = presence(history)
    return sum(point.counts for point in history[before.place + 1 :]) if before else 0


def derive(history: Sequence[Point], *, traces: int, of: int, rule: str = UNKNOWN_RULE) -> Derived:
    """Derive the state of an issue that this window holds, from the windows before, oldest first."""
    before = presence(history)
    if before is None:
        return Derived("ongoing")
    if not same_rule(before.last.rule, rule):
        return Derived("ongoing", comparable=False)
    if before.last.rate * before.absent_of >= EXPECTED_TO_REGRESS:
        return _compared("regressed", traces, of, 0, before.absent_of)  # against the windows without it
    hits, whole = _pooled(history, before, traces=traces, of=of)
    found = _compared("ongoing", traces, of, hits, whole)
    previous_rate, rate = hits / whole, traces / of if of else 0.0
    if found.p_value is None or found.p_value >= P_CHANGED:
        return found
    if rate > previous_rate * (1 + CHANGED_BY):
        return found._replace(state="worsening")
    return found._replace(state="improving") if rate < previous_rate * (1 - CHANGED_BY) else found


def _compared(state: State, traces: int, of: int, hits: int, whole: int) -> Derived:
    return Derived(
        state,
        hits / whole,
        rates_differ(traces, of, hits, whole),
        could_differ(traces, of, hits, whole, P_CHANGED),
    )


def _pooled(history: Sequence[Point], before: Presence, *, traces: int, of: int) -> tuple[int, int]:
    """Take earlier windows together with the last one that held an issue, until a change could show, if one can."""
    hits, whole, pooled = before.last.traces, before.last.of, 1
    for point in reversed(history[: before.place]):
        if pooled == MAX_POOLED or (hits >= MIN_HITS and could_differ(traces, of, hits, whole, P_CHANGED)):
            break
        if point.counts and same_rule(point.rule, before.last.rule):
            hits, whole, pooled = hits + point.traces, whole + point.of, pooled + 1
    return hits, whole


def back_after_decision(history: Sequence[Point], *, traces: int, confidence: float) -> bool:
    """Say whether an issue that a person resolved is back, from `traces` affected ones that the decision speaks of.

    One is enough at a confidence of .9: the chance that all of them are false alarms, (1 - confidence) ** traces, is at
    most ALL_FALSE. Less sure ones also count where the issue had been absent for long enough to regress.
    """
    if not traces:
        return False
    before = presence(history)
    absent = before is not None and before.last.rate * before.absent_of >= EXPECTED_TO_REGRESS
    return absent or not_all_false(traces, confidence)


def not_all_false(traces: int, confidence: float) -> bool:
    """Say whether of so many affected traces one at least is no false alarm."""
    return (1 - confidence) ** traces <= ALL_FALSE + 1e-9  # 1 - 0.9 is a little more than 0.1


def resolves(history: Sequence[Point], *, of: int, rule: str = UNKNOWN_RULE) -> bool:
    """Say whether a window of `of` traces without it is the one that shows an issue to be gone."""
    before = presence(history)
    if before is None or not same_rule(before.last.rule, rule):
        return False
    return before.last.rate * before.absent_of < EXPECTED_TO_RESOLVE <= before.last.rate * (before.absent_of + of)


def state_after(history: Sequence[Point]) -> str:
    """Return the state in which the windows so far leave an issue."""
    before = presence(history)
    if before is None:
        return "ongoing"
    if not before.absent_of:
        return before.last.state or "ongoing"
    return "resolved" if before.last.rate * before.absent_of >= EXPECTED_TO_RESOLVE else "ongoing"

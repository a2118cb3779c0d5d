"""Two sides of a change compared: a rate before and after, what the difference is worth, and the verdict.

Pure functions of counts. A difference counts from p < ALPHA, in Fisher's exact test of the two sides. Its interval is
Newcombe's (1998, method 10, from two Wilson intervals). Where what came in shifted between the sides, the rate after is
also given with the weights of before (direct standardisation), tested by Mantel and Haenszel (1959).

Verdicts. `fixed`: none after, and chance would not have hidden it. `improved`: less often, and still there. `worse`:
more often. `not fixed`: still there, and either as often as before or in enough traces to show that it is gone.
`too few`: these numbers of traces could not have shown it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

from halo_worker.report.statistics import rates_differ, wilson

Verdict = Literal["worse", "not fixed", "too few", "improved", "fixed"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)  # what needs a person first

ALPHA = 0.05  # of one planned comparison; the intervals are of 95 %
MAX_NEEDED = 1_000_000  # traces, beyond which no number is named
COVERED = 0.5  # share of the traces before that must have their like after, to standardise by it


class Counts(NamedTuple):
    """Affected traces of one side, of how many."""

    traces: int
    of: int

    @property
    def rate(self) -> float:
        """Affected of all; 0 without any."""
        return self.traces / self.of if self.of else 0.0


class Stratum(NamedTuple):
    """Traces that are alike, on both sides."""

    before: Counts
    after: Counts


class Standardised(NamedTuple):
    """Both rates over the strata that both sides have, weighted as before; `covered` is their share of before."""

    before: float
    after: float
    p_value: float | None
    could_show: bool
    covered: float


class Compared(NamedTuple):
    """What two sides say. Rates and differences are shares of 1; a negative difference is an improvement."""

    verdict: Verdict
    difference: tuple[float, float, float]  # value, low, high
    p_value: float | None  # None where a side is empty
    smallest_detectable: float | None  # the smallest drop that would have counted; None: not even a drop to none
    needed: int | None  # traces more after the change, of `too few`; None where that would not help


def difference(before: Counts, after: Counts) -> tuple[float, float, float]:
    """Return after minus before with its 95 % interval; (0, -1, 1) when a side is empty."""
    if not before.of or not after.of:
        return 0.0, -1.0, 1.0
    (low_1, high_1), (low_2, high_2) = wilson(*before), wilson(*after)
    value = after.rate - before.rate
    return (
        value,
        max(-1.0, value - math.hypot(after.rate - low_2, high_1 - before.rate)),
        min(1.0, value + math.hypot(high_2 - after.rate, before.rate - low_1)),
    )


def _dropped(before: Counts, traces: int, of: int) -> bool:
    """Say whether so many after would count as a drop."""
    p = rates_differ(traces, of, *before)
    return p is not None and p < ALPHA and traces / of < before.rate


def smallest_detectable(before: Counts, after: Counts) -> float | None:
    """Return the smallest drop of the rate that would have counted with these numbers of traces."""
    if not after.of or not _dropped(before, 0, after.of):
        return None
    shown, hidden = 0, math.ceil(before.rate * after.of)
    while hidden - shown > 1:
        middle = (shown + hidden) // 2
        shown, hidden = (middle, hidden) if _dropped(before, middle, after.of) else (shown, middle)
    return before.rate - shown / after.of


def needed(before: Counts, after: Counts) -> int | None:
    """Return how many traces more, with the rate seen after, would count as a drop; None where none would."""
    if not before.traces or after.rate >= before.rate:
        return None

    def enough(of: int) -> bool:
        return _dropped(before, round(after.rate * of), of)

    few, many = after.of, max(1, 2 * after.of)
    while not enough(many):
        few, many = many, 2 * many
        if many > MAX_NEEDED:
            return None
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if enough(middle) else (middle, many)
    return many - after.of


def standardise(strata: Sequence[Stratum]) -> Standardised | None:
    """Return the rates over the strata that both sides have; None where these hold too little of before."""
    whole = sum(one.before.of for one in strata)
    common = [one for one in strata if one.before.of and one.after.of]
    held = sum(one.before.of for one in common)
    if not whole or held / whole < COVERED:
        return None
    after = sum(one.after.rate * one.before.of for one in common) / held
    before = sum(one.before.traces for one in common) / held
    gone = [Stratum(one.before, Counts(0, one.after.of)) for one in common]
    p_gone = mantel_haenszel(gone)
    return Standardised(before, after, mantel_haenszel(common), p_gone is not None and p_gone < ALPHA, held / whole)


def mantel_haenszel(strata: Sequence[Stratum]) -> float | None:
    """Return the p-value that the sides differ in no stratum, with the correction for continuity; one table is exact.

    None where no stratum tells anything: a side is empty, or all are affected, or none.
    """
    if len(strata) == 1:
        [(before, after)] = strata
        return rates_differ(*after, *before)
    apart = variance = 0.0
    for before, after in strata:
        hits, of = before.traces + after.traces, before.of + after.of
        if of > 1:
            apart += after.traces - hits * after.of / of
            variance += hits * (of - hits) * before.of * after.of / (of * of * (of - 1))
    if not variance:
        return None
    return math.erfc(math.sqrt(max(0.0, abs(apart) - 0.5) ** 2 / variance / 2))


def deciding(before: Counts, after: Counts, standardised: Standardised | None = None) -> float | None:
    """Return the p-value that decides: of the standardised rates, where what came in shifted."""
    return rates_differ(*after, *before) if standardised is None else standardised.p_value


def compare(
    before: Counts, after: Counts, *, sure: bool = True, standardised: Standardised | None = None,
    q_value: float | None = None,
) -> Compared:  # fmt: skip
    """Compare two sides. `sure`: the affected traces after cannot all be false alarms of the rule.

    With `standardised`, its rates and test decide whether there is less or more of it; with `q_value`, the p-value
    that decides, adjusted for the number of comparisons.
    """
    detectable = smallest_detectable(before, after)
    rates, could_show = (before.rate, after.rate), detectable is not None
    if standardised is not None:
        rates, could_show = (standardised.before, standardised.after), could_show and standardised.could_show
    counted = deciding(before, after, standardised) if q_value is None else q_value
    verdict = _verdict(before, after, rates, counted, could_show=could_show, sure=sure)
    return Compared(
        verdict,
        difference(before, after),
        rates_differ(*after, *before),
        detectable,
        needed(before, after) if verdict == "too few" else None,
    )


def _verdict(
    before: Counts, after: Counts, rates: tuple[float, float], p: float | None, *, could_show: bool, sure: bool
) -> Verdict:
    if not before.of or not after.of:
        return "too few"
    if p is not None and p < ALPHA and rates[0] != rates[1]:
        if rates[1] > rates[0]:
            return "worse"
        return "improved" if after.traces else "fixed"
    as_often = sure and rates[1] >= rates[0]
    return "not fixed" if after.traces and (could_show or as_often) else "too few"

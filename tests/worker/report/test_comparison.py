"""Two sides compared: intervals, the exact test, what the numbers could have shown, and the verdict."""

from __future__ import annotations

import pytest

from halo_worker.report.comparison import (
    ALPHA,
    Counts,
    Stratum,
    compare,
    difference,
    mantel_haenszel,
    needed,
    smallest_detectable,
    standardise,
)
from halo_worker.report.statistics import rates_differ

VERDICTS = [
    ((22, 200), (0, 100), "fixed"),
    ((22, 200), (1, 100), "improved"),
    ((22, 200), (11, 100), "not fixed"),  # as often
    ((22, 200), (7, 100), "not fixed"),  # a drop that chance explains, where a drop to none would have counted
    ((22, 200), (40, 100), "worse"),
    ((22, 200), (0, 10), "too few"),
    ((22, 200), (0, 0), "too few"),
    ((3, 10), (2, 10), "too few"),
    ((3, 10), (3, 10), "not fixed"),  # too few to show a fix, but nothing speaks for one
    ((0, 200), (0, 100), "too few"),
    ((0, 200), (9, 100), "worse"),
]


@pytest.mark.parametrize(("before", "after", "verdict"), VERDICTS)
def test_the_verdict_is_what_the_counts_could_show(
    before: tuple[int, int], after: tuple[int, int], verdict: str
) -> None:
    assert compare(Counts(*before), Counts(*after)).verdict == verdict


def test_hits_that_may_all_be_false_alarms_do_not_say_that_it_is_still_there() -> None:
    assert compare(Counts(3, 10), Counts(3, 10), sure=False).verdict == "too few"


def test_the_interval_of_a_difference_is_newcombes() -> None:
    """Newcombe (1998), table II, method 10: 56/70 - 48/80 is 0.2, from 0.0524 to 0.3339."""
    value, low, high = difference(Counts(48, 80), Counts(56, 70))
    assert (value, low, high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


@pytest.mark.parametrize("before", [Counts(22, 200), Counts(3, 10), Counts(9, 12), Counts(1, 400)])
@pytest.mark.parametrize("of", [1, 7, 40, 300])
def test_what_could_have_been_shown_is_the_smallest_drop_that_counts(before: Counts, of: int) -> None:
    """Held against every possible count."""
    counted = [
        before.rate - hits / of
        for hits in range(of + 1)
        if hits / of < before.rate and (rates_differ(hits, of, *before) or 1) < ALPHA
    ]
    found = smallest_detectable(before, Counts(0, of))
    assert found == (pytest.approx(min(counted)) if counted else None)


def test_so_many_traces_more_make_a_drop_count_and_one_less_does_not() -> None:
    before, after = Counts(22, 200), Counts(0, 10)
    more = needed(before, after)
    assert more is not None
    assert (rates_differ(0, 10 + more, *before) or 1) < ALPHA <= (rates_differ(0, 10 + more - 1, *before) or 0), more
    assert compare(before, Counts(0, 10 + more)).verdict == "fixed"
    assert needed(Counts(0, 20), Counts(0, 5)) is None, "nothing can drop"
    assert needed(before, Counts(4, 10)) is None


def test_a_rate_that_falls_because_other_traffic_came_is_no_fix() -> None:
    """Agent A fails in half of its traces, B never; before most were A's, after most are B's."""
    strata = [Stratum(Counts(40, 80), Counts(10, 20)), Stratum(Counts(0, 20), Counts(0, 80))]
    same = standardise(strata)
    assert same is not None
    assert (same.before, same.after) == (pytest.approx(0.4), pytest.approx(0.4))
    assert compare(Counts(40, 100), Counts(10, 100)).verdict == "improved"
    assert compare(Counts(40, 100), Counts(10, 100), standardised=same).verdict == "not fixed"


def test_standardising_by_what_has_no_like_after_is_refused() -> None:
    apart = [Stratum(Counts(40, 80), Counts(0, 0)), Stratum(Counts(0, 20), Counts(0, 100))]
    assert standardise(apart) is None


def test_strata_that_differ_the_same_way_are_tested_together() -> None:
    """The statistic computed by hand for two tables."""
    strata = [Stratum(Counts(10, 20), Counts(2, 20)), Stratum(Counts(8, 20), Counts(3, 20))]
    apart = (2 - 6) + (3 - 5.5)
    variance = 12 * 28 * 20 * 20 / (40 * 40 * 39) + 11 * 29 * 20 * 20 / (40 * 40 * 39)
    chi = (abs(apart) - 0.5) ** 2 / variance
    assert chi == pytest.approx(8.574, abs=0.001)
    assert mantel_haenszel(strata) == pytest.approx(0.00341, abs=1e-5)
    assert mantel_haenszel([Stratum(Counts(0, 5), Counts(0, 5)), Stratum(Counts(0, 9), Counts(0, 5))]) is None

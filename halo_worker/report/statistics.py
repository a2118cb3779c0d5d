"""Small exact statistics, standard library only.

Wilson's score interval (Wilson 1927), Fisher's exact test (two-sided, by the sum of tables no more likely than the
one seen), the Benjamini–Hochberg step-up procedure (1995).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Z95 = 1.959963984540054
P_CHANGED = 0.01  # below which a difference of rates is said to be one


def wilson(hits: int, of: int, *, z: float = Z95) -> tuple[float, float]:
    """Return the interval of a rate; (0, 1) when nothing was counted."""
    if of <= 0:
        return 0.0, 1.0
    rate = hits / of
    scale = 1 + z * z / of
    middle = (rate + z * z / (2 * of)) / scale
    half = z * math.sqrt(rate * (1 - rate) / of + z * z / (4 * of * of)) / scale
    return max(0.0, middle - half), min(1.0, middle + half)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def fisher_exact(a: int, b: int, c: int, d: int) -> float:
    """Return the two-sided p-value of the table [[a, b], [c, d]]; the time grows with the root of the counts."""
    row, column, total = a + b, a + c, a + b + c + d
    if not row or not column or row == total or column == total:
        return 1.0
    base = _log_choose(total, column)
    low, high = max(0, column - (total - row)), min(row, column)
    mode = min(high, max(low, (row + 1) * (column + 1) // (total + 2)))

    def log_p(k: int) -> float:
        return _log_choose(row, k) + _log_choose(total - row, column - k) - base

    def tail(k: int, step: int) -> float:
        """Sum from k away from the mode: each term from the one before, until they no longer count."""
        term = math.exp(log_p(k)) if low <= k <= high else 0.0
        summed = 0.0
        while term > summed * 1e-16 and low <= k <= high:
            summed += term
            up = (row - k) * (column - k) / ((k + 1) * (total - row - column + k + 1)) if step > 0 else 0.0
            down = k * (total - row - column + k) / ((row - k + 1) * (column - k + 1)) if step < 0 else 0.0
            term *= up or down
            k += step
        return summed

    seen = log_p(a) + 1e-7
    if log_p(mode) <= seen:
        return 1.0
    # Probabilities rise to the mode and fall after it: each tail begins where they are no larger than the one seen.
    left, right = low - 1, mode  # the last k on the left that is as unlikely; -1 when none is
    while right - left > 1:
        middle = (left + right) // 2
        left, right = (middle, right) if log_p(middle) <= seen else (left, middle)
    lower = left
    left, right = mode, high + 1
    while right - left > 1:
        middle = (left + right) // 2
        left, right = (left, middle) if log_p(middle) <= seen else (middle, right)
    return min(1.0, tail(lower, -1) + tail(right, 1))


def rates_differ(hits: int, of: int, previous_hits: int, previous_of: int) -> float | None:
    """Return the p-value that two windows have the same rate; None when one of them is empty."""
    if of <= 0 or previous_of <= 0:
        return None
    return fisher_exact(hits, of - hits, previous_hits, previous_of - previous_hits)


def could_differ(hits: int, of: int, previous_hits: int, previous_of: int, p: float) -> bool:
    """Say whether windows of these sizes, with so many hits in all, could show a difference at all.

    They could when the most uneven split of the hits would have a p-value below `p`. Else there is too little data.
    """
    if of <= 0 or previous_of <= 0:
        return False
    together = hits + previous_hits
    first, other = min(of, together), min(previous_of, together)
    splits = ((first, together - first), (together - other, other))
    return any(fisher_exact(a, of - a, b, previous_of - b) < p for a, b in splits)


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Return the adjusted p-values (q-values), in the order given."""
    count = len(p_values)
    order = sorted(range(count), key=lambda index: p_values[index], reverse=True)
    adjusted = [1.0] * count
    smallest = 1.0
    for rank, index in enumerate(order):
        smallest = min(smallest, p_values[index] * count / (count - rank))
        adjusted[index] = smallest
    return adjusted

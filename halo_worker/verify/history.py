"""The side before, counted from published reports where its traces are not stored any more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from halo_worker.report.comparison import Counts
from halo_worker.report.states import Point, same_rule
from halo_worker.window import Window


class Told(NamedTuple):
    """What reports tell of a time: counts of `windows` windows, and how many another version of the rule measured."""

    counts: Counts
    windows: int
    incomparable: int


def told(history: Sequence[Point], window: Window, rule: str) -> Told:
    """Add up the windows that end inside, without those in which the issue was muted or called wrong."""
    inside = [point for point in history if window.start_ns < point.end_ns <= window.end_ns and point.counts]
    counted = [point for point in inside if same_rule(point.rule, rule)]
    sums = Counts(sum(point.traces for point in counted), sum(point.of for point in counted))
    return Told(sums, len(counted), len(inside) - len(counted))

"""A trace laid out as a waterfall, and the trend of a rate: numbers for the page's template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from halo_worker.report import formats
from halo_worker.report.page_data import TraceRow
from halo_worker.report.states import Point

MAX_WATERFALL_ROWS = 40
MAX_INDENT = 12
MAX_TREND = 14  # windows, this one included
TREND_HEIGHT = 30
TREND_STEP = 9


@dataclass(frozen=True, slots=True)
class Bar:
    """One row of a waterfall; `left` and `width` in percent of the trace."""

    row: TraceRow
    depth: int
    left: float
    width: float
    origin: bool
    symptom: bool


def waterfall(rows: Sequence[TraceRow], origin: str | None, symptom: str | None) -> list[Bar]:
    """Lay a trace out as a tree in time, culprit and symptom marked; a long one is cut to what is around them."""
    known = {row.span_id for row in rows}
    children: dict[str | None, list[TraceRow]] = {}
    for row in sorted(rows, key=lambda item: (item.start_ns or 0, item.span_id)):
        parent = row.parent_span_id if row.parent_span_id in known else None
        children.setdefault(parent, []).append(row)
    begun = [row for row in rows if row.start_ns]
    start = min((row.start_ns or 0 for row in begun), default=0)
    end = max(((row.start_ns or 0) + (row.duration_ns or 0) for row in begun), default=start)
    whole = max(1, end - start)
    laid: list[Bar] = []
    todo = [(row, 0) for row in reversed(children.get(None, []))]
    while todo:
        row, depth = todo.pop()
        left = 100 * ((row.start_ns or start) - start) / whole
        width = max(0.4, 100 * (row.duration_ns or 0) / whole)
        laid.append(
            Bar(
                row, min(depth, MAX_INDENT), round(min(left, 99.6), 2), round(width, 2),
                row.span_id == origin, row.span_id == symptom and symptom != origin,
            )
        )  # fmt: skip
        todo.extend((child, depth + 1) for child in reversed(children.get(row.span_id, [])))
    if len(laid) <= MAX_WATERFALL_ROWS:
        return laid
    marked = [index for index, bar in enumerate(laid) if bar.origin or bar.symptom] or [0]
    # Both are shown, with their neighbours: first the row of the root, then a part around each.
    around = (MAX_WATERFALL_ROWS - 1) // (2 * len(marked))
    near = {0} | {index + step for index in marked for step in range(-around, around)}
    return [bar for index, bar in enumerate(laid) if index in near][:MAX_WATERFALL_ROWS]


@dataclass(frozen=True, slots=True)
class Step:
    """One window of a trend, as a bar."""

    x: int
    y: float
    height: float
    says: str


@dataclass(frozen=True, slots=True)
class Trend:
    """The rate over windows as bars, the last one being this window."""

    steps: list[Step]
    width: int
    says: str


def trend(history: Sequence[Point], rate_now: float | None = None) -> Trend | None:
    """Draw the rate over past windows, and over this one where it is not among them; None before there is a past."""
    rates = [(formats.day(point.end_ns), point.rate) for point in history]
    if rate_now is not None:
        rates.append(("now", rate_now))
    rates = rates[-MAX_TREND:]
    if len(rates) < 2:
        return None
    top = max(max(rate for _, rate in rates), 1e-9)
    steps = []
    for index, (when, rate) in enumerate(rates):
        height = max(1.5, (TREND_HEIGHT - 2) * rate / top)
        says = f"{when}: {formats.percent(rate)}"
        steps.append(Step(index * TREND_STEP, round(TREND_HEIGHT - height, 1), round(height, 1), says))
    return Trend(steps, len(rates) * TREND_STEP - 2, " → ".join(formats.percent(rate) for _, rate in rates[-5:]))

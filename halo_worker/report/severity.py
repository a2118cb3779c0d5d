"""How severe a finding is, in words too, and the order of findings: by what it cost and its trend before counts."""

from __future__ import annotations

from halo_worker.report.facts import Impact
from halo_worker.report.formats import dollars, percent
from halo_worker.report.model import SEVERITIES, Finding, Severity, State

CRITICAL = 5  # points of a severity
NEWS: tuple[State, ...] = ("regressed", "worsening", "new")

# What things cost, in minutes of a person, so that they can be compared. A ranking, no bill.
MINUTES_OF_DOLLAR = 1.0
MINUTES_OF_RUN = 5.0  # a run that was not served is asked for again, or done by hand
LONG_MINUTES = 15.0  # for nothing in each affected run, from which a finding is high however rare it is
HARD_MINUTES = 120.0  # from which it is critical


def cost_minutes(impact: Impact | None) -> float:
    """Return what a finding cost in all, in minutes of a person."""
    if impact is None:
        return 0.0
    dollars_lost = impact.wasted_cost_usd or 0.0
    return impact.waited_seconds / 60 + MINUTES_OF_DOLLAR * dollars_lost + MINUTES_OF_RUN * impact.not_served


def order_of(finding: Finding) -> tuple[object, ...]:
    """Return the sort key of a finding: what a person resolved last, then severity, cost, trend, and counts."""
    return (
        finding.state == "resolved", SEVERITIES.index(finding.severity), -round(cost_minutes(finding.impact)),
        finding.state not in NEWS, -finding.prevalence.traces, finding.calls is None, finding.issue_id,
    )  # fmt: skip


def severity_of(
    *,
    rate: float,
    traces: int,
    failed_share: float,
    state: State,
    hint: Severity | None,
    recovered_share: float = 0.0,
    impact: Impact | None = None,
    first_window: bool = False,
) -> tuple[Severity, str]:
    """Weigh what it cost, outcome, trend, recovery and prevalence; return the severity and the reason in words.

    `failed_share` are the affected traces whose root ended in ERROR, `recovered_share` those that hold an error and
    whose root did not. In a first window everything is new, and nothing is raised for it.
    """
    score = 0
    reasons = [f"{traces} trace{'s' if traces != 1 else ''} affected ({percent(rate)})"]
    score += 3 if rate >= 0.1 else 2 if rate >= 0.02 else 1 if rate >= 0.005 else 0
    if failed_share >= 0.5:
        score += 1
        reasons.append(f"{percent(failed_share)} of them end in an error")
    elif recovered_share >= 0.9:
        score = min(score, CRITICAL - 2)  # the trend may still add to it
        reasons.append("the runs continue and do not end in an error")
    elif failed_share + recovered_share < 0.05:
        reasons.append("no error status shows it")
    if state in NEWS and not (first_window and state == "new"):
        score += 1
        reasons.append({"worsening": "rate rising", "regressed": "regressed", "new": "new"}[state])
    elif state == "improving":
        score -= 1
        reasons.append("rate falling")
    level: Severity = "critical" if score >= CRITICAL else "high" if score >= 3 else "medium" if score >= 2 else "low"
    order: tuple[Severity, ...] = ("low", "medium", "high", "critical")
    if hint == "low" and level != "low":
        level = "low"
        reasons.append("it costs time or money, answers are not affected")
    elif hint is not None and hint != "low" and order.index(level) < order.index(hint):
        level = hint
        reasons.append("users are misled" if hint in ("high", "critical") else "the task is not done")
    floor, why = _by_cost(impact, traces)
    if floor is not None and order.index(level) < order.index(floor):
        level = floor
        reasons.append(why)
    return level, "; ".join(reasons)


def _by_cost(impact: Impact | None, traces: int) -> tuple[Severity | None, str]:
    """Return the least severity of what each affected run costs, and why."""
    if impact is None or not traces:
        return None, ""
    waited, lost = impact.waited_seconds / 60 / traces, (impact.wasted_cost_usd or 0.0) / traces
    each = waited + MINUTES_OF_DOLLAR * lost
    if each < LONG_MINUTES:
        return None, ""
    said = f"{waited:,.0f} minutes of waiting" if waited >= MINUTES_OF_DOLLAR * lost else dollars(lost)
    return "critical" if each >= HARD_MINUTES else "high", f"each affected run costs {said} for nothing"

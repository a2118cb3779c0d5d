"""How severe a finding is, and the reason in words."""

from __future__ import annotations

from halo_worker.report.formats import percent
from halo_worker.report.model import Severity, State

CRITICAL = 5  # points of a severity


def severity_of(
    *,
    rate: float,
    traces: int,
    failed_share: float,
    state: State,
    hint: Severity | None,
    recovered_share: float = 0.0,
) -> tuple[Severity, str]:
    """Weigh prevalence, outcome, trend and recovery; return the severity and the reason in words.

    `failed_share` are the affected traces whose root ended in ERROR, `recovered_share` those that hold an error and
    whose root did not.
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
    if state in ("worsening", "regressed", "new"):
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
    return level, "; ".join(reasons)

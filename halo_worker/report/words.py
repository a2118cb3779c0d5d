"""Numbers and states as people read them, the same in every form of a report."""

from __future__ import annotations

from halo_worker.report.model import Finding, Report, iso_nano


def percent(rate: float | None) -> str:
    """Write a rate: 4.1 %, and more digits where it is small."""
    if rate is None:
        return "–"
    value = rate * 100
    return f"{value:.0f} %" if value >= 10 else f"{value:.1f} %" if value >= 0.1 or value == 0 else f"{value:.2f} %"


def count(number: float | None) -> str:
    """Write a count with separators."""
    return "–" if number is None else f"{int(number):,}"


def short(number: float | None) -> str:
    """Write a large count in thousands or millions."""
    if number is None:
        return "–"
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e4, "k")):
        if abs(number) >= size:
            return f"{number / (1e3 if unit == 'k' else size):.1f}{unit}"
    return count(number)


def dollars(amount: float | None) -> str:
    """Write an amount of money; four digits where it is under a dollar."""
    return "–" if amount is None else f"${amount:,.2f}" if amount >= 1 or amount == 0 else f"${amount:.4f}"


def duration(nanoseconds: float | None) -> str:
    """Write a length of time in the unit a person would use."""
    if nanoseconds is None:
        return "–"
    for unit, size in (("h", 3.6e12), ("min", 6e10), ("s", 1e9), ("ms", 1e6)):
        if nanoseconds >= size:
            return f"{nanoseconds / size:.1f} {unit}"
    return f"{nanoseconds / 1000:.0f} µs"


def minute(unix_nano: int) -> str:
    """Write a time to the minute, UTC."""
    return iso_nano(unix_nano)[:16].replace("T", " ")


def day(unix_nano: int) -> str:
    """Write a day."""
    return iso_nano(unix_nano)[:10]


def plural(number: int, word: str) -> str:
    """Write a number with its word."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def since(finding: Finding) -> str:
    """Say in a few words how a finding stands against the windows before."""
    now, before = percent(finding.prevalence.rate), finding.prevalence.previous_rate
    if finding.state == "new":
        return f"new in this window, {now} of traces"
    if finding.state == "resolved":
        return f"not seen any more; it was in {percent(before)} of traces"
    if finding.state == "regressed":
        return f"back after it had gone, first seen {day(finding.first_seen)}, {now} of traces"
    if before is None:
        return f"{finding.state} since {day(finding.first_seen)}, {now} of traces"
    return f"{finding.state} since {day(finding.first_seen)}, {percent(before)} → {now} of traces"


def headline(report: Report) -> str:
    """Return the answer in one line: what changed, how much is affected, what it cost."""
    states: dict[str, int] = {}
    for finding in report.findings:
        states[finding.state] = states.get(finding.state, 0) + 1
    if not report.totals.traces:
        return "No traces settled in this window."
    parts = [
        f"{states[name]} {name}"
        for name in ("new", "regressed", "worsening", "ongoing", "improving", "resolved")
        if name in states
    ]
    found = ", ".join(parts) or "No failure modes found"
    totals = report.totals
    affected = totals.affected_traces / totals.traces
    text = f"{found}; {percent(affected)} of {plural(totals.traces, 'trace')} affected"
    if totals.affected_cost_usd:
        text += f"; {dollars(totals.affected_cost_usd)} spent on affected runs"
    return text + "."

"""Numbers and states as people read them, the same in every form of a report."""

from __future__ import annotations

from collections.abc import Iterable

from halo_worker.display import cut as cut
from halo_worker.display import visible as visible
from halo_worker.report.model import Finding, LeftOut, Report, State, Stop, iso_nano
from halo_worker.report.rows import told

_ORDER: tuple[State, ...] = ("new", "regressed", "worsening", "ongoing", "improving", "resolved")


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


def chance(p: float) -> str:
    """Write a p- or q-value."""
    return "< 0.0001" if p < 0.0001 else f"{p:.2g}"


def dollars(amount: float | None) -> str:
    """Write an amount of money; four digits where it is under ten cents."""
    return "–" if amount is None else f"${amount:,.2f}" if amount >= 0.1 or amount == 0 else f"${amount:.4f}"


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


_STOPPED: dict[Stop, str] = {
    "turns": "its turns were used up",
    "tokens": "its tokens were used up",
    "cost": "its budget in dollars was spent",
    "seconds": "its time was up",
    "error": "the model could not be asked any further",
    "interrupted": "it was interrupted",
}


def partial(report: Report) -> str | None:
    """Say that a report is not all there could be, and why; None of a complete one."""
    if report.status == "complete":
        return None
    why = f": the run ended because {_STOPPED[report.stopped_by]}" if report.stopped_by else ""
    return f"This report is {report.status}{why}. What it says was verified; what was not looked at is named below."


def engine(report: Report) -> str:
    """Say in a sentence who looked, and what it cost."""
    used = report.engine
    if used.mode == "detectors":
        return f"Detectors alone, in {used.seconds:.1f} s: no model was asked, and nothing was spent."
    cached = f" ({short(used.cached_tokens)} of them cached)" if used.cached_tokens else ""
    return (
        f"{used.model or 'A model'}, {plural(used.turns, 'turn')} and {plural(used.model_calls, 'model call')}: "
        f"{short(used.input_tokens)} input{cached} and {short(used.output_tokens)} output tokens, "
        f"{'at a price that is not known' if used.cost_usd is None else dollars(used.cost_usd)}, "
        f"in {duration(used.seconds * 1e9)}."
    )


def since(finding: Finding) -> str:
    """Say in a few words how a finding stands against the windows before."""
    now, before = percent(finding.prevalence.rate), finding.prevalence.previous_rate
    if finding.muted:
        return f"muted, {now} of traces"
    if finding.state == "new":
        return f"new in this window, {now} of traces"
    if finding.state == "resolved" and finding.resolution is not None:
        release = f" in {finding.resolution.release}" if finding.resolution.release else ""
        return f"resolved{release} on {day(finding.resolution.at)}; the {now} of traces here are of before"
    if finding.state == "resolved":
        return f"not seen any more; it was in {percent(before)} of traces"
    if finding.state == "regressed" and finding.resolution is not None:
        release = f" in {finding.resolution.release}" if finding.resolution.release else ""
        return f"regressed: resolved{release} on {day(finding.resolution.at)}, back now, {now} of traces"
    if finding.state == "regressed":
        return f"back after it had gone, first seen {day(finding.first_seen)}, {now} of traces"
    if not finding.comparable:
        return f"ongoing since {day(finding.first_seen)}, {now} of traces; its detector changed, rates do not compare"
    if before is None:
        return f"{finding.state} since {day(finding.first_seen)}, {now} of traces"
    text = f"{finding.state} since {day(finding.first_seen)}, {percent(before)} → {now} of traces"
    return f"{text}; too little data to tell a change" if finding.prevalence.enough is False else text


def whose(scopes: Iterable[str | None]) -> str:
    """Say whose windows states and rates are of: one schedule's, or of whichever saw each issue last."""
    names = sorted({f"schedule {scope}" if scope is not None else "runs by hand" for scope in scopes})
    if len(names) < 2:
        return f"as of the last window of {names[0]}" if names else ""
    return f"as of the last window of {', '.join(names[:-1])} or {names[-1]}, whichever saw it last"


def left_out(item: LeftOut) -> str:
    """Say what does not count, on whose word and why."""
    by = f" by {item.by}" if item.by else ""
    which = "traces that were named" if item.named else "every hit"
    return (
        f"{item.title} ({item.issue_id}), {plural(item.traces, 'trace')}: {which} called wrong{by} on {day(item.at)}: "
        f"{item.because}"
    )


NO_TRAFFIC = "No agent traffic in this window."


def headline(report: Report) -> str:
    """Return the answer in one line: what changed, how much is affected, what it cost.

    As the whole report gave it, where this is a part of one.
    """
    if report.headline:
        return report.headline
    totals = report.totals
    if not totals.traces:
        return NO_TRAFFIC
    said = told(report.findings)
    states = [row.lead.state for row in said.rows] + ["resolved"] * len(said.resolved)
    parts = [f"{states.count(name)} {name}" for name in _ORDER if name in states]
    if said.muted:
        parts.append(f"{len(said.muted)} muted ({plural(totals.muted_traces, 'trace')})")
    text = f"{', '.join(parts) or 'No failure modes found'}; "
    text += f"{percent(totals.affected_traces / totals.traces)} of {plural(totals.traces, 'trace')} affected"
    if totals.affected_cost_usd:
        text += f"; {dollars(totals.affected_cost_usd)} spent on affected runs"
    return text + "."

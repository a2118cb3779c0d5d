"""Numbers and states as people read them, the same in every form of a report."""

from __future__ import annotations

from collections.abc import Iterable

from halo_worker.display import cut as cut
from halo_worker.display import named, one_line
from halo_worker.display import visible as visible
from halo_worker.report.facts import Impact
from halo_worker.report.fixes import FixCheck
from halo_worker.report.model import Coverage, Finding, LeftOut, Report, SetAside, Stop, iso_nano
from halo_worker.report.statistics import P_CHANGED

MAX_LACKS = 3


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
    """Write an amount of money; four digits where it is under ten cents, six where these would say nothing."""
    if amount is None:
        return "–"
    return f"${amount:,.2f}" if amount >= 0.1 or amount == 0 else f"${amount:.{4 if amount >= 0.00005 else 6}f}"


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


REASON_CHARACTERS = 300  # of why a question was not answered, which may be a provider's words

_STOPPED: dict[Stop, str] = {
    "turns": "it reached its turn limit (max_turns)",
    "tokens": "it reached its token limit (max_tokens)",
    "cost": "it reached its cost limit (max_cost)",
    "seconds": "it reached its time limit (max_seconds)",
    "error": "the model could not be reached any more",
    "interrupted": "it was interrupted",
}


def partial(report: Report) -> str | None:
    """Say that a report is not all there could be, and why; None of a complete one."""
    if report.status == "complete":
        return None
    why = f": the run ended because {_STOPPED[report.stopped_by]}" if report.stopped_by else ""
    return f"This report is {report.status}{why}. Its findings are verified; what was skipped is listed under Coverage."


def unanswered(report: Report) -> str | None:
    """Say that the question was not answered, or that no model could be asked, and why; None where all went well."""
    if report.unanswered is None:
        return None
    what = "the question was not answered" if report.prompt else "no model could be asked"
    return f"{what}: {one_line(report.unanswered, REASON_CHARACTERS)}"


def engine(report: Report) -> str:
    """Say in a sentence who looked, and what it cost."""
    used = report.engine
    if used.mode == "detectors":
        return f"Detectors only, {used.seconds:.1f} s, no model calls."
    cached = f" ({short(used.cached_tokens)} of them cached)" if used.cached_tokens else ""
    return (
        f"{used.model or 'A model'}, {plural(used.turns, 'turn')} and {plural(used.model_calls, 'model call')}: "
        f"{short(used.input_tokens)} input{cached} and {short(used.output_tokens)} output tokens, "
        f"{'at a price that is not known' if used.cost_usd is None else dollars(used.cost_usd)}, "
        f"in {duration(used.seconds * 1e9)}."
    )


def released(finding: Finding) -> str | None:
    """Say in which release a finding was first and last seen; None where no affected call names one."""
    first, last = (
        " ".join(named(part) for part in (one.service, one.version) if part) if one else None
        for one in (finding.first_release, finding.last_release)
    )
    if first is None or last is None or first == last:
        return f"seen in release {first or last}" if first or last else None
    return f"first seen in release {first}, last in {last}"


def fix_check(check: FixCheck) -> str:
    """Say whether a resolved issue is gone."""
    where = f"in release {named(check.release)}" if check.release else "since it was resolved"
    counted = f"{check.after.traces:,} of {plural(check.after.of, 'trace')} {where}"
    before = f"{check.before.traces:,} of {check.before.of:,} before"
    p = "" if check.p_value is None else f", p {'' if check.p_value < 0.0001 else '= '}{chance(check.p_value)}"
    more = f"; {plural(check.needed, 'trace')} more are needed" if check.needed else ""
    return f"{check.verdict}: {counted}, {before}{p}{more}"


def since(finding: Finding) -> str:
    """Say in a few words how a finding stands against the windows before."""
    now, before = percent(finding.prevalence.rate), finding.prevalence.previous_rate
    if finding.muted:
        return f"muted, {now} of traces"
    if finding.state == "new":
        return f"new in this window, {now} of traces"
    if finding.state == "resolved" and finding.resolution is not None:
        release = f" in {finding.resolution.release}" if finding.resolution.release else ""
        return f"resolved{release} on {day(finding.resolution.at)}; the {now} of traces here started before"
    if finding.state == "resolved":
        return f"resolved: no longer seen, {percent(before)} of traces before"
    if finding.state == "regressed" and finding.resolution is not None:
        release = f" in {finding.resolution.release}" if finding.resolution.release else ""
        return f"regressed: resolved{release} on {day(finding.resolution.at)}, back now, {now} of traces"
    if finding.state == "regressed":
        absent = f"absent for {plural(finding.absent_windows, 'window')}, " if finding.absent_windows else ""
        return f"regressed: {absent}back now, first seen {day(finding.first_seen)}, {now} of traces"
    if not finding.comparable:
        return f"ongoing since {day(finding.first_seen)}, {now} of traces; its detector changed: rates not comparable"
    if before is None:
        return f"{finding.state} since {day(finding.first_seen)}, {now} of traces"
    text = f"{finding.state} since {day(finding.first_seen)}, {percent(before)} → {now} of traces"
    return f"{text}; too few traces to detect a change" if finding.prevalence.enough is False else text


def whose(scopes: Iterable[str | None]) -> str:
    """Say whose windows states and rates are of: one schedule's, or of whichever saw each issue last."""
    names = sorted({f"schedule {scope}" if scope is not None else "runs by hand" for scope in scopes})
    if len(names) < 2:
        return f"as of the last window of {names[0]}" if names else ""
    return f"as of the last window of {', '.join(names[:-1])} or {names[-1]}, whichever saw it last"


def left_out(item: LeftOut) -> str:
    """Say what does not count, on whose word and why."""
    by = f" by {item.by}" if item.by else ""
    which = "these traces were" if item.named else "the issue was"
    return (
        f"{item.title} ({item.issue_id}), {plural(item.traces, 'trace')}: {which} marked wrong{by} on {day(item.at)}: "
        f"{item.because}"
    )


def set_aside(item: SetAside) -> str:
    """Say what a model looked at and does not take for a failure."""
    which = f"{item.traces} of {plural(item.of, 'trace')}" if item.verdict == "partly" else plural(item.of, "trace")
    return f"{item.title} ({item.issue_id}), {which}: {item.why}"


def change(finding: Finding) -> str:
    """Say whether the rate differs from the windows before; empty where there is none to compare with."""
    p = finding.prevalence.p_value
    if p is None:
        return ""
    shown = f"p {'' if p < 0.0001 else '= '}{chance(p)}"
    return f"significant change ({shown})" if p < P_CHANGED else f"no significant change ({shown})"


def impact(taken: Impact) -> str:
    """Write what the affected traces took together, and what of it was for nothing."""
    parts = [plural(taken.tokens, "token"), dollars(taken.cost_usd) if taken.cost_usd is not None else ""]
    parts.append(duration(taken.seconds * 1e9))
    parts += [plural(number, name) for number, name in ((taken.users, "user"), (taken.sessions, "session")) if number]
    wasted = [
        plural(taken.wasted_tokens, "token") if taken.wasted_tokens else "",
        dollars(taken.wasted_cost_usd) if taken.wasted_cost_usd else "",
        f"{duration(taken.waited_seconds * 1e9)} of waiting" if taken.waited_seconds >= 1 else "",
        f"{plural(taken.not_served, 'run')} not served" if taken.not_served else "",
        f"{plural(taken.frustrated, 'run')} with a frustrated user" if taken.frustrated else "",
    ]
    lost = ", ".join(filter(None, wasted))
    return ", ".join(filter(None, parts)) + (f"; for nothing: {lost}" if lost else "")


def nothing(report: Report) -> str:
    """Say what was looked at, where nothing was found."""
    return f"{plural(report.coverage.traces_examined, 'trace')} examined, no failure mode found."


def checks(coverage: Coverage) -> str:
    """Say how many of the detectors could see, and what the others lack."""
    off = coverage.detectors_off
    if not off:
        return f"all {coverage.detectors} checks are on"
    lacks = sorted({lack for one in off for lack in one.lacks}, key=lambda lack: -sum(lack in one.lacks for one in off))
    more = f" and {len(lacks) - MAX_LACKS} more" if len(lacks) > MAX_LACKS else ""
    missing = f"{', '.join(lacks[:MAX_LACKS])}{more}"
    there = "are" if len(lacks) > 1 or missing.endswith("s") else "is"
    return f"{len(off)} of {coverage.detectors} checks are off: {missing} {there} not captured"


def cause_label(finding: Finding) -> str:
    """Name what `root_cause` holds: the cause; in older reports of a detector, what it looks for."""
    return "Cause" if finding.source == "rlm" or how_found(finding) else "How it was found"


def how_found(finding: Finding) -> str:
    """Say what the detector of a finding looks for; empty where the report does not say."""
    return finding.detector.definition if finding.detector else ""

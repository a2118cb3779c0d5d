"""A verification as text for a terminal, and as Markdown for a pull request."""

from __future__ import annotations

from halo_worker.display import named, one_line
from halo_worker.report.formats import chance, percent, plural
from halo_worker.report.verification import NewIssue, Rate, ReleaseReport, Verification

TITLE_CHARACTERS = 200
ALL_TITLE = 44  # characters of a title in the table of a release report


def points(value: float) -> str:
    """Write a difference of rates in percentage points."""
    return f"{value * 100:+.1f}".replace("-", "−") if value else "0.0"


def verdict_text(one: Verification) -> str:
    """Write a verification for a terminal of 80 columns."""
    lines = [f"{one.issue_id}  {one.verdict}", one_line(one.title, TITLE_CHARACTERS), ""]
    lines.append(f"{'':<12}{'traces':<18}{'rate':<9}95 % interval")
    lines += [_row("before", one.before), _row("after", one.after)]
    if one.p_value is not None:
        interval = f"{points(one.difference.low)} to {points(one.difference.high)}"
        lines.append(f"{'difference':<30}{points(one.difference.value):<9}{interval} points")
    lines += ["", f"before: {one_line(one.before.what)}", f"after:  {one_line(one.after.what)}", *sentences(one)]
    return "\n".join(lines)


def _row(name: str, rate: Rate) -> str:
    counted = f"{rate.traces:,} of {rate.of:,}"
    if not rate.of:
        return f"{name:<12}{counted}"
    return f"{name:<12}{counted:<18}{percent(rate.rate):<9}{percent(rate.low)} to {percent(rate.high)}"


def sentences(one: Verification) -> list[str]:
    """Say what the numbers are worth, one fact a line."""
    said = [f"rule:   {named(one.rule)}, the same on both sides; basis: {one.basis}"]
    if one.p_value is not None:
        adjusted = f", {chance(one.q_value)} adjusted for the number of issues" if one.q_value is not None else ""
        said.append(f"test:   Fisher's exact, p = {chance(one.p_value)}{adjusted}".replace("= <", "<"))
        said.append(f"power:  {_power(one)}")
    if one.standardised is not None:
        rates = one.standardised
        p = "" if rates.p_value is None else f", p = {chance(rates.p_value)}".replace("= <", "<")
        said.append(
            f"mix:    {', '.join(rates.by)} shifted; like for like {percent(rates.before)} before, "
            f"{percent(rates.after)} after{p} ({percent(rates.covered)} of before)"
        )
    if one.verdict == "too few":
        said.append(f"needed: {_needed(one)}")
    return said


def _power(one: Verification) -> str:
    if one.smallest_detectable is None:
        return "not even a drop to none would have counted with so few traces"
    return f"a drop of {one.smallest_detectable * 100:.1f} points or more would have counted"


def _needed(one: Verification) -> str:
    if one.needed is not None:
        return f"{plural(one.needed, 'trace')} more after the change, if the rate stays as it is there"
    if not one.before.traces:
        return "a side before that has it"
    if one.after.rate >= one.before.rate and one.after.of:
        return "no number of traces shows a drop while the rate after is no lower"
    return "traces after that are like those before"


def release_text(report: ReleaseReport) -> str:
    """Write a release report for a terminal of 80 columns."""
    lines = [f"before: {one_line(report.before)}", f"after:  {one_line(report.after)}", ""]
    if report.issues:
        lines.append(f"{'issue':<15}{'verdict':<11}{'before':<9}{'after':<9}failure mode")
    lines += [
        f"{one.issue_id:<15}{one.verdict:<11}{percent(one.before.rate):<9}{percent(one.after.rate):<9}"
        f"{one_line(one.title, ALL_TITLE - 8)}"
        for one in report.issues
    ]
    if not report.issues:
        lines.append("no known issue is on either side")
    lines += ["", f"new since: {plural(len(report.new), 'failure mode')}"]
    lines += [f"  {_new(one)}" for one in report.new]
    return "\n".join(lines)


def _new(one: NewIssue) -> str:
    return f"{one.issue_id}  {one.traces:,} of {one.of:,}  {one_line(one.title, ALL_TITLE)}"


def verdict_markdown(one: Verification) -> str:
    """Write a verification as Markdown."""
    rows = [
        f"| {name} | {rate.traces:,} of {rate.of:,} | {percent(rate.rate)} "
        f"| {percent(rate.low)} to {percent(rate.high)} |"
        for name, rate in (("before", one.before), ("after", one.after))
    ]
    return "\n".join(
        (
            f"### {one.issue_id}: {one.verdict}", "", escaped(one.title), "",
            "| side | traces | rate | 95 % interval |",
            "|---|---|---|---|", *rows, "",
            f"Difference {points(one.difference.value)} points "
            f"({points(one.difference.low)} to {points(one.difference.high)}).",
            "", f"- before: {escaped(one.before.what)}", f"- after: {escaped(one.after.what)}",
            *(f"- {escaped(line)}" for line in sentences(one)),
            *(f"- warning: {escaped(line)}" for line in one.warnings),
        )
    )  # fmt: skip


def release_markdown(report: ReleaseReport) -> str:
    """Write a release report as Markdown."""
    rows = [
        f"| {one.issue_id} | {one.verdict} | {one.before.traces:,} of {one.before.of:,} ({percent(one.before.rate)}) "
        f"| {one.after.traces:,} of {one.after.of:,} ({percent(one.after.rate)}) | {escaped(one.title)} |"
        for one in report.issues
    ]
    new = [f"- {one.issue_id}: {one.traces:,} of {one.of:,}: {escaped(one.title)}" for one in report.new]
    return "\n".join(
        (
            f"### Release report: {escaped(report.release or report.after)}", "",
            f"Before: {escaped(report.before)}. After: {escaped(report.after)}.", "",
            "| issue | verdict | before | after | failure mode |", "|---|---|---|---|---|", *rows, "",
            f"New since: {plural(len(report.new), 'failure mode')}.", *new,
            *(f"- warning: {escaped(line)}" for line in report.warnings),
        )
    )  # fmt: skip


def escaped(text: str) -> str:
    """Write text of a stranger so that Markdown shows it as it is."""
    line = one_line(text, TITLE_CHARACTERS * 2)
    return "".join(f"\\{mark}" if mark in "\\`*_{}[]<>#|!&" else mark for mark in line)

"""`halo issues`: failure modes followed over windows, and what people decide about them."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import click

from halo_worker import issues
from halo_worker.cli.common import everywhere, nearest, print_rows, settings
from halo_worker.cli.console import talk
from halo_worker.display import one_line
from halo_worker.errors import InputError
from halo_worker.report import formats, issue_rows
from halo_worker.report.decisions import Action, Decision
from halo_worker.report.headline import titled
from halo_worker.report.issue import Issue
from halo_worker.report.memory import IssueMemory
from halo_worker.report.verification import Verification

DECIDED: dict[Action, str] = {
    "mute": "muted", "unmute": "unmuted", "resolve": "resolved", "reopen": "reopened", "note": "noted",
    "wrong": "marked wrong",
}  # fmt: skip
ACTIONS = ("list", "show", *DECIDED)
SHOWN_WINDOWS = 20
SHOWN_VERIFICATIONS = 5
ISSUE_ID = re.compile(r"(HALO-)?[0-9a-f]{2,}", re.IGNORECASE)  # or its beginning
LINE_CHARACTERS = 4000  # of one text of an issue


@click.command("issues")
@click.argument("action", default="list", metavar=f"[{'|'.join(ACTIONS)}]")
@click.argument("issue_id", required=False, metavar="[ID]")
@click.option("--note", default="", help="Why; kept with the decision.")
@click.option(
    "--because", default="", metavar="TEXT", help="wrong: why it is no failure; readers and the model are told."
)
@click.option("--trace", "traces", multiple=True, metavar="ID", help="wrong: only this trace; repeatable.")
@click.option("--release", metavar="VERSION", help="resolve: the service.version that has the fix.")
@click.option("--schedule", metavar="NAME", help="As this schedule sees them.  [default: the one that saw each last]")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@everywhere
def issues_command(
    action: str, issue_id: str | None, note: str, because: str, traces: tuple[str, ...], release: str | None,
    schedule: str | None, form: str, data_dir: Path | None, config: Path | None,
) -> None:  # fmt: skip
    """Failure modes over time: list them, show one ('halo issues ID'), or decide about it.

    \b
    mute      no report and no sink tells of it; it is still measured    (unmute ends it)
    resolve   it is fixed, in --release where one is named; 'regressed' when it comes back
    wrong     it is no failure, --because …: no hit counts any more, or not those of --trace
    note      keeps a --note
    reopen    takes all of these back
    """
    current = settings(data_dir, config)
    memory = issues.memory(current, scope=schedule) if schedule else issues.memory(current)
    if schedule and schedule not in {*current.schedules, *memory.scopes}:
        known = ", ".join(sorted({*current.schedules, *memory.scopes}))
        raise InputError(f"there is no schedule '{schedule}'", hint=f"there are: {known}")
    action, issue_id = _meant(action, issue_id)
    if action == "list":
        _list(memory, schedule, form)
        return
    if issue_id is None:
        raise InputError(f"which issue to {action}?", hint="'halo issues' lists them")
    issue = memory.find(issue_id)
    if action == "show":
        verified = issues.archive(current).verifications.of(issue.issue_id)
        if form == "json":
            kept = [item.model_dump(mode="json") for item in verified]
            print_rows([issue_rows.row(issue) | issue_rows.details(issue) | {"verifications": kept}], "json")
        else:
            _show(issue, verified)
        return
    decided = cast(Action, action)
    decision = issues.archive(current).decisions.append(
        issue.issue_id, decided, now_ns=time.time_ns(), note=because or note, release=release,
        traces=[_known_trace(trace) for trace in traces],
    )  # fmt: skip
    said = (
        f" in {decision.release}"
        if decision.release
        else f" in {formats.plural(len(traces), 'trace')}"
        if traces
        else ""
    )
    talk(f"{issue.issue_id} {DECIDED[decided]}{said}: {titled(issue.finding)}")
    if decided == "resolve":
        talk(f"the next windows check it; 'halo verify {issue.issue_id}' does now")


def _meant(action: str, issue_id: str | None) -> tuple[str, str | None]:
    """Return the action and the issue of the words that were given: an id alone shows the issue."""
    if action in ACTIONS:
        return action, issue_id
    if issue_id is None and ISSUE_ID.fullmatch(action):
        return "show", action
    raise InputError(f"'{action}' is neither an action nor an issue", hint=nearest(action, ACTIONS))


def _known_trace(trace_id: str) -> str:
    text = trace_id.strip()
    if not text:
        raise InputError("--trace is empty", hint="'halo issues show ID' and affected.jsonl name traces")
    return text


def _list(memory: IssueMemory, schedule: str | None, form: str) -> None:
    issues, by_hand = issue_rows.listed(memory, followed=schedule is not None)
    print_rows([issue_rows.row(issue) if form == "json" else _line(issue) for issue in issues], form)
    if form == "table":
        _say_whose(issues, by_hand=by_hand)


def _say_whose(issues: Sequence[Issue], *, by_hand: bool) -> None:
    """Say whose windows the table is of."""
    if not issues:
        talk("no issues yet: they come with the first report")
    elif by_hand:
        talk("as runs by hand found them; schedules follow issues over time, and so does 'halo run --remember'")
    else:
        talk(f"states and rates {formats.whose([issue.scope for issue in issues])}")


def _scope(issue: Issue) -> str:
    return f"schedule '{issue.scope}'" if issue.scope is not None else "runs by hand"


def _line(issue: Issue) -> dict[str, object]:
    """The same for a table, what decides first: a narrow terminal cuts the end."""
    rate = issue_rows.rate(issue)
    return {
        "issue": issue.issue_id,
        "state": issue.state,
        "severity": issue.finding.severity,
        "rate": "" if rate is None else formats.percent(rate),
        "first seen": formats.day(issue.first_seen),
        "last seen": formats.day(issue.last_seen),
        "failure mode": titled(issue.finding),
    }


def _show(issue: Issue, verified: Sequence[Verification]) -> None:
    finding = issue.finding
    lines = [
        f"{issue.issue_id}  {issue.state}  {finding.severity}  {finding.category}",
        titled(finding),
        "",
        finding.description,
        f"first seen {formats.minute(issue.first_seen)}, last seen {formats.minute(issue.last_seen)}",
        *filter(None, [formats.released(finding)]),
    ]
    if issue.history:
        lines += ["", f"windows of {_scope(issue)}", "window end (UTC)   traces         rate    state"]
    for point in issue.history[-SHOWN_WINDOWS:]:
        mark = "marked wrong, not counted" if point.struck else "muted" if point.muted else point.state
        counted = f"{point.traces} of {point.of}"
        lines.append(f"{formats.minute(point.end_ns)}   {counted:<14} {formats.percent(point.rate):<7} {mark}".rstrip())
    lines += ["", f"fix:      {finding.fix.summary}", f"validate: {finding.fix.validation}"]
    lines += [_said(item) for item in issue.decisions]
    lines += [_verified(item) for item in verified[-SHOWN_VERIFICATIONS:]]
    click.echo("\n".join(one_line(line, LINE_CHARACTERS) for line in lines))


def _verified(one: Verification) -> str:
    """Write a verification: the verdict, when, and both sides."""
    sides = (f"{rate.traces} of {rate.of} {name}" for name, rate in (("before", one.before), ("after", one.after)))
    return f"verified {formats.minute(one.at)}: {one.verdict}, {', '.join(sides)} ({one.after.what})"


def _said(decision: Decision) -> str:
    """Write a decision: what, when, by whom, why."""
    which = f" in {decision.release}" if decision.release else ""
    if decision.traces:
        which = f" in {formats.plural(len(decision.traces), 'trace')}"
    by = f" by {decision.by}" if decision.by else ""
    note = f": {decision.note}" if decision.note else ""
    return f"{decision.action}{which} {formats.minute(decision.at_ns)}{by}{note}"

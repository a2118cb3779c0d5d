"""`halo reports`, `halo issues` and `halo deliver`: what was found, the memory of it, sending it again."""

from __future__ import annotations

import time
from pathlib import Path

import click

from halo_worker import run
from halo_worker.cli.common import everywhere, print_rows, settings, show_report, talk
from halo_worker.display import one_line, visible
from halo_worker.errors import InputError
from halo_worker.report import words
from halo_worker.report.archive import Archive
from halo_worker.report.memory import Issue, state_of
from halo_worker.report.model import iso_nano

MAX_LINE = 4000  # of one text of an issue


@click.command("reports")
@click.argument("report_id", required=False, metavar="[ID]")
@click.option("--brief", metavar="ISSUE", help="Print only the brief for a coding agent, of this issue.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "table", "json", "markdown", "html"]),
    help="[default: text, or a table of all]",
)
@click.option("--limit", type=click.IntRange(min=1), default=30, show_default=True)
@everywhere
def reports_command(
    report_id: str | None, brief: str | None, form: str | None, limit: int, data_dir: Path | None, config: Path | None
) -> None:
    """List the reports, or show one ('latest', or a unique beginning of its ID)."""
    current = settings(data_dir, config)
    archive = Archive(run.reports_dir(current))
    if report_id is None and brief is None:
        reports, broken = archive.reports()
        for item in broken:
            talk(f"warning: {item.reason}")
        if form == "json":
            rows = [
                {
                    "id": report.id, "schedule": report.schedule, "status": report.status,
                    "window_start": iso_nano(report.window.start), "window_end": iso_nano(report.window.end),
                    "created_at": iso_nano(report.created_at), "findings": len(report.findings),
                    "summary": report.summary,
                }
                for report in reports[:limit]
            ]  # fmt: skip
            print_rows(rows, "json")
            return
        print_rows(
            [
                {
                    "id": report.id,
                    "window (UTC)": f"{words.minute(report.window.start)} – {words.minute(report.window.end)}",
                    "schedule": report.schedule,
                    "answer": words.headline(report),
                }
                for report in reports[:limit]
            ],
            "table",
        )
        if not reports:
            talk("no reports yet: 'halo run' makes one now, 'halo up' on a schedule")
        return
    if report_id in (None, "latest"):
        reports, broken = archive.reports()
        if not reports:
            hint = broken[0].reason if broken else "'halo run' makes one"
            raise InputError("there are no reports yet" if not broken else "no report can be read", hint=hint)
        report_id = reports[0].id
    report = archive.load(report_id or "")
    if brief is not None:
        wanted = brief.upper().removeprefix("HALO-").lower()
        found = [item for item in report.findings if item.issue_id.removeprefix("HALO-").startswith(wanted)]
        if len(found) != 1:
            known = ", ".join(item.issue_id for item in report.findings) or "none"
            raise InputError(f"report {report.id} has no finding {brief}", hint=f"it has: {known}")
        click.echo(visible(found[0].fix.brief))
        return
    show_report(archive.directory / report.id, form or "text")


@click.command("issues")
@click.argument("action", type=click.Choice(["list", "show", "mute", "resolve", "reopen"]), default="list")
@click.argument("issue_id", required=False, metavar="[ID]")
@click.option("--note", default="", help="Why; kept with the decision.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@everywhere
def issues_command(
    action: str, issue_id: str | None, note: str, form: str, data_dir: Path | None, config: Path | None
) -> None:
    """Failure modes over time: list them, show one, mute, resolve or reopen it.

    \b
    mute      no report and no sink tells of it any more; it is still counted
    resolve   it is fixed; a report says 'regressed' when it comes back
    reopen    takes either back
    """
    current = settings(data_dir, config)
    memory = run.memory(current)
    if action == "list":
        issues = sorted(memory.issues.values(), key=lambda one: (-one.last_seen, one.issue_id))
        print_rows([_row(issue) if form == "json" else _line(issue) for issue in issues], form)
        if not issues and form == "table":
            talk("no issues yet: they come with the first report")
        return
    if issue_id is None:
        raise InputError(f"which issue to {action}?", hint="'halo issues' lists them")
    issue = memory.find(issue_id)
    if action == "show":
        if form == "json":
            print_rows([_row(issue) | _details(issue)], "json")
        else:
            _show(issue)
        return
    memory.decide(issue.issue_id, action, note=note, now_ns=time.time_ns())  # type: ignore[arg-type]
    done = {"mute": "muted", "resolve": "resolved", "reopen": "reopened"}[action]
    talk(f"{issue.issue_id} {done}: {issue.finding.title}")


def _row(issue: Issue) -> dict[str, object]:
    return {
        "issue_id": issue.issue_id,
        "state": state_of(issue),
        "severity": issue.finding.severity,
        "title": issue.finding.title,
        "first_seen": iso_nano(issue.first_seen),
        "last_seen": iso_nano(issue.last_seen),
        "rate": round(issue.history[-1].rate, 6) if issue.history else None,
        "windows": len(issue.history),
    }


def _line(issue: Issue) -> dict[str, object]:
    """The same for a table, what decides first: a narrow terminal cuts the end."""
    return {
        "issue": issue.issue_id,
        "state": state_of(issue),
        "severity": issue.finding.severity,
        "rate": words.percent(issue.history[-1].rate) if issue.history else "",
        "first seen": words.day(issue.first_seen),
        "last seen": words.day(issue.last_seen),
        "failure mode": issue.finding.title,
    }


def _details(issue: Issue) -> dict[str, object]:
    return {
        "category": issue.finding.category,
        "history": [
            {"run_id": point.run_id, "end": iso_nano(point.end_ns), "traces": point.traces, "of": point.of}
            for point in issue.history
        ],
        "decisions": [
            {"action": item.action, "note": item.note, "at": iso_nano(item.at_ns)} for item in issue.decisions
        ],
    }


def _show(issue: Issue) -> None:
    finding = issue.finding
    lines = [
        f"{issue.issue_id}  {state_of(issue)}  {finding.severity}  {finding.category}",
        finding.title,
        "",
        finding.description,
        f"first seen {words.minute(issue.first_seen)}, last seen {words.minute(issue.last_seen)}",
        "",
        "window end (UTC)   traces         rate",
    ]
    lines += [
        f"{words.minute(point.end_ns)}   {f'{point.traces} of {point.of}':<14} {words.percent(point.rate)}"
        for point in issue.history[-20:]
    ]
    lines += ["", f"fix:      {finding.fix.summary}", f"validate: {finding.fix.validation}"]
    lines += [f"{item.action} {words.minute(item.at_ns)} {item.note}" for item in issue.decisions]
    click.echo("\n".join(one_line(line, MAX_LINE) for line in lines))


@click.command("deliver")
@click.argument("report_id", required=False, metavar="[ID]")
@click.option("--sink", "sinks", multiple=True, help="Only to this sink; repeatable.")
@everywhere
def deliver_command(report_id: str | None, sinks: tuple[str, ...], data_dir: Path | None, config: Path | None) -> int:
    """Send a report (default: the latest) to the sinks that have not taken it.

    Also to those that had failed for good: mend the sink first. What a sink has taken is not sent twice.
    """
    current = settings(data_dir, config)
    if not current.sinks:
        raise InputError("no sinks are configured", hint="add [sinks.NAME] to halo.toml; deploy/halo.toml shows how")
    archive = Archive(run.reports_dir(current))
    reports = archive.reports()[0]
    if not reports:
        raise InputError("there are no reports yet", hint="'halo run' makes one")
    wanted = archive.load(report_id).id if report_id else reports[0].id
    deliveries = run.deliver(current, wanted, list(sinks) or None)
    for item in deliveries:
        talk(f"{item.report_id} {item.sink}: {item.state}{f', {item.reason}' if item.reason else ''}")
    if not deliveries:
        talk("its schedule names no sinks: choose one with --sink")
    return 1 if any(item.state in ("failed", "waiting") for item in deliveries) else 0

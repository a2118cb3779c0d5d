"""`halo reports` and `halo deliver`: what was found, and sending it again."""

from __future__ import annotations

from pathlib import Path

import click

from halo_worker import run
from halo_worker.cli.common import everywhere, print_rows, settings, show_report, talk
from halo_worker.display import visible
from halo_worker.errors import InputError
from halo_worker.report import formats, headline
from halo_worker.report.archive import Archive
from halo_worker.report.model import iso_nano


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
                    "window (UTC)": f"{formats.minute(report.window.start)} – {formats.minute(report.window.end)}",
                    "schedule": report.schedule,
                    "answer": headline.headline(report),
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

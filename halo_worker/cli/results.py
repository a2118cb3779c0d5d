"""`halo reports`, `halo open` and `halo deliver`: what was found, looking at it, and sending it again."""

from __future__ import annotations

import contextlib
import os
import sys
import webbrowser
from collections.abc import Mapping
from pathlib import Path

import click

from halo_receiver.store.queries import NEWEST
from halo_worker import issues
from halo_worker.alerts.journal import alerts_dir
from halo_worker.cli.common import everywhere, print_rows, settings, show_report
from halo_worker.cli.console import talk
from halo_worker.config import Settings
from halo_worker.display import visible
from halo_worker.errors import InputError, ReportError
from halo_worker.report import formats, headline
from halo_worker.report.archive import Archive
from halo_worker.report.model import Report, iso_nano


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
    """List the reports, or show one ('last', or a unique beginning of its ID)."""
    current = settings(data_dir, config)
    archive = issues.archive(current)
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
    report = _find(archive, report_id)
    if brief is not None:
        wanted = brief.upper().removeprefix("HALO-").lower()
        found = [item for item in report.findings if item.issue_id.removeprefix("HALO-").startswith(wanted)]
        if len(found) != 1:
            known = ", ".join(item.issue_id for item in report.findings) or "none"
            raise InputError(f"report {report.id} has no finding {brief}", hint=f"it has: {known}")
        click.echo(visible(found[0].fix.brief))
        return
    show_report(archive.directory / report.id, form)


def _find(archive: Archive, report_id: str | None) -> Report:
    """Return the report of an id, or of its beginning; the newest for 'last' and for none."""
    if report_id is not None and report_id.lower() not in NEWEST:
        return archive.load(report_id)
    reports, broken = archive.reports()
    if not reports:
        hint = broken[0].reason if broken else "'halo run' makes one"
        raise InputError("there are no reports yet" if not broken else "no report can be read", hint=hint)
    return reports[0]


@click.command("open")
@click.argument("wanted", required=False, metavar="[ID]")
@click.option("--print", "only_print", is_flag=True, help="Print the path and open nothing.")
@everywhere
def open_command(wanted: str | None, only_print: bool, data_dir: Path | None, config: Path | None) -> None:
    """Open a report in the browser: the last one, the one of ID, or the newest that tells of the issue ID.

    'index' opens the page over all reports. The path is printed, too: on a machine without a browser, copy the file.
    """
    current = settings(data_dir, config)
    archive = issues.archive(current)
    page, anchor = _page(archive, wanted)
    if not page.is_file():
        raise InputError(f"{page} is not there", hint="'halo run' makes a report and its page")
    click.echo(visible(str(page.absolute())))
    if only_print:
        return
    if not can_browse(os.environ):
        talk("no browser here: copy the file to a machine that has one; it needs no network")
        return
    webbrowser.open(page.absolute().as_uri() + anchor)


def can_browse(environment: Mapping[str, str]) -> bool:
    """Whether a graphical browser can be expected: a terminal browser would take over the terminal."""
    return sys.platform == "darwin" or any(environment.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))


def _page(archive: Archive, wanted: str | None) -> tuple[Path, str]:
    """Return the page that was asked for, and where in it to begin."""
    if wanted == "index":
        return archive.directory / "index.html", ""
    if wanted is not None and wanted.upper().startswith("HALO-"):
        for report in archive.reports()[0]:
            for finding in report.findings:
                if finding.issue_id.upper().startswith(wanted.upper()):
                    return archive.directory / report.id / "report.html", f"#{finding.issue_id}"
        raise InputError(f"no report tells of {wanted}", hint="'halo issues' lists them")
    return archive.directory / _find(archive, wanted).id / "report.html", ""


def _alert_message(current: Settings, message_id: str | None) -> Report | None:
    """Return the message of an alert that an id names, if it does."""
    if message_id is None:
        return None
    with contextlib.suppress(ReportError):
        return Archive(alerts_dir(current)).load(message_id)
    return None


@click.command("deliver")
@click.argument("report_id", required=False, metavar="[ID]")
@click.option("--sink", "sinks", multiple=True, help="Only to this sink; repeatable.")
@everywhere
def deliver_command(report_id: str | None, sinks: tuple[str, ...], data_dir: Path | None, config: Path | None) -> int:
    """Send a report (default: the latest), or the message of an alert, to the sinks that have not taken it.

    Also to those that had failed for good: mend the sink first. What a sink has taken is not sent twice.
    """
    from halo_worker import run  # with every engine
    from halo_worker.alerts import watch

    current = settings(data_dir, config)
    if not current.sinks:
        raise InputError("no sinks are configured", hint="add [sinks.NAME] to halo.toml; deploy/halo.toml shows how")
    archive = issues.archive(current)
    message = _alert_message(current, report_id)
    if message is not None and message.alert is not None:
        alert = current.alerts.get(message.alert.name)
        to = list(sinks) or (alert.sinks if alert else [])
        deliveries = watch.courier(current).deliver(message.id, to, again=True)
    else:
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

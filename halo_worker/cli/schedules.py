"""`halo schedules`: when analyses run, last and next, and one of them now."""

from __future__ import annotations

import time
from pathlib import Path

import click

from halo_receiver.store.lock import holder
from halo_worker import issues, schedule
from halo_worker.cli.common import everywhere, nearest, print_rows, settings
from halo_worker.cli.console import talk
from halo_worker.cli.progress import shown
from halo_worker.cli.scheduled import scheduler_of
from halo_worker.cli.serve import check
from halo_worker.errors import InputError
from halo_worker.report.model import iso_nano
from halo_worker.shared_reports import schedules_of


@click.command("schedules")
@click.argument("action", type=click.Choice(["list", "run"]), default="list")
@click.argument("name", required=False)
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@everywhere
def schedules_command(action: str, name: str | None, form: str, data_dir: Path | None, config: Path | None) -> int:
    """List the schedules with their last window and next run, or run one NAME now."""
    current = settings(data_dir, config)
    if action == "run":
        if name not in current.schedules:
            raise InputError(
                f"there is no schedule '{name}'" if name else "which schedule?",
                hint=nearest(name or "", current.schedules),
            )
        check(current)
        with shown() as progress:
            ran = scheduler_of(current, progress=progress).run_now(name)
        return 1 if ran.failed or ran.skipped else 0
    reports = issues.last_reports(current)
    data_dir = current.store.data_dir
    worker = holder(schedule.worker_lock(data_dir))
    held = schedules_of(current.lake)
    planned = schedule.plan(current.schedules, issues.watermarks(current), time.time_ns())
    rows = [
        {
            "name": item.name,
            "when": item.when,
            "last_run": iso_nano(reports[item.name].created_at) if item.name in reports else None,
            "last_report": reports[item.name].id if item.name in reports else None,
            "last_window_end": iso_nano(item.last_window_end) if item.last_window_end else None,
            "next_run": iso_nano(item.next_run) if item.next_run else None,
            "overdue_since": iso_nano(item.overdue_since) if item.overdue_since else None,
            "running": holder(schedule.run_lock(data_dir, item.name).path) is not None,
            "worker": held.get(item.name) if current.lake.on else worker,
            "sinks": current.schedules[item.name].sinks,
        }
        for item in planned
    ]
    if form == "table":
        rows = [
            {
                "name": row["name"],
                "when": row["when"],
                "last run": _minute(row["last_run"]) or "never",
                "next run": _minute(row["next_run"]) or "never",
                "overdue since": "running now" if row["running"] else _minute(row["overdue_since"]),
                "sinks": ", ".join(current.schedules[str(row["name"])].sinks) or "none",
            }
            for row in rows
        ]
    print_rows(rows, form)
    for name, who in sorted(held.items()):
        talk(f"'{name}' is run by {who}")
    if worker is None and not held:
        talk("no worker is running on this directory: 'halo up' or 'halo work' runs what is due")
    return 0


def _minute(moment: object) -> str:
    return f"{str(moment)[:16].replace('T', ' ')} UTC" if moment else ""

"""`halo doctor`: what is set up, what is reachable, and what the captured spans can and cannot support."""

from __future__ import annotations

from pathlib import Path

import click

from halo_worker import doctor
from halo_worker.cli.common import everywhere, print_rows, settings
from halo_worker.display import one_line


@click.command("doctor")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@everywhere
def doctor_command(form: str, data_dir: Path | None, config: Path | None) -> int:
    """Say what is set up, what is reachable, and what the captured spans can and cannot support."""
    rows = [
        {"check": what, "state": state, "says": says}
        for what, state, says in doctor.examine(settings(data_dir, config))
    ]
    if form == "json":
        print_rows(rows, "json")
    else:
        width = max(len(row["check"]) for row in rows)
        for row in rows:
            mark = {"ok": "✓", "note": "·", "problem": "✗"}[row["state"]]
            click.echo(one_line(f"{mark} {row['check']:<{width}}  {row['says']}"))
    return 1 if any(row["state"] == "problem" for row in rows) else 0

"""`halo status`: what runs, what arrived last, what comes next, on one screen. Opens no segment and seals nothing."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from halo_worker import status
from halo_worker.cli.common import everywhere, settings
from halo_worker.display import json_for_terminal, one_line


@click.command("status")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@everywhere
def status_command(form: str, data_dir: Path | None, config: Path | None) -> None:
    """Say what runs, what arrived last, the last report and the next. 'halo doctor' looks deeper."""
    rows = list(status.rows(settings(data_dir, config), time.time_ns()))
    if form == "json":
        click.echo(json_for_terminal(json.dumps(dict(rows), ensure_ascii=False, indent=2)))
        return
    width = max(len(name) for name, _ in rows)
    for name, says in rows:
        click.echo(one_line(f"{name:<{width}}  {says}"))

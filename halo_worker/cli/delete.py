"""`halo delete`: remove a person's data."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from halo_receiver.store.deletion import Selection
from halo_worker.cli.common import everywhere, settings
from halo_worker.cli.console import talk
from halo_worker.deletion import conductor
from halo_worker.errors import InputError
from halo_worker.moments import moment
from halo_worker.report.formats import plural


@click.command("delete")
@click.option("--user", metavar="ID", help="Every trace in which a span or record names this user.")
@click.option("--session", metavar="ID", help="Every trace of this session.")
@click.option("--trace", metavar="ID", help="This trace.")
@click.option("--before", metavar="T", help="Traces whose last span arrived before this time. ISO-8601; naive: UTC.")
@click.option("--yes", is_flag=True, help="Delete. Without it, only say what would be.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@everywhere
def delete_command(
    user: str | None, session: str | None, trace: str | None, before: str | None, yes: bool, form: str,
    data_dir: Path | None, config: Path | None,
) -> None:  # fmt: skip
    """Remove traces for good, and what reports quote of them. Says what it would do; --yes does it.

    Segments are written anew, quotes become [deleted], what models were shown is removed, and late retries of clients
    are dropped. Nothing may run on the directory meanwhile. What sinks were sent is theirs.
    """
    if sum(one is not None for one in (user, session, trace, before)) != 1 or "" in (user, session, trace):
        raise InputError("what is to be deleted?", hint="one of --user ID, --session ID, --trace ID, --before T")
    current = settings(data_dir, config)
    if not current.store.data_dir.is_dir():
        raise InputError(f"there is no data directory {current.store.data_dir}", hint="--data-dir names another")
    try:
        selection = Selection(user, session, trace, moment(before) if before else None)
    except ValueError as error:
        raise InputError(f"--before: {error}") from None
    if yes:
        found = conductor.delete(current, selection, now_ns=time.time_ns(), say=talk)
    else:
        found = conductor.look(current, selection)
    chosen = found.chosen
    if form == "json":
        row = {
            "deleted": yes, "traces": len(chosen.traces), "spans": chosen.spans, "logs": chosen.logs + chosen.own_logs,
            "reports": list(found.reports), "unreadable_files": found.kept,
            **({"lake_spans": found.lake.spans} if found.lake else {}),
        }  # fmt: skip
        click.echo(json.dumps(row, indent=2))
        return
    what = f"{plural(len(chosen.traces), 'trace')} with {plural(chosen.spans, 'span')} and "
    what += plural(chosen.logs + chosen.own_logs, "record")
    click.echo(f"{'deleted' if yes else 'would delete'}: {what}")
    click.echo(
        f"{'cleaned' if yes else 'would clean'}: {plural(len(found.reports), 'report')}, and runs/ and cache/ go"
    )
    if found.lake is not None:
        click.echo(f"in the lake: {plural(found.lake.spans, 'span')}; what other hosts keep is deleted there")
    if found.kept:
        click.echo(f"{plural(found.kept, 'file')} that could not be loaded, and may hold anything: removed as well")
    if not yes:
        talk("nothing was changed: --yes deletes")

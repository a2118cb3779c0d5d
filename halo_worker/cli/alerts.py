"""`halo alerts`: what was told between reports, and what an alert would have told."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from halo_worker.alerts import eligible, replay
from halo_worker.alerts.journal import Episode, Event, Journal, alerts_dir, episodes
from halo_worker.cli.common import everywhere, nearest, print_rows, settings
from halo_worker.cli.console import talk
from halo_worker.display import one_line
from halo_worker.errors import InputError
from halo_worker.report import formats
from halo_worker.report.model import iso_nano

ACTIONS = ("list", "test")
SHOWN = 50  # episodes of a table; `--format json` has all that are kept


@click.command("alerts")
@click.argument("action", default="list", metavar=f"[{'|'.join(ACTIONS)}]")
@click.argument("name", required=False, metavar="[NAME]")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@everywhere
def alerts_command(action: str, name: str | None, form: str, data_dir: Path | None, config: Path | None) -> None:
    """Episodes of [alerts.NAME]: when each began, what it is about, whether it goes on.

    \b
    list        the episodes, the newest first
    test NAME   what an alert would have sent over the last day; sends and records nothing
    """
    current = settings(data_dir, config)
    if action not in ACTIONS:
        raise InputError(f"there is no action '{action}'", hint=nearest(action, ACTIONS))
    eligible.check(current)
    if action == "list":
        _list(episodes(Journal(alerts_dir(current)).read()), form, alerts=bool(current.alerts))
        return
    if name not in current.alerts:
        raise InputError(
            f"there is no alert '{name}'" if name else "which alert?",
            hint=nearest(name or "", current.alerts) if current.alerts else "write [alerts.NAME] into halo.toml",
        )
    told = replay.last_day(current, name, now_ns=time.time_ns())
    if form == "json":
        print_rows([_event_row(event) for event in told.events], "json")
        return
    for event in told.events:
        click.echo(one_line(f"{formats.minute(event.at_ns)} UTC  {event.severity:<8}  {event.says}"))
    looked = f"{formats.plural(told.looks, 'look')} over {formats.plural(told.traces, 'trace')} of the last day"
    talk(f"{name}: {formats.plural(len(told.events), 'message')}, {looked}; nothing was sent")


def _list(found: Sequence[Episode], form: str, *, alerts: bool) -> None:
    newest = sorted(found, key=lambda one: (one.opened.at_ns, one.opened.episode), reverse=True)
    if form == "json":
        print_rows([_row(one) for one in newest], "json")
        return
    print_rows([_line(one) for one in newest[:SHOWN]], "table")
    if len(newest) > SHOWN:
        talk(f"and {len(newest) - SHOWN:,} older ones: --format json")
    if not newest:
        talk("no episode yet" if alerts else "no alert is set: write [alerts.NAME] into halo.toml")


def _row(one: Episode) -> dict[str, Any]:
    began, over = one.opened, one.over
    return {
        "episode": began.episode, "alert": one.alert, "issue_id": began.issue_id, "severity": began.severity,
        "state": "open" if over is None else "over", "opened": iso_nano(began.at_ns),
        "over": iso_nano(over.at_ns) if over else None, "says": began.says, "over_says": over.says if over else None,
        "traces": began.counted.traces, "of": began.counted.of,
        "before_traces": began.before.traces if began.before else None,
        "before_of": began.before.of if began.before else None,
    }  # fmt: skip


def _line(one: Episode) -> dict[str, Any]:
    return {
        "opened": f"{formats.minute(one.opened.at_ns)}",
        "over": formats.minute(one.over.at_ns) if one.over else "goes on",
        "alert": one.alert,
        "issue": one.opened.issue_id,
        "severity": one.opened.severity,
        "says": one.opened.says,
    }


def _event_row(event: Event) -> dict[str, Any]:
    return {
        "what": event.what, "issue_id": event.issue_id, "at": iso_nano(event.at_ns), "severity": event.severity,
        "says": event.says, "traces": event.counted.traces, "of": event.counted.of,
    }  # fmt: skip

"""`halo lake`: one store of many hosts, made, looked at and kept in order."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from halo_worker.cli.common import everywhere, print_rows, settings
from halo_worker.cli.console import talk
from halo_worker.config import Settings
from halo_worker.errors import ConfigError
from halo_worker.report.model import iso_nano

ACTIONS = ("init", "status", "publish", "merge", "retain")


@click.command("lake")
@click.argument("action", type=click.Choice(ACTIONS), default="status")
@click.option(
    "--install-extensions", is_flag=True, help="With init: fetch DuckDB's extensions from the internet first."
)
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@everywhere
def lake_command(action: str, install_extensions: bool, form: str, data_dir: Path | None, config: Path | None) -> None:
    """Make the lake of [lake], say how far each receiver has published, and keep its files in order.

    \b
    halo lake init      once: tables of the catalog; says what is missing
    halo lake status    receivers and how far each has published, who runs which schedule, size
    halo lake publish   this directory's segments now, where no receiver runs
    halo lake merge     small files into larger ones, and files that no row needs
    halo lake retain    delete what is older than retention_days
    """
    from halo_worker import lake  # and DuckLake with it, which only a lake needs

    current = settings(data_dir, config)
    if not current.lake.on:
        raise ConfigError(
            "there is no lake", hint="set catalog and data in [lake], or HALO_LAKE_CATALOG and HALO_LAKE_DATA"
        )
    if action == "init":
        for said in lake.init(current.lake, install=install_extensions):
            talk(said)
    elif action == "status":
        _status(current, form)
    elif action == "publish":
        talk(lake.publish(current, now_ns=time.time_ns()))
    elif action == "merge":
        talk(lake.merge(current))
    else:
        talk(lake.retain(current))


def _status(current: Settings, form: str) -> None:
    from halo_worker import lake

    found = lake.status(current.lake)
    rows: list[dict[str, Any]] = [
        {
            "host": one.host,
            "data_dir": one.data_dir,
            "published_until": iso_nano(one.published_until_ns) if one.published_until_ns else None,
            "seen": iso_nano(one.seen_ns),
        }
        for one in found.receivers
    ]
    if form == "json":
        print_rows([{"receivers": rows, "leases": [list(one) for one in found.leases], **found.totals}], form)
        return
    print_rows(rows, form, columns=("host", "data_dir", "published_until", "seen"))
    for name, holder, epoch in found.leases:
        kind, _, of = name.partition(":")
        talk(f"{kind} {of}: {holder} holds its lease, epoch {epoch}" if of else f"{kind}: {holder}")
    talk("; ".join(f"{name} {value:,}" for name, value in found.totals.items()))

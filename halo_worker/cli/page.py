"""`halo page`: reports, issues and traces in the browser."""

from __future__ import annotations

from pathlib import Path

import click

from halo_receiver.logs import set_up
from halo_worker.cli.common import everywhere, given_config, settings
from halo_worker.cli.console import talk
from halo_worker.config import load_settings
from halo_worker.errors import ConfigError, InputError


@click.command("page")
@click.option("--endpoint", metavar="HOST:PORT", help="Where it listens.  [default: 127.0.0.1:4320]")
@everywhere
def page_command(endpoint: str | None, data_dir: Path | None, config: Path | None) -> None:
    """Serve the page of a data directory, until SIGTERM or Ctrl-C; 'halo up' does this too."""
    from halo_worker.page import server  # loads aiohttp, which few commands need

    current = settings(data_dir, config, page={"endpoint": endpoint})
    if current.page.endpoint == "off":
        raise InputError("[page] endpoint is 'off'", hint="--endpoint 127.0.0.1:4320 serves it all the same")
    if not current.store.data_dir.is_dir():
        raise InputError(
            f"there is no data directory {current.store.data_dir}",
            hint="'halo up' or 'halo import' make one; --data-dir names another",
        )
    set_up(current.worker.log_level, current.worker.log_format)
    words = ["--data-dir", str(current.store.data_dir.absolute())]
    if config := given_config(config):
        words += ["--config", str(config.absolute())]
    quiet = current.worker.log_format == "json"  # there the log says it
    server.serve(current, ready=lambda url: None if quiet else talk(f"page:        {url}/"), options=tuple(words))


def stay(data_dir: Path, config: Path) -> None:
    """Serve the page of a demo on its usual port, or where that is taken on a free one, until Ctrl-C."""
    from halo_worker.page import server

    options = ("--data-dir", str(data_dir.absolute()), "--config", str(config.absolute()))
    for endpoint in (server.USUAL, "127.0.0.1:0"):
        current = load_settings(
            file=config, environment={}, overrides={"store": {"data_dir": data_dir}, "page": {"endpoint": endpoint}}
        )
        try:
            server.serve(current, ready=lambda url: talk(f"page:        {url}/ until Ctrl-C"), options=options)
        except ConfigError:  # taken, as by the page of a 'halo up'
            if endpoint != server.USUAL:
                raise
        else:
            return

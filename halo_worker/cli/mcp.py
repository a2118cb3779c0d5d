"""`halo mcp`: issues and traces for coding agents."""

from __future__ import annotations

import asyncio
from importlib import metadata
from pathlib import Path

import click

from halo_receiver.logs import set_up
from halo_worker.cli.common import everywhere, settings
from halo_worker.cli.console import talk
from halo_worker.errors import InputError

NEEDED = (2, 3)  # of the package mcp, as pyproject.toml has it


@click.command("mcp")
@click.option("--http", metavar="HOST:PORT", help="Serve HTTP behind a key.  [default: stdio, for who starts it]")
@click.option(
    "--allow-decisions", is_flag=True, help="Also note, resolve, mute and wrong; by HTTP for operators alone."
)
@everywhere
def mcp_command(http: str | None, allow_decisions: bool, data_dir: Path | None, config: Path | None) -> None:
    """Serve issues, evidence and traces by the Model Context Protocol; 'halo setup' registers it with an agent.

    \b
    Tools: list_issues show_issue brief evidence list_traces view_trace query_sql verify cases
    """
    _check_that_it_is_installed()
    host, port = _place(http) if http is not None else ("", 0)
    current = settings(data_dir, config)
    if not current.store.data_dir.is_dir():
        raise InputError(
            f"there is no data directory {current.store.data_dir}",
            hint="'halo up' or 'halo import' make one; --data-dir names another",
        )
    set_up(current.worker.log_level, current.worker.log_format)
    from halo_worker.mcp_server import transport  # loads starlette and more, which no other command needs

    if http is None:
        asyncio.run(transport.serve_stdio(current, allow_decisions=allow_decisions))
    else:
        ready = lambda url: talk(f"mcp:         {url}")  # noqa: E731
        asyncio.run(transport.serve_http(current, host, port, allow_decisions=allow_decisions, ready=ready))


def _check_that_it_is_installed() -> None:
    """Raise InputError that says what to install where the extra is missing, or older than what is needed."""
    try:
        found = metadata.version("mcp")
    except metadata.PackageNotFoundError:
        raise InputError("'halo mcp' needs the package mcp", hint="pip install 'halo-otel[mcp]'") from None
    if tuple(int(part) for part in found.split(".")[:2] if part.isdecimal()) < NEEDED:
        raise InputError(
            f"'halo mcp' needs mcp 2.3 or later, {found} is installed", hint="pip install 'halo-otel[mcp]'"
        )


def _place(http: str) -> tuple[str, int]:
    host, _, port = http.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise InputError(f"--http {http} is not HOST:PORT", hint="such as 127.0.0.1:4321")
    return host, int(port)

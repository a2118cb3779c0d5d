"""What every command says to a person, and the options before it. Loads no library but click: `--help` needs these."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import click

from halo_worker.display import one_line
from halo_worker.errors import HaloError


@dataclass
class Context:
    """The options that stand before the command."""

    data_dir: Path | None = None
    config: Path | None = None


def talk(message: str) -> None:
    """Say something to the person, on stderr, on one line: it may quote a file, or what a sink answered."""
    click.echo(one_line(message), err=True)


def fail(error: HaloError, *, code: int = 2) -> NoReturn:
    """Print an error and what to do about it, and exit."""
    talk(f"error: {error}")
    if error.hint:
        talk(f"hint:  {error.hint}")
    sys.exit(code)

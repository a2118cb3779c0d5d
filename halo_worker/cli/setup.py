"""`halo setup`: hand issues to a coding agent."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import click

from halo_worker.cli.common import everywhere, given_config, given_data_dir
from halo_worker.cli.console import talk
from halo_worker.coding_agents import setup
from halo_worker.coding_agents.places import AGENTS, Agent
from halo_worker.coding_agents.registration import PROGRAMS
from halo_worker.display import visible
from halo_worker.errors import InputError


@click.command("setup")
@click.argument("agent", type=click.Choice(list(AGENTS)))
@click.option("--user", is_flag=True, help="For all of your projects, below your home directory.")
@click.option("--remove", is_flag=True, help="Take away what it wrote, and nothing else.")
@click.option("--dry-run", is_flag=True, help="Show what it would write, and write nothing.")
@click.option("--yes", is_flag=True, help="Ask nothing.")
@everywhere
def setup_command(
    agent: str, user: bool, remove: bool, dry_run: bool, yes: bool, data_dir: Path | None, config: Path | None
) -> None:
    """Give a coding agent the skill of working on issues, and halo's MCP server.

    \b
    halo setup claude-code        in this project: commit it, for all who work on it
    halo setup codex --user       for you, in every project
    halo setup cursor --remove    takes it away again

    Shows each change before it is made. What others wrote in the same files stays.
    """
    chosen = AGENTS[agent]
    base = Path.home() if user else Path.cwd()
    command = server_command(given_data_dir(data_dir), given_config(config), user=user)
    changes = setup.plan(chosen, base, user=user, remove=remove, command=command, environment=os.environ)
    if not remove:
        _say_whether_it_is_there(chosen)
    if not changes:
        talk(f"nothing to do: {chosen.title} {'has nothing of halo here' if remove else 'has it already'}")
        return
    for change in changes:
        click.echo(visible(change.diff()), nl=False)
    if dry_run:
        talk("nothing was written (--dry-run)")
        return
    _ask(yes=yes)
    for change in changes:
        change.make(base)
        talk(f"{'removed' if change.after is None else 'wrote'} {change.path}")
    if not remove:
        _say_what_is_next(chosen, command, user=user)


def server_command(data_dir: Path | None, config: Path | None, *, user: bool) -> list[str]:
    """Return what starts the MCP server: of a project as the project's directory sees it, of a user from anywhere."""
    command = [_program(), "mcp"]
    if user and data_dir is None and config is None:
        data_dir = Path("halo-data")
    for option, path in (("--data-dir", data_dir), ("--config", config)):
        if path is not None:
            command += [option, str(path.absolute() if user else path)]
    return command


def _program() -> str:
    """Return the name by which others can start this halo: that on PATH, else where it lies."""
    program = Path(sys.argv[0])
    if program.name not in PROGRAMS or not program.exists():
        return PROGRAMS[0]
    found = shutil.which(program.name)
    is_found = found is not None and Path(found).resolve() == program.resolve()
    return program.name if is_found else str(program.absolute())


def _say_whether_it_is_there(agent: Agent) -> None:
    if shutil.which(agent.program) is None and not (Path.home() / agent.directory).is_dir():
        talk(f"warning: {agent.title} is not here: no '{agent.program}' on PATH, no ~/{agent.directory}")
        talk("hint:    install it; it reads these files once it is there")


def _ask(*, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise InputError("nobody is there to ask", hint="--yes writes it, --dry-run only shows it")
    click.confirm("Write this?", default=True, abort=True, err=True)


def _say_what_is_next(agent: Agent, command: list[str], *, user: bool) -> None:
    if Path(command[0]).is_absolute() and not user:
        talk(f"warning: {command[0]} is a path of this machine: put halo on PATH to share these files")
    talk(f"next: start {agent.title}, and ask it to work on an issue of halo")
    talk(f"note: {agent.note}")

"""`halo`: the commands. Each calls a room and prints: data on stdout, talk on stderr.

A first word that is not a command is a trace file: `halo FILE -p "…"` is `halo run --input FILE -p "…"`.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from pathlib import Path
from typing import Any

import click

from halo_worker.cli.console import Context, fail
from halo_worker.cli.words import COMMANDS, arguments, unknown
from halo_worker.errors import HaloError, Interrupted

NO_PROXY = ("no_proxy", "NO_PROXY")
LOOPBACK = ("localhost", "127.0.0.1", "::1")  # reached without a proxy

_HELP = """Tell how your LLM agents fail, how often, since when, and what to change.

\b
  halo demo        days of agent traffic, received, analysed, reported: needs no key
  halo up          the receiver (OTLP on 4317 and 4318) and the scheduled worker
  halo run         one analysis now, of the last 24 hours
  halo FILE -p "…" a question to a trace file

Every setting can stand in halo.toml, in the environment (HALO_SECTION_NAME) or in a flag.
"""


class Commands(click.Group):
    """The commands in the order above, loaded when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"halo_worker.cli.{COMMANDS[cmd_name].module}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command


def _show_version(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if not wanted:
        return
    from importlib.metadata import PackageNotFoundError, version  # 50 ms, which only this needs

    try:
        click.echo(f"halo, version {version('halo-otel')}")
    except PackageNotFoundError:
        click.echo("halo, version unknown")
    ctx.exit()


@click.group(
    cls=Commands, help=_HELP, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option("--data-dir", type=click.Path(path_type=Path), help="Everything halo keeps.  [default: ./halo-data]")
@click.option("--config", type=click.Path(path_type=Path), help="Settings.  [default: halo.toml if present]")
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show the version."
)
@click.pass_context
def group(ctx: click.Context, data_dir: Path | None, config: Path | None) -> None:
    """Remember the options that stand before the command."""
    ctx.obj = Context(data_dir=data_dir, config=config)


def main(given: list[str] | None = None) -> None:
    """Run one command and exit as the contract says: 0, 1 failed, 2 wrong usage or configuration, 3 --fail-on."""
    words = sys.argv[1:] if given is None else given
    _adapt_to_surroundings()
    result: Any = None
    try:
        result = group.main(args=arguments(words), prog_name=_program(), standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
    except click.ClickException as error:
        _usage(error, words)
    except click.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except Interrupted as error:
        fail(error, code=130)
    except HaloError as error:
        _suggest(words)
        fail(error)
    except BrokenPipeError:  # the reader of our output went away, as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(result if isinstance(result, int) else 0)


def _program() -> str:
    """Return the name we were called by: shell completion is bound to it."""
    return "halo-otel" if Path(sys.argv[0]).name == "halo-otel" else "halo"


def _adapt_to_surroundings() -> None:
    """Print what a terminal cannot show as escapes, and reach this machine without a proxy of the environment."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # Both names get what either has: libraries look at one of them alone.
    named = [host.strip() for name in NO_PROXY for host in os.environ.get(name, "").split(",") if host.strip()]
    os.environ.update(dict.fromkeys(NO_PROXY, ",".join(dict.fromkeys([*named, *LOOPBACK]))))


def _suggest(words: list[str]) -> None:
    """Where the first word is neither a command nor a file, name the commands nearest to it, and exit."""
    found = unknown(words)
    if found is None:
        return
    word, near = found
    named = " or ".join(f"'halo {name}'" for name in near)
    hint = f"did you mean {named}?" if near else "'halo --help' lists the commands"
    fail(HaloError(f"'{word}' is neither a command nor a file", hint=hint))


def _usage(error: click.ClickException, words: list[str]) -> None:
    _suggest(words)
    message = error.format_message()
    context = getattr(error, "ctx", None)
    hint = f"try '{context.command_path} --help'" if context is not None else "try 'halo --help'"
    fail(HaloError(message[:1].lower() + message[1:].rstrip("."), hint=hint))

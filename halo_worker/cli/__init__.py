"""`halo`: the commands. Each calls a room and prints: data on stdout, talk on stderr.

A first word that is not a command is a trace file: `halo FILE -p "…"` is `halo run --input FILE -p "…"`.
"""

from __future__ import annotations

import difflib
import importlib
import io
import os
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click

from halo_worker.cli.common import Context, fail
from halo_worker.errors import HaloError

NO_PROXY = ("no_proxy", "NO_PROXY")
LOOPBACK = ("localhost", "127.0.0.1", "::1")  # reached without a proxy

# Where each command lives; a module is loaded when its command is asked for, so that `halo --help` is quick.
COMMANDS = {
    "up": "serve",
    "receive": "serve",
    "work": "serve",
    "schedules": "serve",
    "run": "analyse",
    "import": "analyse",
    "demo": "analyse",
    "reports": "results",
    "issues": "issues",
    "deliver": "results",
    "traces": "data",
    "trace": "data",
    "query": "data",
    "detectors": "detectors",
    "doctor": "doctor",
    "ping": "ping",
}

# What `halo --help` says of each; the module stays unloaded.
SUMMARIES = {
    "up": "receiver and scheduled worker together on one data directory",
    "receive": "the receiver alone: OTLP in, spans on disk",
    "work": "the scheduled worker alone",
    "schedules": "when analyses run, last and next; 'run NAME' runs one now",
    "run": "one analysis now, of the store or of trace files",
    "import": "trace files into the store",
    "demo": "a fleet of agents, received, analysed, reported; needs no key",
    "reports": "the published reports, or one of them",
    "issues": "failure modes over time; mute, resolve, reopen",
    "deliver": "send a report to the sinks that have not taken it",
    "traces": "list traces: root, agents, duration, errors, tokens, cost",
    "trace": "one trace as a tree",
    "query": "one SELECT over spans, traces and logs",
    "detectors": "the rules: list, show, test, and write your own",
    "doctor": "what is set up, reachable, and supported by the captured spans",
    "ping": "whether the receiver takes requests, for health checks",
}

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
            formatter.write_dl(list(SUMMARIES.items()))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"halo_worker.cli.{COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command


def _version() -> str:
    try:
        return version("halo-otel")
    except PackageNotFoundError:
        return "unknown"


@click.group(
    cls=Commands, help=_HELP, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option("--data-dir", type=click.Path(path_type=Path), help="Everything halo keeps.  [default: ./halo-data]")
@click.option("--config", type=click.Path(path_type=Path), help="Settings.  [default: halo.toml if present]")
@click.version_option(_version(), "--version", prog_name="halo")
@click.pass_context
def group(ctx: click.Context, data_dir: Path | None, config: Path | None) -> None:
    """Remember the options that stand before the command."""
    ctx.obj = Context(data_dir=data_dir, config=config)


def arguments(given: list[str]) -> list[str]:
    """Put `run` before the words of HALO's published command line, which has no commands."""
    place = 0
    while place < len(given):  # options of the group may come first
        word = given[place]
        if word in ("--data-dir", "--config"):
            place += 2
        elif word.startswith(("--data-dir=", "--config=")):
            place += 1
        else:
            break
    rest = given[place:]
    if not rest or rest[0] in ("-h", "--help", "--version") or rest[0] in COMMANDS:
        return given
    return [*given[:place], "run", *rest]


def main(given: list[str] | None = None) -> None:
    """Run one command and exit as the contract says: 0, 1 failed, 2 wrong usage or configuration, 3 --fail-on."""
    words = sys.argv[1:] if given is None else given
    _adapt_to_surroundings()
    result: Any = None
    try:
        result = group.main(args=arguments(words), prog_name="halo", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
    except click.ClickException as error:
        _usage(error, words)
    except click.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except HaloError as error:
        _suggest(words)
        fail(error)
    except BrokenPipeError:  # the reader of our output went away, as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(result if isinstance(result, int) else 0)


def _adapt_to_surroundings() -> None:
    """Print what a terminal cannot show as escapes, and reach this machine without a proxy of the environment."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # Both names get what either has: libraries look at one of them alone.
    named = [host.strip() for name in NO_PROXY for host in os.environ.get(name, "").split(",") if host.strip()]
    os.environ.update(dict.fromkeys(NO_PROXY, ",".join(dict.fromkeys([*named, *LOOPBACK]))))


def _suggest(words: list[str]) -> None:
    """Where the first word is nearly a command and no file, say so, and exit."""
    first = next((word for word in arguments(words)[1:] if not word.startswith("-")), "")
    close = difflib.get_close_matches(first, COMMANDS, n=1, cutoff=0.7)
    if first in words[:1] and first not in COMMANDS and close and not Path(first).exists():
        fail(HaloError(f"'{first}' is neither a command nor a file", hint=f"did you mean 'halo {close[0]}'?"))


def _usage(error: click.ClickException, words: list[str]) -> None:
    _suggest(words)
    message = error.format_message()
    context = getattr(error, "ctx", None)
    hint = f"try '{context.command_path} --help'" if context is not None else "try 'halo --help'"
    fail(HaloError(message[:1].lower() + message[1:].rstrip("."), hint=hint))

"""`halo init` and `halo completion`: the first settings, and the shell's help with words."""

from __future__ import annotations

import os
import re
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from halo_worker.cli.common import everywhere, given_config, given_data_dir
from halo_worker.cli.console import talk
from halo_worker.config import load_settings
from halo_worker.errors import InputError

SINKS = ("none", "slack", "webhook", "file")
_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")

_TEMPLATE = """\
# Settings of halo, made by 'halo init' on {day}. What is commented out shows the default or an example.
# Order: defaults < this file < environment (HALO_SECTION_NAME) < flags. An unknown name is refused with the nearest one.
# Every setting: 'halo doctor' checks them, docs/reference/settings.md describes them.

[store]
data_dir = {data_dir}
# retention_days = 30                  # older spans are deleted; 0 keeps them
# retention_bytes = 0                  # above this size the oldest go first; 0: no limit

[receiver]
# grpc_endpoint = "0.0.0.0:4317"       # the default is loopback alone: give [auth] keys before you listen to others
# http_endpoint = "0.0.0.0:4318"

# [auth]                               # keys belong into the environment: HALO_AUTH_INGEST_KEYS=key1,key2
# ingest_keys = []

[schedules.daily]
cron = "{minute} {hour} * * *"
timezone = "{timezone}"
sinks = [{sinks}]
# services = ["support-api"]           # only these services; default: all
# prompt = "What should be fixed first?"    # a question to answer in each report; needs a model

{sink}
# With a model, halo looks further than the detectors: set OPENAI_API_KEY, or an endpoint that speaks OpenAI's API.
# [model]
# name = "gpt-5.4-mini"
# base_url = "http://127.0.0.1:8000/v1"

# [budget]                             # of one run with a model
# max_cost = 5                         # dollars
"""

_SINK = {
    "none": """\
# [sinks.team]                         # name it in the schedule's sinks; its address: HALO_SINKS_TEAM_URL
# type = "slack"                       # or webhook (signed), file, github
""",
    "slack": """\
[sinks.team]
type = "slack"
url = "https://hooks.slack.com/services/…"      # yours: HALO_SINKS_TEAM_URL in the environment takes its place
filter = {min_severity = "medium"}
""",
    "webhook": """\
[sinks.team]
type = "webhook"
url = "https://example.com/halo"       # yours: HALO_SINKS_TEAM_URL; signed with HALO_SINKS_TEAM_SECRET
""",
    "file": """\
[sinks.team]
type = "file"
path = "halo-outbox"                   # a directory, or "-" for standard output
format = "markdown"                    # or json, html
""",
}


@click.command("init")
@click.option("--yes", is_flag=True, help="Ask nothing: the defaults.")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@everywhere
def init_command(yes: bool, force: bool, data_dir: Path | None, config: Path | None) -> None:
    """Write a commented halo.toml: where data lies, when a report comes, and who is told."""
    file = given_config(config) or Path("halo.toml")
    if file.exists() and not force:
        raise InputError(f"{file} is there already", hint="change it, or replace it with --force")
    directory = str(given_data_dir(data_dir) or "halo-data")
    at, zone, sink = "06:00", "UTC", "none"
    if not yes:
        directory = click.prompt("Where to keep spans and reports", default=directory, err=True)
        at, zone = _time_of_day(click.prompt("When to report each day (HH:MM [TIMEZONE])", default=at, err=True))
        sink = click.prompt("Who is told", default=sink, type=click.Choice(SINKS), err=True)
    text = settings_text(directory, at, zone, sink, day=f"{datetime.now(UTC):%Y-%m-%d}")
    _check(text)
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{file} cannot be written: {error.strerror}") from None
    talk(f"wrote {file}")
    talk("next: 'halo up' receives and reports, 'halo doctor' checks, 'halo demo' shows a report without either")


def _time_of_day(text: str) -> tuple[str, str]:
    clock, _, zone = text.strip().partition(" ")
    if not _CLOCK.fullmatch(clock):
        raise InputError(f"{clock!r} is not a time of day", hint="write it as 06:00, or 06:00 Europe/Berlin")
    return clock, zone.strip() or "UTC"


def settings_text(data_dir: str, at: str, timezone: str, sink: str, *, day: str) -> str:
    """Return the text of a halo.toml."""
    hour, minute = (int(part) for part in at.split(":"))
    quoted = '"' + data_dir.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return _TEMPLATE.format(
        day=day, data_dir=quoted, hour=hour, minute=minute, timezone=timezone, sink=_SINK[sink],
        sinks="" if sink == "none" else '"team"',
    )  # fmt: skip


def _check(text: str) -> None:
    """Read the text as the next start will. Raises ConfigError."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "halo.toml"
        file.write_text(text, encoding="utf-8")
        load_settings(file=file, environment={})


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]), required=False)
@everywhere
def completion_command(shell: str | None, data_dir: Path | None, config: Path | None) -> None:
    """Print what makes a shell complete commands and options.

    \b
    eval "$(halo completion bash)"                              # in ~/.bashrc
    eval "$(halo completion zsh)"                               # in ~/.zshrc
    halo completion fish > ~/.config/fish/completions/halo.fish
    """
    root = click.get_current_context().find_root()
    program = root.info_name or "halo"
    name = shell or Path(os.environ.get("SHELL", "bash")).name
    found = get_completion_class(name)
    if found is None:
        raise InputError(f"there is no completion for {name}", hint="there is for bash, zsh and fish")
    variable = f"_{program.replace('-', '_').upper()}_COMPLETE"
    click.echo(found(root.command, {}, program, variable).source())

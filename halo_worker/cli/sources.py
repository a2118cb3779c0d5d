"""`halo import` and `halo pull`: traces into the store; and the option by which traces elsewhere are named."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import click

from halo_worker import elsewhere, inputs, pull, source
from halo_worker.cli.common import bounds, everywhere, settings, window_of
from halo_worker.cli.console import talk
from halo_worker.cli.progress import working
from halo_worker.errors import InputError
from halo_worker.report import formats
from halo_worker.source import clickhouse

MAX_PROBLEMS = 10  # named on stderr; the rest is counted


def form_option(command: Any) -> Any:
    """Add --from."""
    return click.option(
        "--from",
        "form",
        type=click.Choice(source.FORMS),
        help="What wrote the files, where they are no trace files: sessions of a coding agent, exports of a store.",
    )(command)


def paths_of(paths: tuple[str, ...], form: str | None) -> tuple[str, ...]:
    """Return what is to be read: with --from alone, where that program keeps its sessions."""
    home = source.home(form, os.environ) if form and not paths else None
    if home is None:
        return paths
    if not home.is_dir():
        raise InputError(f"there is no {home}, where sessions of {form} are kept", hint="name the directory")
    return (str(home),)


def say_problems(problems: tuple[str, ...]) -> None:
    """Warn of what was not read."""
    for problem in problems[:MAX_PROBLEMS]:
        talk(f"warning: {problem}")
    if len(problems) > MAX_PROBLEMS:
        talk(f"warning: … and {len(problems) - MAX_PROBLEMS} more of the kind")


_arrival_option = click.option(
    "--arrival",
    type=click.Choice(["now", "span-time"]),
    default="now",
    show_default=True,
    help="When the spans count as arrived.",
)


@click.command("import")
@click.argument("paths", nargs=-1, metavar="PATH...")
@form_option
@bounds("24h, of another store; files are read whole")
@_arrival_option
@everywhere
def import_command(
    paths: tuple[str, ...], form: str | None, last_: str | None, since: str | None, until: str | None,
    arrival: inputs.Arrival, data_dir: Path | None, config: Path | None,
) -> None:  # fmt: skip
    """Put traces into the store: OTLP protobuf, OTLP/JSON, HALO flat JSONL; plain, gzip or zstd.

    \b
    halo import traces.jsonl
    halo import --from claude-code ~/.claude/projects
    halo import --from codex ~/.codex/sessions
    halo import clickhouse://user@host:8443/otel --last 24h
    """
    paths, now_ns = paths_of(paths, form), time.time_ns()
    if not paths:
        raise click.UsageError("Missing argument 'PATH...'.")
    of_store = clickhouse.is_address(paths[0])
    if of_store and (len(paths) > 1 or form):
        raise InputError("a store is imported by itself", hint="leave the other paths and --from away")
    if not of_store and (last_ or since or until):
        raise InputError("--last, --since and --until are for another store; files are read whole")
    current = settings(data_dir, config, make=True)
    with working("reading traces") as step:
        if of_store:
            window = window_of(last_, since, until, now_ns=now_ns, default="24h")
            assert window is not None
            imported = elsewhere.copy(
                current.source(paths[0]),
                window,
                current.store.data_dir,
                now_ns=now_ns,
                arrival=arrival,
                say=talk,
                step=step,
            )
        else:
            imported = inputs.import_files(
                paths, current.store.data_dir, now_ns=now_ns, arrival=arrival, say=talk, form=form, step=step
            )
    say_problems(tuple(imported.problems))
    for what, count in sorted(imported.mended.items()):
        talk(f"note: {what} ({count})")
    talk(
        f"imported {formats.plural(imported.spans, 'span')} and {formats.plural(imported.logs, 'log record')} "
        f"from {'ClickHouse' if of_store else formats.plural(imported.files, 'file')}"
        + (f"; {imported.rejected} rejected for want of usable ids" if imported.rejected else "")
    )


@click.command("pull")
@click.argument("store", type=click.Choice(sorted(pull.STORES)))
@bounds("from the end of the last pull, 24h the first time")
@click.option("--project", metavar="NAME", help="Of Phoenix and LangSmith.  [default: as the environment says]")
@click.option("--url", metavar="URL", help="Where the store is.  [default: as the environment says, else its cloud]")
@click.option("--restart", is_flag=True, help="Do not go on with a pull that was cut, begin anew.")
@_arrival_option
@everywhere
def pull_command(
    store: str, last_: str | None, since: str | None, until: str | None, project: str | None, url: str | None,
    restart: bool, arrival: inputs.Arrival, data_dir: Path | None, config: Path | None,
) -> None:  # fmt: skip
    """Copy traces and their scores out of Langfuse, Phoenix or LangSmith, by its public API, into the store.

    The window is of the spans' start. What is already here is not added again.

    \b
    halo pull langfuse --since 2026-11-01       keys: LANGFUSE_PUBLIC_KEY, LANGFUSE_SECRET_KEY
    halo pull phoenix --project agents          key, where it needs one: PHOENIX_API_KEY
    halo pull langsmith --last 7d               key: LANGSMITH_API_KEY
    """
    current = settings(data_dir, config, make=True)
    now_ns, place = time.time_ns(), pull.STORES[store].PLACE
    asked = pull.Asked(
        store,
        url or place.url(os.environ),
        project or place.project(os.environ),
        window_of(last_, since, until, now_ns=now_ns, default=None),
        explicit=since is not None,
        restart=restart,
        arrival=arrival,
    )
    with working(f"pulling from {place.name}") as step:
        pulled = pull.pull(asked, current.store.data_dir, os.environ, now_ns=now_ns, say=talk, step=step)
    say_problems(tuple(pulled.problems))
    state = pulled.state
    talk(
        f"pulled {formats.plural(state.spans, 'span')} and {formats.plural(state.logs, 'score')} of "
        f"{formats.minute(state.since_ns)} to {formats.minute(state.until_ns)} UTC from {place.name}"
    )

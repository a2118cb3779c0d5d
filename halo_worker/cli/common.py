"""What every command shares: its context, its options, and how it prints."""

from __future__ import annotations

import csv
import difflib
import io
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table
from rich.text import Text

from halo_receiver import permissions
from halo_receiver.store.reader import Reader
from halo_worker import freshness
from halo_worker.cli.console import Context, talk
from halo_worker.config import Settings, load_settings
from halo_worker.display import json_for_terminal, one_line, visible
from halo_worker.errors import InputError
from halo_worker.moments import human_duration as human_duration
from halo_worker.moments import moment, seconds_of
from halo_worker.window import Window, last

Command = TypeVar("Command", bound=Callable[..., Any])

WHOLE_CHARACTERS = 40  # of a first column that is shown whole, however narrow the terminal
SHORT_CHARACTERS = 12  # of any other column that is
CELL_CHARACTERS = 80  # of a table's cell; `--format json` shows all
RECORD_CHARACTERS = 400  # of a value that has a line of its own
TEXT_COLUMNS = 120  # of a report as text where there is no terminal
PIPE_COLUMNS = 240  # of a table where no terminal says how wide it may be; texts in it are longer

talk_console = Console(stderr=True, highlight=False, soft_wrap=True)


def nearest(name: str, known: Iterable[str]) -> str:
    """Write a hint: the known name that is most like the one given, else all."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else f"known are: {', '.join(names) or 'none'}"


def everywhere(command: Command) -> Command:
    """Add the options that every command has."""
    for option in (
        click.option("--config", type=click.Path(path_type=Path), help="Settings.  [default: halo.toml if present]"),
        click.option(
            "--data-dir", type=click.Path(path_type=Path), help="Everything halo keeps.  [default: ./halo-data]"
        ),
        click.help_option("-h", "--help"),
    ):
        command = option(command)
    return command


def bounds(default: str) -> Callable[[Command], Command]:
    """Add --last, --since and --until."""

    def add(command: Command) -> Command:
        for option in (
            click.option("--until", metavar="T", help="End of the window, not included. ISO-8601; naive means UTC."),
            click.option("--since", metavar="T", help="Start of the window, on arrival time."),
            click.option("--last", "last_", metavar="TIME", help=f"Such as 90m, 24h or 7d.  [default: {default}]"),
        ):
            command = option(command)
        return command

    return add


def given_config(config: Path | None) -> Path | None:
    """Return the file that --config names, after the command or before it."""
    context = click.get_current_context(silent=True)
    before = context.find_object(Context) if context is not None else None
    return config or (before.config if before else None)


def given_data_dir(data_dir: Path | None) -> Path | None:
    """Return the directory that --data-dir names, after the command or before it."""
    context = click.get_current_context(silent=True)
    before = context.find_object(Context) if context is not None else None
    return data_dir or (before.data_dir if before else None)


def settings(data_dir: Path | None, config: Path | None, *, make: bool = False, **sections: dict[str, Any]) -> Settings:
    """Read the settings with the flags that were given on top, and keep others out of the data directory.

    `make` makes the directory where it is missing.
    """
    data_dir, config = given_data_dir(data_dir), given_config(config)
    given = {
        name: {key: value for key, value in values.items() if value is not None} for name, values in sections.items()
    }
    if data_dir is not None:
        given.setdefault("store", {})["data_dir"] = data_dir
    current = load_settings(file=config, overrides=given)
    permissions.secure(current.store.data_dir, current.store.group, say=talk, make=make)
    return current


def window_of(
    last_: str | None, since: str | None, until: str | None, *, now_ns: int, default: str | None
) -> Window | None:
    """Read the three options as a window; None when none was given and there is no default."""
    if last_ and (since or until):
        raise InputError("--last cannot stand beside --since or --until", hint="give one or the other")
    try:
        if since or until:
            end = moment(until) if until else now_ns + 1
            start = moment(since) if since else 0
            if end <= start:
                raise InputError(f"the window is empty: --since {since} is not before --until {until or 'now'}")
            return Window(start, end)
        if last_ or default:
            return last(seconds_of(last_ or default or ""), now_ns)
    except ValueError as error:
        raise InputError(str(error)) from None
    return None


def open_reader(current: Settings, window: Window | None, *, seal: bool = True, trace_id: str | None = None) -> Reader:
    """Open what a window, or a trace, may hold, after asking the receiver to seal. Says what could not be read."""
    data_dir = current.store.data_dir
    if not data_dir.is_dir():
        raise InputError(
            f"there is no data directory {data_dir}",
            hint="'halo up' or 'halo import' make one; --data-dir names another",
        )
    if seal:
        for problem in freshness.refresh(current).problems:
            talk(f"warning: {problem}")
    reader = Reader.open(
        data_dir,
        start_ns=window.start_ns if window else None,
        end_ns=window.end_ns if window else None,
        trace_id=trace_id,
        memory_limit=f"{current.analysis.memory_limit_bytes}B",
        threads=current.store.threads,
    )
    for item in reader.set_aside:
        talk(f"warning: {item.path.name} is left out: {item.reason}")
    return reader


def open_lake(current: Settings, window: Window | None, *, trace_id: str | None = None) -> Reader:
    """Open what became visible in the lake in a window, where it lies, or one trace of it."""
    from halo_receiver.store.lake_reader import LakeReader  # and DuckLake with it, which only a lake needs

    if not current.lake.on:
        raise InputError("there is no lake", hint="set [lake] catalog and data, then 'halo lake init'")
    return LakeReader.of(
        current.lake,
        start_ns=window.start_ns if window else None,
        end_ns=window.end_ns if window else None,
        trace_id=trace_id,
        memory_limit=f"{current.analysis.memory_limit_bytes}B",
        threads=current.store.threads,
    )


def print_rows(rows: Sequence[dict[str, Any]], form: str, *, columns: Sequence[str] | None = None) -> None:
    """Print rows as a table, one array of JSON objects, JSON lines or CSV."""
    if form == "json":
        click.echo(json_for_terminal(json.dumps(list(rows), ensure_ascii=False, indent=2)))
        return
    if form == "jsonl":
        for row in rows:
            click.echo(json_for_terminal(json.dumps(row, ensure_ascii=False)))
        return
    names = list(columns or (rows[0] if rows else ()))
    if form == "csv":
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow([visible(name) for name in names])
        writer.writerows([[_cell(row.get(name), whole=True) for name in names] for row in rows])
        click.echo(buffer.getvalue(), nl=False)
        return
    if not names:
        talk("no rows")
    elif rows and _too_wide(rows, names):
        _print_records(rows, names)
    else:
        _print_table(rows, names)


def _too_wide(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> bool:
    """Whether a table would have no room for what each column needs at least."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPE_COLUMNS
    needed = [max(len(_cell(name)), *(len(_cell(row.get(name))) for row in rows)) for name in names]
    return sum(min(each, SHORT_CHARACTERS) + 2 for each in needed) > width


def _print_records(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    """Print each row as lines of a name and a value."""
    longest = max(len(_cell(name)) for name in names)
    for number, row in enumerate(rows, 1):
        if len(rows) > 1:
            click.echo(f"-- row {number} of {len(rows)}")
        for name in names:
            click.echo(
                f"{_cell(name):<{longest}}  {_cell(row.get(name), limit=RECORD_CHARACTERS)}".rstrip(), file=sys.stdout
            )


def _print_table(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    table = Table(show_edge=False, pad_edge=False, box=None, header_style="bold", padding=(0, 2, 0, 0))
    for place, name in enumerate(names):
        numeric = all(isinstance(row.get(name), (int, float, type(None))) for row in rows)
        widest = max((len(_cell(name)), *(len(_cell(row.get(name))) for row in rows)))
        table.add_column(
            Text(_cell(name)),
            justify="right" if numeric and rows else "left",
            no_wrap=True,
            # The first column is what one copies, an id or a name, and short ones are words: a narrow terminal cuts texts.
            min_width=widest if widest <= (SHORT_CHARACTERS if place else WHOLE_CHARACTERS) else None,
        )
    for row in rows:
        table.add_row(*(Text(_cell(row.get(name))) for name in names))
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty(), width=None if sys.stdout.isatty() else 4000)
    console.print(table)


def _cell(value: Any, *, whole: bool = False, limit: int = CELL_CHARACTERS) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return visible(text) if whole else one_line(text, limit)


def show_report(folder: Path, form: str | None) -> None:
    """Print a published report: as json, html, markdown, or text; without a form, text for a terminal, else Markdown."""
    path = folder / {"json": "report.json", "html": "report.html"}.get(form or "", "report.md")
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    if form == "json":
        click.echo(json_for_terminal(text), nl=False)
    elif form in ("text", "table") or (form is None and sys.stdout.isatty()):
        Console(width=None if sys.stdout.isatty() else TEXT_COLUMNS).print(Markdown(visible(text)))
    else:
        click.echo(visible(text), nl=False)

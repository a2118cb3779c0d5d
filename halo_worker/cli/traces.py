"""`halo traces`: the list of traces, which fits the terminal."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.cells import cell_len, set_cell_size

from halo_receiver.store import trace_list
from halo_receiver.store.trace_list import Filters
from halo_worker import issues
from halo_worker.cli.common import bounds, everywhere, human_duration, open_reader, print_rows, settings, window_of
from halo_worker.cli.console import talk
from halo_worker.config import Settings
from halo_worker.display import one_line

Command = TypeVar("Command", bound=Callable[..., Any])

ID_CHARACTERS = 8  # of a trace's id, at least: as many as tell the listed ones apart
AGENT_CHARACTERS = 14
INPUT_CHARACTERS = 60
MIN_INPUT_CHARACTERS = 8
COLUMNS = ("id", "when", "agent", "input", "err", "tokens", "cost", "took")
INPUT = COLUMNS.index("input")
GAP = 2  # characters between columns
WEEK_SECONDS = 6 * 86_400  # within which a weekday names one day


def trace_filters(command: Command) -> Command:
    """Add the options of `Filters` that look at the trace alone."""
    for option in (
        click.option("-q", "text", metavar="TEXT", help="Only with this text in a name, input, output or error."),
        click.option(
            "--status",
            type=click.Choice(["ok", "error", "unset"], case_sensitive=False),
            help="Of the root span; --errors looks at all spans.",
        ),
        click.option("--tool", metavar="NAME", help="Only traces that called this tool."),
        click.option("--model", metavar="NAME", help="Only traces that asked this model."),
        click.option("--user", metavar="ID", help="Only of this user."),
        click.option("--session", metavar="ID", help="Only of this session."),
        click.option("--service", metavar="NAME", help="Only of this service."),
        click.option("--agent", metavar="NAME", help="Only with this agent."),
    ):
        command = option(command)
    return command


@click.command("traces")
@trace_filters
@click.option("--finding", metavar="ISSUE", help="Only traces that a report counted for this issue.")
@click.option("--errors", is_flag=True, help="Only traces with an ERROR span.")
@click.option("--order", type=click.Choice(list(trace_list.ORDERS)), default="newest", show_default=True)
@click.option("-n", "--limit", type=click.IntRange(min=1), default=50, show_default=True)
@click.option(
    "--format", "form", type=click.Choice(["table", "json", "jsonl", "csv"]), default="table", show_default=True
)
@bounds("all")
@everywhere
def traces_command(
    order: str, limit: int, form: str, finding: str | None, last_: str | None, since: str | None,
    until: str | None, data_dir: Path | None, config: Path | None, **asked: Any,
) -> None:  # fmt: skip
    """List traces: when, agent, first input, errors, tokens, cost, duration. Times are UTC.

    \b
    halo traces --agent support-agent --errors -n 10
    halo traces --tool issue_refund -q "exceeds the order total"
    halo trace last                   # the newest as a tree; 'halo trace ID' any other
    """
    current = settings(data_dir, config)
    filters = Filters(**asked, among=_counted(current, finding) if finding else None)
    window = window_of(last_, since, until, now_ns=time.time_ns(), default=None)
    with open_reader(current, window) as reader:
        rows = trace_list.list_traces(reader, filters, order=order, limit=limit)
        wrong = None if rows else trace_list.unmatched(reader, filters)
    if wrong is not None:
        raise wrong
    if form != "table":
        print_rows(rows, form)
    elif rows:
        _print_table(rows, now=datetime.now(UTC))
        if len(rows) == limit:
            talk(f"the first {limit}; -n shows more")
    else:
        talk("no traces" + ("" if filters == Filters() and window is None else " that match"))


def _counted(current: Settings, finding: str) -> frozenset[str]:
    """Return the traces in which any report saw an issue."""
    issue = issues.memory(current).find(finding)
    archive = issues.archive(current)
    return frozenset().union(*(archive.affected_traces(run_id, issue.issue_id) for run_id in archive.ids()))


def short_ids(ids: Sequence[str]) -> list[str]:
    """Shorten ids to one length that tells them apart, ID_CHARACTERS at least."""
    longest = max(map(len, ids), default=0)
    length = next(
        (size for size in range(ID_CHARACTERS, longest) if len({one[:size] for one in ids}) == len(set(ids))), longest
    )
    return [one[:length] for one in ids]


def _print_table(rows: Sequence[dict[str, Any]], *, now: datetime) -> None:
    """Print a line a trace, as wide as the terminal, or COLUMNS, or 80: the input gets what the others leave."""
    ids = short_ids([row["trace_id"] for row in rows])
    lines = [COLUMNS, *((one_line(short, 64), *cells(row, now)) for short, row in zip(ids, rows, strict=True))]
    widths = [max(cell_len(line[place]) for line in lines) for place in range(len(COLUMNS))]
    left = shutil.get_terminal_size().columns - sum(widths) - GAP * (len(COLUMNS) - 1)
    widths[INPUT] = min(widths[INPUT], max(MIN_INPUT_CHARACTERS, widths[INPUT] + left))
    for line in lines:
        click.echo((" " * GAP).join(map(aligned, line, widths, range(len(COLUMNS)))).rstrip(), file=sys.stdout)


def aligned(text: str, width: int, place: int) -> str:
    """Fill a cell up to its width, or shorten it; numbers stand to the right."""
    if cell_len(text) > width:
        return set_cell_size(text, width - 1) + "…"
    return text + " " * (width - cell_len(text)) if place <= INPUT else " " * (width - cell_len(text)) + text


def cells(row: dict[str, Any], now: datetime) -> tuple[str, ...]:
    """Write a row of `trace_list.list_traces` as COLUMNS, without the id."""
    tokens = (row["input_tokens"] or 0) + (row["output_tokens"] or 0)
    what = row["input_text"] or row["root_name"] or ""
    return (
        when(row["start_time"], now),
        one_line(next(iter(row["agent_names"] or row["service_names"]), ""), AGENT_CHARACTERS),
        one_line(what, INPUT_CHARACTERS),
        str(row["error_count"] or ""),
        _count(tokens) if tokens else "",
        f"${row['cost_usd']:.3f}" if row["cost_usd"] else "",
        human_duration(row["duration_ns"]),
    )


def when(moment: str | None, now: datetime) -> str:
    """Write a moment as short as names it: the time of today, the weekday of the last days, the date before."""
    if not moment:
        return "-"
    at = datetime.fromisoformat(moment[:19]).replace(tzinfo=UTC)
    if at.date() == now.date():
        return f"{at:%H:%M:%S}"
    if 0 <= (now - at).total_seconds() < WEEK_SECONDS:
        return f"{at:%a %H:%M}"
    return f"{at:%Y-%m-%d}"


def _count(number: int) -> str:
    """Write a number of tokens in at most five characters."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            return f"{number / size:.1f}{unit}" if number < 100 * size else f"{number // size}{unit}"
    return str(number)

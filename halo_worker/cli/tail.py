"""`halo tail`: traces in the terminal as they come."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from halo_receiver.store.trace_list import Filters
from halo_worker import segments_client
from halo_worker.cli.common import everywhere, settings
from halo_worker.cli.console import fail, talk
from halo_worker.cli.traces import COLUMNS, GAP, ID_CHARACTERS, aligned, cells, trace_filters
from halo_worker.display import json_for_terminal, one_line
from halo_worker.errors import ReceiverAway
from halo_worker.live_traces import LiveTrace, LiveTraces

WIDTHS = {"id": ID_CHARACTERS, "when": 8, "agent": 12, "err": 3, "tokens": 6, "cost": 6, "took": 6}
MIN_INPUT_CHARACTERS = 8
RECENT_SPANS = 10_000  # of which the traces before are put together: all that the receiver keeps


@click.command("tail")
@trace_filters
@click.option("--errors", is_flag=True, help="Only traces with an ERROR span.")
@click.option(
    "-n", "before", type=click.IntRange(min=0), default=10, show_default=True, help="Begin with the last N that came."
)
@click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True,
    help="json: one object a line.",
)  # fmt: skip
@everywhere
def tail_command(before: int, form: str, data_dir: Path | None, config: Path | None, **asked: Any) -> None:
    """Show traces as they come, until Ctrl-C. Needs a running receiver, and seals nothing.

    A trace is shown when its root span is stored, at most three seconds after it came. Times are UTC.

    \b
    halo tail --agent support-agent --errors
    halo tail -n 0 --format json | jq .trace_id
    """
    current = settings(data_dir, config)
    write = _json if form == "json" else _Table()
    try:
        with _interruptible():
            for row in _rows(current.store.data_dir, Filters(**asked), before):
                write(row)
    except ReceiverAway as error:
        fail(error, code=1)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C end the process at once: a KeyboardInterrupt that is raised while gRPC waits may be lost in it."""
    before = signal.signal(signal.SIGINT, lambda *_: os._exit(0))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _rows(data_dir: Path, filters: Filters, before: int) -> Iterator[dict[str, Any]]:
    """Yield the last traces that came, then each that comes."""
    traces = LiveTraces(filters)
    recent: list[LiveTrace] | None = []
    with segments_client.tail(data_dir, recent=RECENT_SPANS if before else 0) as messages:
        for message in messages:
            now = time.monotonic()
            traces.take(message.spans, now)
            if message.missed:
                talk(f"{message.missed:,} spans are left out: more come than can be shown")
            whole = list(traces.whole(now))
            if recent is not None:
                recent += whole
                if message.more_recent:
                    continue
                whole, recent = recent[max(0, len(recent) - before) :], None
            yield from (trace.row() for trace in whole)


def _json(row: dict[str, Any]) -> None:
    start = row.pop("start_ns")
    click.echo(json_for_terminal(json.dumps({"start_time": _moment(start), **row}, ensure_ascii=False)))


def _moment(nanoseconds: int | None) -> str | None:
    if nanoseconds is None:
        return None
    seconds, fraction = divmod(nanoseconds, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"


class _Table:
    """A line a trace, as wide as the terminal, or COLUMNS, or 80; the names of the columns above the first."""

    def __init__(self) -> None:
        self._begun = False

    def __call__(self, row: dict[str, Any]) -> None:
        left = shutil.get_terminal_size().columns - sum(WIDTHS.values()) - GAP * len(WIDTHS)
        widths = {**WIDTHS, "input": max(MIN_INPUT_CHARACTERS, left)}
        lines: list[tuple[str, ...]] = [] if self._begun else [COLUMNS]
        shown = {**row, "start_time": _moment(row["start_ns"])}
        lines.append((one_line(row["trace_id"], ID_CHARACTERS + 1)[:ID_CHARACTERS], *cells(shown, datetime.now(UTC))))
        self._begun = True
        for line in lines:
            texts = (aligned(text, widths[name], at) for at, (name, text) in enumerate(zip(COLUMNS, line, strict=True)))
            click.echo((" " * GAP).join(texts).rstrip())

"""How far a run is, on stderr: a line that renews itself on a terminal, a line a turn elsewhere. And Ctrl-C."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.status import Status

from halo_worker.cli.common import talk_console
from halo_worker.cli.console import talk
from halo_worker.display import one_line
from halo_worker.report.formats import plural

if TYPE_CHECKING:
    from halo_worker.analysis.work import Progress

EVERY_SECONDS = 30.0  # between lines where there is no terminal, unless a turn begins


def line(progress: Progress) -> str:
    """Write the state of a run in one line."""
    parts = [
        f"turn {progress.turns} of {progress.max_turns}",
        f"{plural(progress.findings, 'finding')} so far",
        f"{progress.tokens:,} tokens",
    ]
    if progress.cost_usd is not None:
        parts.append(f"${progress.cost_usd:.4f}")
    parts.append(f"{progress.seconds:.0f} s")
    if progress.seconds_left is not None:
        parts.append(f"{progress.seconds_left:.0f} s left")
    return one_line(f"{', '.join(parts)}: {progress.doing}")


class Shown:
    """Takes progress and shows it: `say` for lines that stay, the call itself for where the run is."""

    def __init__(self, status: Status | None) -> None:
        self._status = status
        self._turn = -1
        self._said = time.monotonic()

    def __call__(self, progress: Progress | str) -> None:
        text = one_line(progress) if isinstance(progress, str) else line(progress)
        if self._status is not None:
            self._status.update(escape(text))
            return
        turn, now = self._turn if isinstance(progress, str) else progress.turns, time.monotonic()
        if turn != self._turn or now - self._said >= EVERY_SECONDS:
            self._turn, self._said = turn, now
            talk(text)


@contextmanager
def shown() -> Iterator[Callable[[Progress | str], None]]:
    """Show the progress of a run while it lasts; Ctrl-C asks it to publish what it has, a second one ends it."""
    with _interruptible():
        if not sys.stderr.isatty():
            yield Shown(None)
            return
        with talk_console.status("reading the window") as status:
            yield Shown(status)


@contextmanager
def working(what: str) -> Iterator[Callable[[str], None]]:
    """Show on a terminal that something takes its time, and how far it is; elsewhere nothing is said."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    with talk_console.status(escape(what)) as status:
        yield lambda step: status.update(escape(one_line(f"{what}: {step}")))


@contextmanager
def _interruptible() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    from halo_worker import run  # every engine, which only a run needs

    def ask(number: int, frame: FrameType | None) -> None:
        talk("interrupted: what is established is published; once more to end at once")
        run.interrupt()
        signal.signal(signal.SIGINT, before)

    before: Any = signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)

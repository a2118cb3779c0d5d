"""Runs that a person starts on the page: `halo schedules run NAME` in a process of its own, and what it says."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from halo_receiver import child_processes
from halo_worker.display import one_line

MAX_LINES = 40  # kept of what a run says
LINE_CHARACTERS = 400
STOP_SECONDS = 30.0  # in which a run publishes what it has, when the page ends


@dataclass(slots=True)
class Run:
    """One run; `code` is None while it lasts."""

    began_ns: int
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=MAX_LINES))
    code: int | None = None
    process: asyncio.subprocess.Process | None = None
    task: asyncio.Task[None] | None = None


@dataclass(slots=True)
class Runs:
    """The runs of this page, the last of each schedule."""

    arguments: tuple[str, ...]
    last: dict[str, Run] = field(default_factory=dict)

    def start(self, name: str, *, now_ns: int) -> Run:
        """Run one window of a schedule up to now, unless one that was started here is running."""
        running = self.last.get(name)
        if running is not None and running.code is None:
            return running
        run = self.last[name] = Run(now_ns)
        run.task = asyncio.create_task(self._follow(run, name))
        return run

    async def _follow(self, run: Run, name: str) -> None:
        try:
            process = run.process = await start_halo(
                "schedules", "run", name, *self.arguments, stderr=asyncio.subprocess.PIPE
            )
            assert process.stderr is not None
            async for line in process.stderr:
                run.lines.append(one_line(line.decode("utf-8", "replace"), LINE_CHARACTERS))
            run.code = await process.wait()
        except (OSError, ValueError) as error:  # not started, or a line without end
            run.lines.append(one_line(f"{type(error).__name__}: {error}", LINE_CHARACTERS))
            run.code = 1

    async def close(self) -> None:
        """Ask what runs to publish what it has, and wait for it."""
        going = [run for run in self.last.values() if run.code is None and run.process is not None]
        for run in going:
            run.process.terminate()  # type: ignore[union-attr]
        await asyncio.wait(_tasks(going), timeout=STOP_SECONDS) if going else None


def _tasks(runs: Iterable[Run]) -> list[asyncio.Task[None]]:
    return [run.task for run in runs if run.task is not None]


async def start_halo(*words: str, **streams: int) -> asyncio.subprocess.Process:
    """Start another command of halo; its streams lead nowhere but where `streams` say."""
    nowhere = dict.fromkeys(("stdin", "stdout", "stderr"), asyncio.subprocess.DEVNULL)
    # The whole environment: a model's key is in it.
    environment = {**os.environ, **child_processes.environment(settings=True)}
    return await child_processes.start_async(
        "halo", "halo_worker", *words, env=environment, start_new_session=True, **{**nowhere, **streams}
    )

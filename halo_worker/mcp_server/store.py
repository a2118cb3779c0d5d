"""The data directory as the tools see it: what arrived is readable, and opened anew when segments changed."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVar

from halo_receiver.store.reader import Reader
from halo_worker import freshness, issues
from halo_worker.analysis.questions import Questions
from halo_worker.analysis.tools import Desk
from halo_worker.config import Settings
from halo_worker.report.memory import IssueMemory

SEAL_SECONDS = 15.0  # between two looks for what arrived: each ends a segment
Result = TypeVar("Result")
Stamp = tuple[tuple[str, int], ...]


class Store:
    """One data directory. Close it when done: it has processes and a temporary directory."""

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.settings = settings
        self.archive = issues.archive(settings)
        self.problems: list[str] = []  # what is not readable, and why
        self._clock = clock
        self._temporary = Path(tempfile.mkdtemp(prefix="halo-mcp-"))
        self._desk: Desk | None = None
        self._stamp: Stamp = ()
        self._opened = 0
        self._looked = float("-inf")
        self._reading = asyncio.Lock()
        self._working = asyncio.Lock()

    def memory(self) -> IssueMemory:
        """Return the issues as each is seen by the schedule that saw it last."""
        self.archive.shared.look()
        return issues.open_memory(self.archive)

    @asynccontextmanager
    async def desk(self) -> AsyncIterator[Desk]:
        """Lend the traces to the engine's tools; one call at a time."""
        async with self._reading:
            if self._desk is None or await asyncio.to_thread(self._has_changed):
                await self._open()
            assert self._desk is not None
            yield self._desk

    async def work(self, task: Callable[[], Result]) -> Result:
        """Do what takes long and much memory beside the loop; one at a time."""
        async with self._working:
            return await asyncio.to_thread(task)

    async def close(self) -> None:
        """End the processes and remove what they left."""
        if self._desk is not None:
            await self._desk.questions.close()
        await asyncio.to_thread(shutil.rmtree, self._temporary, ignore_errors=True)

    def _has_changed(self) -> bool:
        if self._clock() - self._looked >= SEAL_SECONDS:
            self.problems = freshness.refresh(self.settings).problems
            self._looked = self._clock()
        return self._now() != self._stamp

    def _now(self) -> Stamp:
        """Return the segments as they are; one that is merged away meanwhile counts as changed the next time."""
        found = []
        for path in (self.settings.store.data_dir / "segments").glob("*.duckdb"):
            with suppress(OSError):
                found.append((path.name, path.stat().st_mtime_ns))
        return tuple(sorted(found))

    async def _open(self) -> None:
        if self._desk is not None:
            await self._desk.questions.close()
            self._desk = None
        self._opened += 1
        questions = await asyncio.to_thread(self._questions, self._temporary / str(self._opened))
        self._desk = Desk(questions)

    def _questions(self, temporary: Path) -> Questions:
        self._has_changed()
        self._stamp = self._now()
        store, limit = self.settings.store, self.settings.analysis.memory_limit_bytes
        with Reader.open(store.data_dir, memory_limit=f"{limit}B", threads=store.threads) as reader:
            return Questions.of(reader, temporary, threads=store.threads)

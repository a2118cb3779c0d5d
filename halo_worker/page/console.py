"""SQL over what is stored, asked in a process of its own: the same locked connection as the engine's `query_sql`.

One console at a time is open, over one range of arrival; it is opened anew when segments came since, and closed when
nobody has asked for a while.
"""

from __future__ import annotations

import asyncio
import time
import tomllib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from halo_receiver.store import manifest
from halo_worker import freshness
from halo_worker.analysis.questions.client import Questions, Rows
from halo_worker.page.data import Data
from halo_worker.window import SECOND

RANGES = {"1h": 3600, "24h": 86_400, "7d": 7 * 86_400, "all": None}  # of arrival, in seconds
USUAL = "24h"
IDLE_SECONDS = 120.0  # after which the process ends
SEAL_SECONDS = 10.0  # between two requests to a receiver to seal
MAX_BYTES = 8 * 2**20  # of one answer
HISTORY = 30  # statements of one session
SESSIONS = 200  # whose statements are remembered


@dataclass(slots=True)
class Console:
    """What answers, and what each session asked before."""

    data: Data
    _questions: Questions | None = None
    _over: tuple[str, tuple[Path, ...]] | None = None
    _asked: float = 0.0
    _sealed: float = -SEAL_SECONDS
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _histories: dict[str, deque[str]] = field(default_factory=dict)
    _closing: asyncio.Task[None] | None = None

    async def ask(self, sql: str, over: str, *, max_rows: int) -> Rows:
        """Run one SELECT over what arrived in a range. Raises ToolError, in words for who asked."""
        async with self._lock:
            questions = await self._open(over)
            self._asked = time.monotonic()
            return await questions.select(sql, max_rows=max_rows, max_bytes=MAX_BYTES, extra=False)

    async def _open(self, over: str) -> Questions:
        segments, start_ns = await self.data.blocking(self._segments, over)
        if self._questions is None or self._over != (over, segments):
            await self._end()
            folder = self.data.directory / "cache" / "console"
            options = {"start_ns": start_ns}
            self._questions = Questions(segments, options, folder, threads=self.data.settings.store.threads)
            self._over = (over, segments)
        if self._closing is None or self._closing.done():
            self._closing = asyncio.create_task(self._close_idle())
        return self._questions

    def _segments(self, over: str) -> tuple[tuple[Path, ...], int | None]:
        """Return the segments to read, after asking a receiver to seal what it has."""
        if time.monotonic() - self._sealed >= SEAL_SECONDS:
            self._sealed = time.monotonic()
            freshness.refresh(self.data.settings)
        seconds = RANGES[over]
        start_ns = None if seconds is None else self.data.clock() - seconds * SECOND
        directory = self.data.directory / "segments"
        current, damaged = manifest.current(directory)
        held = [directory / entry.name for entry in current if entry.may_hold(start_ns, None)]
        return (*held, *damaged), start_ns

    async def _close_idle(self) -> None:
        while time.monotonic() - self._asked < IDLE_SECONDS:
            await asyncio.sleep(IDLE_SECONDS / 10)
        async with self._lock:
            await self._end()

    async def _end(self) -> None:
        if self._questions is not None:
            await self._questions.close()
        self._questions, self._over = None, None

    async def close(self) -> None:
        """End the process."""
        if self._closing is not None:
            self._closing.cancel()
        await self._end()

    def remember(self, session: str, sql: str) -> None:
        """Keep a statement in the history of a session, newest first."""
        kept = self._histories.pop(session, deque(maxlen=HISTORY))
        if sql in kept:
            kept.remove(sql)
        kept.appendleft(sql)
        self._histories[session] = kept
        while len(self._histories) > SESSIONS:
            self._histories.pop(next(iter(self._histories)))

    def history(self, session: str) -> Sequence[str]:
        """Return what a session asked before, newest first."""
        return list(self._histories.get(session, ()))


def schema() -> dict[str, list[tuple[str, str]]]:
    """Return the columns of each view, with what they mean."""
    text = resources.files("halo_receiver.store").joinpath("columns.toml").read_text(encoding="utf-8")
    views = tomllib.loads(text.replace("`", ""))
    return {
        view: [(name, says) for name, says in columns.items() if name != "about"]
        for view, columns in views.items()
        if isinstance(columns, dict)
    }

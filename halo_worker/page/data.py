"""What every view of the page is written from: the settings, what was published, and threads for what blocks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web

from halo_worker import run
from halo_worker.config import Settings
from halo_worker.report.archive import Archive

Result = TypeVar("Result")

THREADS = 4  # that read files and DuckDB; the event loop never does


@dataclass(slots=True)
class Data:
    """One data directory, as the page sees it."""

    settings: Settings
    archive: Archive
    clock: Callable[[], int] = time.time_ns
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(THREADS, "page"))

    @classmethod
    def of(cls, settings: Settings) -> Data:
        """Take the data directory that the settings name."""
        return cls(settings, Archive(run.reports_dir(settings)))

    @property
    def directory(self) -> Path:
        """The data directory."""
        return self.settings.store.data_dir

    async def blocking(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """Do what reads files or DuckDB on a thread of the pool, and return what it returns."""
        return await asyncio.get_running_loop().run_in_executor(self.pool, work, *arguments)


DATA = web.AppKey("data", Data)

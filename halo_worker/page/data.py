"""What every view of the page is written from: the settings, what was published, and threads for what blocks.

Reports are read again only when they change. What is kept of them is small: a line for the list, and the issue memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from aiohttp import web
from markupsafe import Markup

from halo_worker import issues
from halo_worker.config import Settings
from halo_worker.display import is_loopback
from halo_worker.errors import HaloError
from halo_worker.page.lake_traces import LakeTraces
from halo_worker.report import headline
from halo_worker.report.archive import Archive
from halo_worker.report.decisions import Decisions
from halo_worker.report.memory import IssueMemory, order
from halo_worker.report.model import Report

Result = TypeVar("Result")

THREADS = 4  # that read files and DuckDB; the event loop never does
NEWEST = 50  # reports that are read before anybody asks
MAX_LINES = 5000  # of the list of reports that are kept


@dataclass(frozen=True, slots=True)
class Line:
    """A report as the list shows it; times are unix nanoseconds."""

    id: str
    schedule: str | None
    start: int
    end: int
    says: str
    prompt: str | None
    status: str
    findings: int
    traces: int
    affected: int


@dataclass(frozen=True, slots=True)
class Written:
    """A report as its page shows it, and when its file was written."""

    id: str
    stamp: int
    title: str
    body: Markup


class PageLinks:
    """Addresses on the page itself, unless the settings name a team's own tools."""

    def __init__(self, settings: Settings) -> None:
        self._own = settings.links

    def to_trace(self, trace_id: str, span_id: str = "") -> str | None:
        """Return the address of a trace, or of its span."""
        return self._own.to_trace(trace_id, span_id) or trace_path(trace_id, span_id)

    def to_issue(self, issue_id: str) -> str | None:
        """Return the address of an issue: always ours, which has the actions."""
        return f"/issues/{quote(issue_id, safe='')}"


def trace_path(trace_id: str, span_id: str = "") -> str:
    """Return the place of a trace on the page; ids of imported files may be anything."""
    return f"/traces/{quote(trace_id, safe='')}" + (f"?span={quote(span_id, safe='')}" if span_id else "")


@dataclass(slots=True)
class Data:
    """One data directory, as the page sees it."""

    settings: Settings
    options: tuple[str, ...] = ()  # of the command line, with which other commands see the same
    clock: Callable[[], int] = time.time_ns
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(THREADS, "page"))
    lake: LakeTraces = field(init=False)
    written: dict[str, Written] = field(default_factory=dict)  # a few, the last that were asked for
    _lines: dict[str, tuple[int, Line]] = field(default_factory=dict)  # with when each report was written
    _memory: IssueMemory | None = None
    _memory_of: dict[str, int] = field(default_factory=dict)  # the reports it is made of, the same
    _decided: tuple[int, int] = (0, 0)
    _reading: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.lake = LakeTraces(self.settings.lake)

    @property
    def directory(self) -> Path:
        """The data directory."""
        return self.settings.store.data_dir

    def folder(self, run_id: str) -> Path | None:
        """Return where a report lies, for links that open a coding agent: only a viewer on this machine has it."""
        here = is_loopback(f"http://{self.settings.page.endpoint}") and not self.settings.page.behind_tls_proxy
        return (self.archive.directory / run_id).absolute() if here else None

    @property
    def archive(self) -> Archive:
        """The published reports; what it reads it forgets with itself."""
        return issues.archive(self.settings)

    async def blocking(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """Do what reads files or DuckDB on a thread of the pool, and return what it returns."""
        return await asyncio.get_running_loop().run_in_executor(self.pool, work, *arguments)

    def lines(self, ids: list[str]) -> list[Line]:
        """Return reports of these ids as the list shows them; what cannot be read is left out."""
        stamps, found = self.archive.stamps_of(ids), []
        for run_id, stamp in stamps.items():
            known = self._lines.get(run_id)
            if known is None or known[0] != stamp:
                reports, _ = self.archive.reports_of([run_id])
                if not reports:
                    continue
                known = self._lines[run_id] = stamp, _line(reports[0])
                while len(self._lines) > MAX_LINES:
                    self._lines.pop(next(iter(self._lines)))
            found.append(known[1])
        return found

    def memory(self) -> IssueMemory:
        """Return the issues, as the last schedule to see each sees it."""
        with self._reading:
            archive = self.archive
            stamps = archive.stamps_of(archive.ids()[: issues.REMEMBERED])
            decided = self._stamp()
            if self._memory is None:
                self._memory = issues.open_memory(archive)
            elif stamps != self._memory_of:
                self._memory = self._extended(self._memory, archive, stamps) or issues.open_memory(archive)
            elif self._decided != decided:
                self._memory = self._memory.extended([], archive.decisions.read())
            self._memory_of, self._decided = stamps, decided
            return self._memory

    def _extended(self, memory: IssueMemory, archive: Archive, stamps: dict[str, int]) -> IssueMemory | None:
        """Return the issues with the reports that came; None where others changed, or are no newer.

        The oldest leave `stamps` as newer ones come; what they told stays until the page starts again.
        """
        kept = {run_id: stamp for run_id, stamp in self._memory_of.items() if run_id >= min(stamps, default="")}
        if any(stamps.get(run_id) != stamp for run_id, stamp in kept.items()):
            return None
        came, _ = archive.reports_of(run_id for run_id in stamps if run_id not in kept)
        if any(order(report) <= memory.last for report in came):
            return None
        return memory.extended(came, archive.decisions.read())

    def read_ahead(self) -> None:
        """Read the issues and the newest reports, so that the first view finds them read. What fails is said there."""
        with contextlib.suppress(HaloError, OSError):
            self.memory()
            self.lines(self.archive.ids()[:NEWEST])

    def _stamp(self) -> tuple[int, int]:
        """Say which state the decisions are in."""
        try:
            status = Decisions(issues.reports_dir(self.settings)).path.stat()
        except OSError:
            return 0, 0
        return status.st_mtime_ns, status.st_size


def _line(report: Report) -> Line:
    totals = report.totals
    return Line(
        report.id, report.schedule, report.window.start, report.window.end, headline.headline(report), report.prompt,
        report.status, len(report.findings), totals.traces, totals.affected_traces,
    )  # fmt: skip


DATA = web.AppKey("data", Data)

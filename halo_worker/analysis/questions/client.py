"""Ask the window from the event loop: a few processes, each question with its rows, bytes and time bounded."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from halo_receiver import child_processes
from halo_receiver.store.reader import Reader
from halo_worker.analysis.questions.process import GRACE_SECONDS, LENGTH
from halo_worker.rlm.tool import ToolError

PROCESSES = 2  # at most; started when they are needed
SECONDS = 20.0  # of one question
MAX_ROWS = 10_000
MAX_BYTES = 8 * 2**20
MEMORY_BYTES = 512 * 2**20  # of DuckDB in one process
ADDRESS_SPACE = 3 * 2**30  # of one process; libraries and threads reserve more than they use
TEMP_BYTES = 2 * 2**30  # of disk for what does not fit into memory
OPEN_SECONDS = 300.0
WINDOW = "window"  # folder of links to the segments, in the temporary directory


class QuestionError(ToolError):
    """A question that has no answer. `said`: DuckDB's own words, which show the place in the SQL; empty if not its."""

    def __init__(self, message: str, said: str = "") -> None:
        super().__init__(message)
        self.said = said


@dataclass(slots=True)
class Rows:
    """Rows as the JSON contract writes them. `more`: there were more than these; `total` how many, where counted."""

    columns: list[str]
    rows: list[dict[str, Any]]
    more: bool = False
    total: int | None = None


@dataclass(slots=True)
class _Child:
    process: asyncio.subprocess.Process
    tables: dict[str, int] = field(default_factory=dict)  # those it has, with their versions

    async def exchange(self, document: dict[str, Any]) -> dict[str, Any]:
        text = orjson.dumps(document)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(LENGTH.pack(len(text)) + text)
        await self.process.stdin.drain()
        head = await self.process.stdout.readexactly(LENGTH.size)
        reply: dict[str, Any] = orjson.loads(await self.process.stdout.readexactly(LENGTH.unpack(head)[0]))
        return reply

    async def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.communicate()  # to the end of its pipes, for a transport must not outlive its loop


def _pinned(segments: Sequence[Path], directory: Path) -> tuple[Path, ...]:
    """Link the window's files, so that merging and retention cannot take them from a process that starts later."""
    directory.mkdir(parents=True, exist_ok=True)
    pinned = []
    for number, path in enumerate(segments):
        link = directory / f"{number}-{path.name}"
        try:
            link.unlink(missing_ok=True)
            link.hardlink_to(path)
        except OSError:  # another disk, or one that knows no links: the file as it lies there
            link = path
        pinned.append(link)
    return tuple(pinned)


@dataclass(slots=True)
class Questions:
    """Answers SQL over one window. Ours comes with parameters; a model's is checked first (`select`).

    Nothing a question does reaches this process but its bounded answer. `temp_dir` is theirs alone. Raises ToolError,
    in words for whoever asked.
    """

    segments: Sequence[Path]
    options: dict[str, Any]
    temp_dir: Path
    threads: int = 2
    memory_bytes: int = MEMORY_BYTES
    seconds: float = SECONDS
    prepare: Sequence[str] = ()  # statements of ours, run before a process is locked
    tables: Sequence[str] = ()  # that they make, and a model's SQL may name
    _idle: list[_Child] = field(default_factory=list)
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PROCESSES))
    restarts: int = 0
    _given: dict[str, tuple[int, dict[str, Any]]] = field(default_factory=dict)  # of `set_table`, with versions

    @classmethod
    def of(cls, reader: Reader, temp_dir: Path, *, threads: int = 2, segments: Sequence[Path] = ()) -> Questions:
        """Ask the window that a reader has open, or some of its segments alone."""
        options = dict(reader.options)
        if options.get("settle") is not None:
            options["settle"] = asdict(options["settle"])
        options["judged"] = [str(path.absolute()) for path in options.get("judged", ())]
        return cls(_pinned(segments or reader.segments, temp_dir / WINDOW), options, temp_dir, threads=threads)

    async def rows(
        self,
        sql: str,
        parameters: Sequence[Any] = (),
        *,
        max_rows: int = MAX_ROWS,
        max_bytes: int = MAX_BYTES,
        count: bool = False,
    ) -> Rows:
        """Run SQL of ours."""
        return await self._ask(
            {"sql": sql, "parameters": list(parameters), "max_rows": max_rows, "max_bytes": max_bytes, "count": count}
        )

    async def select(
        self,
        sql: str,
        *,
        within: str | None = None,
        needs: Sequence[str] = (),
        max_rows: int = MAX_ROWS,
        max_bytes: int = MAX_BYTES,
        count: bool = True,
        extra: bool = True,
    ) -> Rows:
        """Run SQL that a model wrote: one SELECT over spans, traces and logs, and with `extra` over the tables of
        `set_table`. `within` is a statement of ours around `{sql}`; `needs` are the columns that the SQL must name."""
        return await self._ask(
            {
                "sql": sql, "guarded": True, "within": within, "needs": list(needs), "max_rows": max_rows,
                "max_bytes": max_bytes, "count": count, "extra": extra,
            }
        )  # fmt: skip

    def set_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[str | None]]) -> None:
        """Give a model's SQL a table of text columns beside the contract's, in the place of an earlier one."""
        values = [[row[number] for row in rows] for number in range(len(columns))]
        version = self._given[name][0] + 1 if name in self._given else 1
        self._given[name] = (version, {"name": name, "columns": list(columns), "values": values})

    async def start(self) -> None:
        """Open the first process ahead of the first question."""
        async with self._slots:
            if not self._idle:
                self._idle.append(await self._open())

    async def close(self) -> None:
        """End the processes, and remove what they left on the disk."""
        while self._idle:
            await self._idle.pop().end()
        await asyncio.to_thread(shutil.rmtree, self.temp_dir, ignore_errors=True)

    async def _ask(self, request: dict[str, Any]) -> Rows:
        async with self._slots:
            child = self._idle.pop() if self._idle else await self._open()
            try:
                reply = await self._exchange(child, request)
            except (TimeoutError, asyncio.IncompleteReadError, OSError):
                await child.end()
                self.restarts += 1
                raise ToolError(
                    f"the question took more than {self.seconds:.0f} s or more memory than one may: ask less at once "
                    "(filter by time, agent or name; count before listing; no cross joins)"
                ) from None
            except BaseException:  # cancelled: what the process still answers belongs to nobody
                await child.end()
                raise
            self._idle.append(child)
        if reply.get("late"):
            raise ToolError(f"the question took more than {self.seconds:.0f} s: filter, or count before listing")
        if reply.get("error"):
            hint = f"; {reply['hint']}" if reply.get("hint") else ""
            raise QuestionError(f"{reply['error']}{hint}", reply.get("said") or "")
        return Rows(reply["columns"], reply["rows"], reply["more"], reply.get("total"))

    async def _exchange(self, child: _Child, request: dict[str, Any]) -> dict[str, Any]:
        patience = self.seconds + 2 * GRACE_SECONDS
        for name, (version, table) in self._given.items() if request.get("extra") else ():
            if child.tables.get(name) != version:
                await asyncio.wait_for(child.exchange({"table": table, "seconds": self.seconds}), patience)
                child.tables[name] = version
        readable = [*self.tables, *(self._given if request.get("extra") else ())]
        asked = {**request, "seconds": self.seconds, "tables": readable}
        return await asyncio.wait_for(child.exchange(asked), patience)

    async def _open(self) -> _Child:
        self.temp_dir.mkdir(parents=True, exist_ok=True)
        process = await child_processes.start_async(
            "halo-questions", "halo_worker.analysis.questions.process",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            env=child_processes.environment(bare=True), start_new_session=True, limit=2**20,
        )  # fmt: skip
        child = _Child(process)
        recipe = {
            "segments": [str(Path(path).absolute()) for path in self.segments],
            "options": {**self.options, "memory_limit": f"{self.memory_bytes}B", "threads": self.threads},
            "address_space": ADDRESS_SPACE,
            "temp_bytes": TEMP_BYTES,
            "prepare": list(self.prepare),
            "temp_dir": str((self.temp_dir / f"{process.pid}").absolute()),
        }
        try:
            reply = await asyncio.wait_for(child.exchange(recipe), OPEN_SECONDS)
        except (TimeoutError, asyncio.IncompleteReadError, OSError) as error:
            await child.end()
            raise ToolError(f"the window cannot be read: {type(error).__name__}") from None
        except BaseException:
            await child.end()
            raise
        if reply.get("error"):
            await child.end()
            raise ToolError(reply["error"])
        return child

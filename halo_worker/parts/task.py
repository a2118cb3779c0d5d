"""What a process does for one part of a window: read it and count, then work it. It is told everything with the call.

Each step can be done again, anywhere: a part whose first step is not on this host, or was taken up by a process that
died, is read anew.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from importlib.metadata import version
from pathlib import Path
from typing import Any

from halo_receiver.config import LakeConfig, load_receiver
from halo_receiver.store import schema
from halo_receiver.store.reader import Reader
from halo_receiver.store.settling import Settle
from halo_worker import elsewhere
from halo_worker.analysis.detectors import parts
from halo_worker.analysis.window_counts import Counts
from halo_worker.config import load_settings
from halo_worker.config_sources import SourceConfig
from halo_worker.source.clickhouse import without_password
from halo_worker.window import Window

COUNTED, WORKED = "counted.duckdb", "worked.duckdb"  # a part's tables after each step


class PartFailed(Exception):  # noqa: N818 - reads as what it says
    """A part could not be worked; why, in a line."""


@dataclass(frozen=True, slots=True)
class Segments:
    """A source: segments that every process can open. `apart`: there is one for each part, which holds it alone."""

    paths: tuple[Path, ...]
    apart: bool = False

    def sent(self) -> Segments:
        """Return what another host is told of it."""
        return self


@dataclass(frozen=True, slots=True)
class Lake:
    """A source: a window of the lake. Without a catalog in `config`, the process takes its own settings."""

    config: LakeConfig
    start_ns: int
    end_ns: int
    settle: Settle | None = None

    def sent(self) -> Lake:
        """Return it without the catalog's words, which may hold a password."""
        return replace(self, config=self.config.model_copy(update={"catalog": None}))


@dataclass(frozen=True, slots=True)
class Table:
    """A source: a window of a table of ClickHouse. Without a password, the process takes its own."""

    config: SourceConfig
    window: Window
    now_ns: int

    def sent(self) -> Table:
        """Return it without its password."""
        url = without_password(self.config.url.get_secret_value())
        fields = {**self.config.model_dump(), "url": url, "password": None}
        return replace(self, config=type(self.config).model_validate(fields))


Source = Segments | Lake | Table


@dataclass(frozen=True, slots=True)
class Task:
    """One part of a window. `name`: of the folder that all parts have below the temporary directory."""

    name: str
    source: Source
    number: int
    of: int
    versions: tuple[tuple[str, str], ...]
    only: str | None = None
    mute: frozenset[str] = frozenset()
    memory_limit: str = "1GiB"
    threads: int = 1


@dataclass(frozen=True, slots=True)
class Part:
    """What a step made: files in `folder`, on the host of the process. `worker`: its address in a cluster.

    `rejected`: spans of the source without usable ids, which are in no segment.
    """

    folder: Path
    segments: tuple[Path, ...]
    spans: int
    counts: Counts
    worker: str = ""
    rejected: int = 0

    @property
    def tables(self) -> Path:
        """The tables of a part that is worked."""
        return self.folder / WORKED


def versions() -> tuple[tuple[str, str], ...]:
    """Return what must be the same in every process: hashes and tables are of exactly these."""
    return (
        ("halo", version("halo-otel")), ("DuckDB", version("duckdb")), ("schema", str(schema.SCHEMA_VERSION)),
    )  # fmt: skip


def unlike(found: tuple[tuple[str, str], ...], expected: tuple[tuple[str, str], ...]) -> str:
    """Say in which versions a process differs; empty where in none."""
    return ", ".join(
        f"{name} {here} instead of {there}"
        for (name, here), (_, there) in zip(found, expected, strict=True)
        if here != there
    )


def _told(step: Callable[..., Part]) -> Callable[..., Part]:
    """Have a step say what went wrong as PartFailed, which every process can read."""

    @wraps(step)
    def told(task: Task, *args: Any) -> Part:
        if differs := unlike(versions(), task.versions):
            raise PartFailed(f"a worker has {differs}")
        try:
            return step(task, *args)
        except Exception as error:  # noqa: BLE001 - one part must not cost the others
            raise PartFailed(" ".join(str(error).split())[:400] or type(error).__name__) from None

    return told


@_told
def count(task: Task) -> Part:
    """Read a part into a folder of its own, and count what the whole window is told by."""
    return _count(task)


def _count(task: Task) -> Part:
    folder = home(task.name) / f"{task.number}-{secrets.token_hex(4)}"
    folder.mkdir(parents=True, mode=0o700)
    try:
        segments, rejected = _segments(task, folder)
        with _reader(task, segments, folder / COUNTED) as reader:
            counts = parts.count(reader)
            spans = reader.query("SELECT count(*) AS n FROM _s")[0]["n"]
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Part(folder, segments, spans, counts, _worker(), rejected)


@_told
def work(task: Task, part: Part, counts: Counts) -> Part:
    """Make the tables of a part, and have its detectors look; it is read anew where its folder is not here."""
    try:
        (part.folder / COUNTED).rename(part.tables)  # no other process takes it up
    except FileNotFoundError:
        part = _count(task)
        (part.folder / COUNTED).rename(part.tables)
    with _reader(task, part.segments, part.tables) as reader:
        parts.work(reader, counts, task.mute)
    return replace(part, counts={}, worker=_worker())


def read(path: Path, offset: int, size: int) -> bytes:
    """Return some bytes of a part's file, for a host that cannot open it."""
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(size)


def home(name: str) -> Path:
    """Return the folder of the parts of a window on this host."""
    return Path(tempfile.gettempdir()) / name


def clean(name: str) -> None:
    """Remove what the parts of a window left on this host."""
    shutil.rmtree(home(name), ignore_errors=True)


def _reader(task: Task, segments: tuple[Path, ...], keep: Path) -> Reader:
    only = task.only
    if isinstance(task.source, Segments) and not task.source.apart:
        mine = f"hash(trace_id) % {task.of} = {task.number}"
        only = f"({only}) AND {mine}" if only else mine
    return Reader(segments, only=only, keep=keep, memory_limit=task.memory_limit, threads=task.threads)


def _segments(task: Task, folder: Path) -> tuple[tuple[Path, ...], int]:
    """Return the segments that hold a part, and how many of its spans could not be taken."""
    source = task.source
    if isinstance(source, Segments):
        return (source.paths[task.number : task.number + 1] if source.apart else source.paths), 0
    if isinstance(source, Table):
        mine = (task.number, task.of)
        copied = elsewhere.copy(_with_password(source.config), source.window, folder, now_ns=source.now_ns, part=mine)
        return tuple(copied.segments), copied.rejected
    from halo_receiver.store import lake_reader  # and DuckLake with it, which only a lake needs

    span = lake_reader.Span(source.start_ns, source.end_ns, source.settle, task.number, task.of)
    limits: dict[str, Any] = {"memory_limit": task.memory_limit, "threads": task.threads}
    return tuple(lake_reader.pull(_lake(source.config), span, folder, **limits).segments), 0


def _with_password(config: SourceConfig) -> SourceConfig:
    return config if config.password else config.model_copy(update={"password": load_settings().clickhouse_password})


def _lake(config: LakeConfig) -> LakeConfig:
    """Return the lake with this process's own words for its catalog, where they were not sent."""
    if config.on:
        return config
    mine = load_receiver()[3]
    if not mine.on or mine.data != config.data:
        raise PartFailed(
            f"the lake {config.data} is not set on {os.uname().nodename}: HALO_LAKE_CATALOG, HALO_LAKE_DATA"
        )
    return mine


def _worker() -> str:
    distributed = sys.modules.get("distributed")
    try:
        return str(distributed.get_worker().address) if distributed else ""
    except ValueError:  # a process that is no worker of a cluster
        return ""

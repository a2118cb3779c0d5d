"""A window in parts, from its source to one set of tables: counts first, then each part, then all of them as one."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from halo_worker import elsewhere
from halo_worker.analysis import window_counts
from halo_worker.analysis.detectors import Prepare
from halo_worker.analysis.detectors.parts import joined
from halo_worker.config_cluster import ClusterConfig
from halo_worker.errors import StoreError
from halo_worker.parts import task as tasks
from halo_worker.parts.engines import RETRIES, Calls, Engine, Found, opened
from halo_worker.parts.task import Part, PartFailed, Task

MIN_MEMORY = 256 * 2**20  # of one process


@dataclass(frozen=True, slots=True)
class Limits:
    """What the processes of this host may use together."""

    memory_bytes: int = 2 * 2**30
    threads: int = 2


@dataclass(frozen=True, slots=True)
class Worked:
    """The parts of a window: segments that this host can open (none where they are elsewhere), what makes their tables
    those of the window, and what was not read."""

    segments: list[Path]
    prepare: Prepare
    problems: list[str] = field(default_factory=list)


@contextmanager
def worked(
    config: ClusterConfig,
    source: tasks.Source,
    of: int,
    limits: Limits,
    *,
    step: Callable[[str], None] = lambda _: None,
    interrupted: Callable[[], bool] = lambda: False,
    **options: Any,
) -> Iterator[Worked]:
    """Work a window in `of` parts; what they made is removed at the end. `options` are those of `Task`.

    Raises ConfigError where the cluster cannot be used, StoreError where no part could be read, and Interrupted.
    """
    name = f"halo-parts-{secrets.token_hex(8)}"
    workers = min(of, config.workers or limits.threads)
    shared = 1 if config.scheduler else workers
    source = source.sent() if config.scheduler else source
    every = [
        Task(
            name, source, number, of, tasks.versions(), threads=max(1, limits.threads // shared),
            memory_limit=f"{max(MIN_MEMORY, limits.memory_bytes // shared)}B", **options,
        )
        for number in range(of)
    ]  # fmt: skip
    with opened(config, name, workers, interrupted) as engine:
        yield _worked(engine, every, step)


def _worked(engine: Engine, every: list[Task], step: Callable[[str], None]) -> Worked:
    def told(doing: str) -> Callable[[int], None]:
        done = set[int]()

        def tell(number: int) -> None:
            done.add(number)
            step(f"{doing}: {len(done)} of {len(every)} parts")

        return tell

    counted = engine.run(tasks.count, {task.number: (task,) for task in every}, told("reading"))
    parts = _parts(counted)
    counts = window_counts.merged(part.counts for part in parts.values())
    calls = {number: (every[number], part, counts) for number, part in parts.items()}
    folder = tasks.home(every[0].name)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = engine.run(tasks.work, calls, told("detectors"))
    files = _brought(engine, calls, found, folder)
    engine.let_go()  # what is done with the tables of all parts needs the memory
    done = _parts(found)
    problems = [_unread(task, counted, found) for task in every if task.number not in done]
    problems += elsewhere.left_out(sum(part.rejected for part in done.values()))
    if not done:
        raise StoreError(f"no part of the window could be read: {problems[0]}")
    segments = list(dict.fromkeys(path for _, part in sorted(done.items()) for path in part.segments))
    here = segments if all(path.exists() for path in segments) else []
    return Worked(here, joined([file for _, file in sorted(files.items())]), problems)


def _brought(engine: Engine, calls: Calls, found: Found, folder: Path) -> dict[int, Path]:
    """Bring the tables of all parts here. A part whose worker went away with them is worked again, elsewhere."""
    files: dict[int, Path] = {}
    missing = _parts(found)
    for attempt in range(1 + RETRIES):
        if attempt and missing:
            found |= engine.run(tasks.work, {number: calls[number] for number in missing}, lambda _: None)
            missing = {number: part for number, part in _parts(found).items() if number in missing}
        for number, part in list(missing.items()):
            try:
                files[number] = engine.bring(part, folder)
                del missing[number]
            except Exception as error:  # noqa: BLE001 - a cluster that lost a worker says so in many ways
                found[number] = PartFailed(" ".join(str(error).split())[:400] or type(error).__name__)
    return files


def _parts(found: Found) -> dict[int, Part]:
    return {number: part for number, part in found.items() if isinstance(part, Part)}


def _unread(task: Task, counted: Found, found: Found) -> str:
    before = counted[task.number]
    why = before if isinstance(before, Exception) else found[task.number]
    size = f" ({before.spans:,} spans)" if isinstance(before, Part) else ""
    return f"part {task.number + 1} of {task.of} of the window{size} was not read: {why}"

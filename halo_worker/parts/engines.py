"""Where parts are worked: a pool of processes on this host, or the workers of a Dask cluster.

Both run the same functions through `concurrent.futures`, and do again what fails or dies.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, Executor, Future, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from halo_receiver import child_processes
from halo_worker.config_cluster import ClusterConfig
from halo_worker.errors import ConfigError, HaloError, Interrupted
from halo_worker.parts.task import Part, PartFailed, clean, read, unlike, versions

NAME = "halo-part"
RETRIES = 2  # of one step of one part, after the first time
CONNECT_SECONDS = 20
AWAY_SECONDS = 60.0  # without any worker, after which a cluster is given up
LOOK_SECONDS = 1.0
CHUNK_BYTES = 32 * 2**20  # of a file that is brought here

Step = Callable[..., Part]
Calls = Mapping[int, tuple[Any, ...]]  # arguments of a step by the number of the part
Found = dict[int, Part | Exception]
Asked = Callable[[], bool]  # whether the run was asked to end


def _never() -> bool:
    return False


class Engine(Protocol):
    """What runs one step of many parts, and keeps what they made until it is closed."""

    def run(self, step: Step, calls: Calls, done: Callable[[int], None]) -> Found:
        """Run a step for each part; `done` is told the number of those that are. No part costs the others."""
        ...

    def bring(self, part: Part, folder: Path) -> Path:
        """Return the tables of a part as a file that this host can open. Raises what it may where they are gone."""
        ...

    def close(self, name: str) -> None:
        """Remove what parts made, and let go of the processes."""
        ...


@contextmanager
def opened(config: ClusterConfig, name: str, workers: int, interrupted: Asked = _never) -> Iterator[Engine]:
    """Open what `[cluster]` names; `workers`: of a pool on this host. Raises ConfigError where no cluster answers.

    Its steps raise Interrupted within a second or two after `interrupted`.
    """
    engine: Engine = Cluster(config.scheduler, interrupted) if config.scheduler else Local(workers, interrupted)
    try:
        yield engine
    finally:
        engine.close(name)


class Local:
    """Processes of this host, started as safely as every child."""

    def __init__(self, workers: int, interrupted: Asked = _never) -> None:
        self._pool = child_processes.pool(NAME, workers)
        self._interrupted = interrupted

    def run(self, step: Step, calls: Calls, done: Callable[[int], None]) -> Found:
        """Run a step for each part."""
        found = _gathered(_submitted(self._pool, step, calls), done, self._interrupted)
        for _ in range(RETRIES):
            # One after another: a process that dies takes along what the others of its pool do.
            for number in [number for number, one in found.items() if isinstance(one, Exception)]:
                alone = child_processes.pool(NAME, 1)
                try:
                    found |= _gathered(_submitted(alone, step, {number: calls[number]}), done, self._interrupted)
                finally:
                    child_processes.end(alone)
        return found

    def bring(self, part: Part, folder: Path) -> Path:
        """Return the tables of a part where they are."""
        return part.tables

    def close(self, name: str) -> None:
        """End the processes, and remove what parts made."""
        child_processes.end(self._pool)
        clean(name)


class Cluster:
    """The workers of a Dask scheduler. They must have the versions of this host."""

    def __init__(self, address: str, interrupted: Asked = _never) -> None:
        self._interrupted = interrupted
        try:
            from distributed import Client
        except ImportError:
            raise ConfigError(
                "[cluster] scheduler needs Dask, which is not installed", hint="pip install 'halo-otel[cluster]'"
            ) from None
        try:
            self._client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise ConfigError(
                f"the scheduler {address} does not answer: {' '.join(str(error).split())[:200]}",
                hint="start it with 'dask scheduler', or leave [cluster] scheduler empty to work on this host",
            ) from None
        try:
            self._compare(address)
        except BaseException:
            self._client.close()
            raise

    def _compare(self, address: str) -> None:
        """Refuse workers of other versions: their hashes of traces, and their tables, may be others."""
        try:
            found = self._client.run(versions)
        except Exception as error:  # noqa: BLE001 - whatever a worker raises that cannot import halo
            raise ConfigError(
                f"a worker of {address} cannot run halo: {' '.join(str(error).split())[:200]}",
                hint="install the same halo-otel[cluster,lake] on every worker",
            ) from None
        if not found:
            raise ConfigError(f"the scheduler {address} has no workers", hint=f"start some: dask worker {address}")
        expected = versions()
        for worker, theirs in sorted(found.items()):
            if differs := unlike(theirs, expected):
                raise ConfigError(
                    f"the worker {worker} has {differs}", hint="install the same versions on all hosts of the cluster"
                )

    def run(self, step: Step, calls: Calls, done: Callable[[int], None]) -> Found:
        """Run a step for each part, where it was worked before if that worker is still there."""
        executor = self._client.get_executor(pure=False, retries=RETRIES)
        return _gathered(_submitted(executor, step, calls, at=True), done, self._interrupted, self._away)

    def _away(self) -> bool:
        try:
            return not self._client.nthreads()
        except Exception:  # noqa: BLE001 - a scheduler that is gone says so in many ways
            return True

    def bring(self, part: Part, folder: Path) -> Path:
        """Return the tables of a part: where they are, or fetched from the host of its worker."""
        if part.tables.exists():
            return part.tables
        file = folder / f"{part.folder.name}.duckdb"
        with file.open("wb") as target:
            while chunk := self._read(part, target.tell()):
                target.write(chunk)
        return file

    def _read(self, part: Part, offset: int) -> bytes:
        if part.worker not in self._client.scheduler_info(n_workers=-1)["workers"]:
            raise PartFailed(f"the worker {part.worker} went away with it")
        asked = self._client.submit(read, part.tables, offset, CHUNK_BYTES, workers=[part.worker], pure=False)
        return bytes(asked.result(timeout=AWAY_SECONDS))

    def close(self, name: str) -> None:
        """Remove what parts made, here and on the workers, and let go of the cluster."""
        try:
            self._client.run(clean, name, on_error="ignore")
        except (OSError, TimeoutError, HaloError):
            pass
        finally:
            clean(name)
            self._client.close()


def _submitted(executor: Executor, step: Step, calls: Calls, *, at: bool = False) -> dict[Future[Part], int]:
    futures = {}
    for number, arguments in calls.items():
        before = next((one.worker for one in arguments if isinstance(one, Part)), "")
        there = {"workers": [before], "allow_other_workers": True} if at and before else {}
        try:
            futures[executor.submit(step, *arguments, **there)] = number
        except BrokenExecutor as error:  # a process died before
            futures[_failed(error)] = number
    return futures


def _failed(error: Exception) -> Future[Part]:
    future = Future[Part]()
    future.set_exception(error)
    return future


def _gathered(
    futures: dict[Future[Part], int], done: Callable[[int], None], interrupted: Asked, away: Asked = _never
) -> Found:
    """Wait for all; where there is nobody to do them for a while, what is left is given up. Raises Interrupted."""
    found: Found = {}
    waiting, seen = set(futures), time.monotonic()
    while waiting:
        ready, waiting = wait(waiting, LOOK_SECONDS, return_when="FIRST_COMPLETED")
        for future in ready:
            number = futures[future]
            error = PartFailed("it was cancelled") if future.cancelled() else future.exception()
            found[number] = future.result() if error is None else _as_exception(error)
            if error is None:
                done(number)
        if interrupted():
            for future in waiting:
                future.cancel()
            raise Interrupted(
                f"interrupted, with {len(found)} of {len(futures)} parts of the window done: nothing is published",
                hint="the next run works the window anew",
            )
        if ready or not away():
            seen = time.monotonic()
        elif time.monotonic() - seen > AWAY_SECONDS:
            for future in waiting:
                future.cancel()
                found[futures[future]] = PartFailed("no worker of the cluster answers")
            return found
    return found


def _as_exception(error: BaseException) -> Exception:
    return error if isinstance(error, Exception) else PartFailed(str(error) or type(error).__name__)

"""The server's side of the loader: start it, watch it, start it again, ask it to seal."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from typing import Any

from halo_receiver import child_processes
from halo_receiver.config import LakeConfig, ReceiverConfig, StoreConfig
from halo_receiver.errors import HaloError
from halo_receiver.logs import event
from halo_receiver.metrics import Metrics
from halo_receiver.spool import Position
from halo_receiver.tail import Tail

log = logging.getLogger("halo.receiver")

SILENT_SECONDS = 15.0  # of a loader that says every second that it lives, after which it is taken to be stopped
STUCK_SECONDS = 300.0  # without getting on, after which it is taken to be stuck; sealing a large segment takes seconds
LOOK_SECONDS = 0.5
RESTART_SECONDS = (0.2, 5.0)  # pause before a start: the first, and the longest after ends without progress
SYNCED_SECONDS = 0.1  # between two words on how far the spool is synced
PIPE_BYTES = 2**16  # unread by the loader, above which it is not told more
CAREFUL_DEATHS = 1  # at a place where one died already, after which a loader is started careful


def loader_settings(
    store: StoreConfig, config: ReceiverConfig, lake: LakeConfig | None = None, *, span_time: bool = False
) -> dict[str, Any]:
    """Return what a loader is told of the settings. The lake's catalog, which may hold a password, goes beside it."""
    return {
        "data_dir": str(store.data_dir.absolute()),
        "log_level": config.log_level,
        "log_format": config.log_format,
        "rotate_seconds": store.rotate_seconds,
        "rotate_bytes": store.rotate_bytes,
        "merge_bytes": store.merge_bytes,
        "memory_limit_bytes": store.memory_limit_bytes,
        "threads": store.threads,
        "retention_days": store.retention_days,
        "retention_bytes": store.retention_bytes,
        "min_free_bytes": config.min_free_bytes,
        "max_request_bytes": config.max_request_bytes,
        "max_attribute_bytes": config.max_attribute_bytes,
        "arrival_is_span_time": span_time,
        "lake": lake.model_dump(mode="json", exclude={"catalog"}) if lake and lake.on else None,
    }


class LoaderGone(Exception):  # noqa: N818
    """The loader cannot do it now; it may later."""


class LoaderClient:
    """One loader process at a time."""

    def __init__(self, settings: dict[str, Any], metrics: Metrics, *, catalog: str | None = None) -> None:
        self._settings = settings
        self._catalog = {"HALO_LAKE_CATALOG": catalog} if catalog else {}
        self._metrics = metrics
        self._process: asyncio.subprocess.Process | None = None
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._next_id = 0
        self._ready = asyncio.Event()
        self._failed: HaloError | None = None
        self._heard = self._moved = time.monotonic()
        self._turn = -1
        self._deaths = 0  # without getting on in between
        self._died_at: Position | None = None
        self._stopping = False
        self._watch: asyncio.Task[None] | None = None
        self._telling: asyncio.Task[None] | None = None
        self.position = Position(0, 0)
        self.synced = Position(0, 0)  # set by the ingest's thread, read here
        self.trouble: str | None = None
        self.counters: dict[str, int] = {}
        self.tail = Tail(self._try_write)

    async def start(self) -> None:
        """Start the loader and wait until it has recovered what a crash left. Raises HaloError when it cannot."""
        self._watch = asyncio.create_task(self._keep_running())
        self._telling = asyncio.create_task(self._tell_synced())
        ready = asyncio.create_task(self._ready.wait())
        await asyncio.wait({ready, self._watch}, return_when=asyncio.FIRST_COMPLETED)
        if not self._ready.is_set():
            ready.cancel()
            self._watch.result()
            raise self._failed or HaloError("the loader did not start", hint="what it said is above")

    @property
    def silent_for(self) -> float:
        """Seconds since the loader last said anything."""
        return time.monotonic() - self._heard

    @property
    def stuck(self) -> bool:
        """Whether it should have said something, or got on, by now."""
        return self.silent_for > SILENT_SECONDS or time.monotonic() - self._moved > STUCK_SECONDS

    def not_ready(self) -> str | None:
        """Say why nothing is loaded now; None when all is well."""
        if self.silent_for > SILENT_SECONDS / 3:
            return f"the loader has been silent for {self.silent_for:.0f} s"
        return self.trouble

    async def _keep_running(self) -> None:
        while not self._stopping:
            started = time.monotonic()
            code = await self._run_once()
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(LoaderGone("the loader ended"))
            self._waiting.clear()
            if self._stopping or (self._failed and not self._ready.is_set()):
                return
            if not self._ready.is_set() and self._deaths >= CAREFUL_DEATHS:
                return
            self._count_death()
            told = {"reason": self._failed} if self._failed else {}
            event(log, "loader ended", level=logging.ERROR, code=code, seconds=time.monotonic() - started, **told)
            self._metrics.loader_restarts.inc()
            self.trouble = str(self._failed or "the loader is being started again")
            first, longest = RESTART_SECONDS
            await asyncio.sleep(min(longest, first * 2 ** min(self._deaths, 10)))

    def _count_death(self) -> None:
        self._deaths = self._deaths + 1 if self._died_at == self.position else 0
        self._died_at = self.position

    async def _run_once(self) -> int:
        """Run one loader to its end; end it when it is stuck."""
        self._heard = self._moved = time.monotonic()
        self.counters = {}
        settings = {**self._settings, "careful": self._deaths >= CAREFUL_DEATHS}
        self._process = process = await child_processes.start_async(
            "halo-loader", "halo_receiver.loader_process", json.dumps(settings),
            env=child_processes.environment(lake=bool(self._catalog)) | self._catalog,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**24,
        )  # fmt: skip
        listening = asyncio.create_task(self._listen(process))
        while not listening.done():
            looked = time.monotonic()
            await asyncio.wait({listening}, timeout=LOOK_SECONDS)
            # A server that was stopped or blocked itself has not heard what the loader said meanwhile.
            blocked = max(0.0, time.monotonic() - looked - 2 * LOOK_SECONDS)
            self._heard, self._moved = self._heard + blocked, self._moved + blocked
            self._metrics.loader_silent.set(self.silent_for)
            self._metrics.loader_lag.set(self._metrics.lag.seconds())
            if self.stuck and not listening.done():
                event(log, "loader stuck", level=logging.ERROR, silent_seconds=self.silent_for)
                self._metrics.loader_stuck.inc()
                process.kill()
                break
        with contextlib.suppress(ValueError):  # a line beyond all bounds: nothing more can be read from it
            await listening
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        return await process.wait()

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            self._heard = time.monotonic()
            try:
                self._hear(json.loads(line))
            except (ValueError, TypeError, KeyError) as error:
                event(log, "loader not understood", level=logging.ERROR, reason=repr(error))

    def _hear(self, message: dict[str, Any]) -> None:
        if message.get("turn", self._turn) != self._turn or message.get("ready"):
            self._turn, self._moved = message.get("turn", -1), self._heard
        if "position" in message:
            self.position = Position(*message["position"])
            self._metrics.lag.loaded(self.position)
        if "trouble" in message:
            self.trouble = message["trouble"]
        if message.get("ready"):
            self.trouble = self._failed = None
            self._ready.set()
            self.tail.loader_started()
        if "told" in message:
            self.tail.hear(message)
        if "failed" in message:
            self._failed = HaloError(message["failed"], hint=message["hint"])
        if "counters" in message:
            for name, value in message["counters"].items():
                self._metrics.loader.labels(name).inc(max(0, value - self.counters.get(name, 0)))
            self.counters = message["counters"]
        if "segments" in message:
            self._metrics.segments.set(message["segments"])
        if "sealed" in message and (future := self._waiting.pop(message["sealed"], None)) and not future.done():
            future.set_result(None)
        if "not_sealed" in message and (future := self._waiting.pop(message["not_sealed"], None)) and not future.done():
            future.set_exception(LoaderGone(message["reason"]))

    async def _tell_synced(self) -> None:
        told: tuple[int, Position] | None = None
        while True:
            await asyncio.sleep(SYNCED_SECONDS)
            process, synced = self._process, self.synced
            if process is None or process.returncode is not None or told == (process.pid, synced):
                continue
            assert process.stdin is not None
            if process.stdin.transport.get_write_buffer_size() > PIPE_BYTES:
                continue  # it does not read: the next word says it all
            self._try_write({"do": "synced", "to": synced})
            told = (process.pid, synced)

    def _write(self, message: dict[str, Any]) -> None:
        if self._process is None or self._process.stdin is None or self._process.returncode is not None:
            raise LoaderGone("the loader is not running")
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
        except (ConnectionError, RuntimeError):
            raise LoaderGone("the loader ended") from None

    def _try_write(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(LoaderGone):
            self._write(message)

    async def seal(self, until: Position, *, timeout: float) -> None:
        """Have everything before a spool position in sealed segments, also when the loader has to be started again.

        Raises LoaderGone or TimeoutError when that is not so in time.
        """
        deadline = time.monotonic() + timeout
        while True:
            try:
                await asyncio.wait_for(self._seal(until), deadline - time.monotonic())
            except LoaderGone:
                if time.monotonic() + LOOK_SECONDS > deadline:
                    raise
                await asyncio.sleep(LOOK_SECONDS)
            else:
                return

    async def _seal(self, until: Position) -> None:
        self._next_id += 1
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._write({"do": "seal", "id": self._next_id, "until": until})
        self._waiting[self._next_id] = done
        await done

    async def stop(self, until: Position | None, *, timeout: float) -> bool:
        """Load what is left up to a position, seal and end; without one, seal what was read.

        False when that took too long: the spool keeps what is not loaded.
        """
        self._stopping = True
        if self._telling is not None:
            self._telling.cancel()
        process = self._process
        if process is None:
            return True
        try:
            self._write({"do": "stop"} | ({"until": until} if until else {}))
            await asyncio.wait_for(process.wait(), timeout)
        except (LoaderGone, TimeoutError):
            if process.returncode is None:
                process.kill()
            return False
        finally:
            if self._watch is not None:
                await asyncio.wait({self._watch}, timeout=5)
        return process.returncode == 0

"""The server's side of the loader: start it, watch it, start it again, ask it to seal."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from typing import Any

from halo_receiver.logs import event
from halo_receiver.metrics import Metrics
from halo_receiver.spool import Position

log = logging.getLogger("halo.receiver")

SILENT_SECONDS = 30.0  # of a loader with work to do, after which it is taken to be stuck
RESTART_SECONDS = 1.0


class LoaderGone(Exception):  # noqa: N818
    """The loader cannot answer now; it is being started again."""


class LoaderClient:
    """One loader process at a time."""

    def __init__(self, settings: dict[str, Any], metrics: Metrics, *, silent_seconds: float = SILENT_SECONDS) -> None:
        self._settings = settings
        self._metrics = metrics
        self._silent_seconds = silent_seconds
        self._process: asyncio.subprocess.Process | None = None
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._next_id = 0
        self._ready = asyncio.Event()
        self._heard = time.monotonic()
        self._stopping = False
        self._watch: asyncio.Task[None] | None = None
        self.position = Position(0, 0)
        self.trouble: str | None = None
        self.counters: dict[str, int] = {}

    async def start(self) -> None:
        """Start the loader and wait until it has recovered what a crash left."""
        self._watch = asyncio.create_task(self._keep_running())
        ready = asyncio.create_task(self._ready.wait())
        await asyncio.wait({ready, self._watch}, return_when=asyncio.FIRST_COMPLETED)
        if not self._ready.is_set():
            ready.cancel()
            self._watch.result()

    @property
    def silent_for(self) -> float:
        """Seconds since the loader last said anything."""
        return time.monotonic() - self._heard

    @property
    def stuck(self) -> bool:
        """Whether it should have said something by now."""
        return self.silent_for > self._silent_seconds

    async def _keep_running(self) -> None:
        while not self._stopping:
            self._heard = time.monotonic()
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "halo_receiver.loader", json.dumps(self._settings),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**20,
            )  # fmt: skip
            listening = asyncio.create_task(self._listen(self._process))
            while not listening.done():
                await asyncio.wait({listening}, timeout=0.5)
                self._metrics.loader_lag.set(self.silent_for)
                if self.stuck and not listening.done():
                    event(log, "loader stuck", level=logging.ERROR, silent_seconds=self.silent_for)
                    self._process.kill()
                    break
            await listening
            code = await self._process.wait()
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(LoaderGone("the loader ended"))
            self._waiting.clear()
            if not self._stopping:
                event(log, "loader ended", level=logging.ERROR, code=code)
                self._metrics.loader_restarts.inc()
                self.trouble = "the loader is being started again"
                await asyncio.sleep(RESTART_SECONDS)

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            self._heard = time.monotonic()
            try:
                message = json.loads(line)
            except ValueError:
                continue
            if "position" in message:
                self.position = Position(*message["position"])
            if "trouble" in message:
                self.trouble = message["trouble"]
            if message.get("ready"):
                self.trouble = None
                self._ready.set()
            if "counters" in message:
                self.counters = message["counters"]
                for name, value in self.counters.items():
                    self._metrics.loader.labels(name).set(value)
            if "segments" in message:
                self._metrics.segments.set(message["segments"])
            if "sealed" in message and (future := self._waiting.pop(message["sealed"], None)) and not future.done():
                future.set_result(None)

    async def _send(self, message: dict[str, Any]) -> None:
        if self._process is None or self._process.stdin is None or self._process.returncode is not None:
            raise LoaderGone("the loader is not running")
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            await self._process.stdin.drain()
        except (ConnectionError, RuntimeError):
            raise LoaderGone("the loader ended") from None

    async def seal(self, until: Position, *, timeout: float) -> None:
        """Have everything before a spool position in sealed segments. Raises LoaderGone or TimeoutError."""
        self._next_id += 1
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[self._next_id] = done
        await self._send({"do": "seal", "id": self._next_id, "until": until})
        await asyncio.wait_for(done, timeout)

    async def stop(self, until: Position, *, timeout: float) -> bool:
        """Load what is left, seal and end. False when that took too long: the spool keeps what is not loaded."""
        self._stopping = True
        process = self._process
        if process is None:
            return True
        try:
            await self._send({"do": "stop", "until": until})
            await asyncio.wait_for(process.wait(), timeout)
        except (LoaderGone, TimeoutError):
            if process.returncode is None:
                process.kill()
            return False
        finally:
            if self._watch is not None:
                await asyncio.wait({self._watch}, timeout=5)
        return process.returncode == 0

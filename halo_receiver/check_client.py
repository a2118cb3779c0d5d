"""Where a request is looked at before it is acknowledged, so that nobody else waits for it.

What is soon over, here: protobuf of so many fields that a millisecond tells. What takes longer but is C, in a thread:
it lets the event loop run. JSON, and whatever the wire scanner is not sure of, in a process (checker.py), one request
at a time, two processes at most.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import orjson

from halo_receiver import check_process, child_processes, request_check, spool, wire
from halo_receiver.decode import Encoding, Undecodable
from halo_receiver.logs import event
from halo_receiver.request_check import Checked, TooLarge
from halo_receiver.spool_queue import Busy

log = logging.getLogger("halo.receiver")

INLINE_FIELDS = 100_000  # of protobuf, read here: about a millisecond
INLINE_BYTES = 512 * 2**10  # inflated here, likewise
INLINE_PACKED = 64 * 2**10  # of a compressed request, above which it is not tried
THREADS = 2  # each holds one inflated request
THREAD_NICE = 5
PROCESSES = 2
QUEUE_SECONDS = 10.0  # for which a request waits for a process, then it is told to come back
REPLY_SECONDS = 120.0  # for the answer of a process, whose own bound is processor time: longer, and it is stopped
ATTEMPTS = 2  # processes that die of a request one after the other, after which it is refused for good


class TooHard(TooLarge):
    """To look at the request takes more memory or time than one request may have."""


@dataclass(slots=True)
class _Child:
    process: asyncio.subprocess.Process
    channel: socket.socket

    async def exchange(self, head: bytes, body: bytes) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self.channel, head)
        await loop.sock_sendall(self.channel, body)
        size = check_process.REPLY.unpack(await self._receive(check_process.REPLY.size))[0]
        reply: dict[str, Any] = orjson.loads(await self._receive(size))
        return reply

    async def _receive(self, size: int) -> bytes:
        came = b""
        while len(came) < size:
            part = await asyncio.get_running_loop().sock_recv(self.channel, size - len(came))
            if not part:
                raise ConnectionResetError
            came += part
        return came

    def kill(self) -> None:
        self.channel.close()
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()


class Checkers:
    """The processes. Started when they are needed, and again when they ended."""

    def __init__(self, *, memory_bytes: int, cpu_seconds: float) -> None:
        self._memory_bytes, self._cpu_seconds = memory_bytes, cpu_seconds
        self._idle: list[_Child] = []
        self._slots = asyncio.Semaphore(PROCESSES)

    async def look(self, kind: str, encoding: Encoding, compression: str, body: bytes, limit: int) -> Checked:
        """Have a request looked at. Raises Busy, TooLarge and Undecodable."""
        head = check_process.REQUEST.pack(
            spool.KINDS.index(kind), spool.ENCODINGS.index(encoding), spool.COMPRESSIONS.index(compression),
            limit, len(body),
        )  # fmt: skip
        try:
            await asyncio.wait_for(self._slots.acquire(), QUEUE_SECONDS)
        except TimeoutError:
            raise Busy("too many requests wait to be looked at") from None
        try:
            for _ in range(ATTEMPTS):
                reply = await self._ask(head, body)
                if reply is not None:
                    return self._told(reply)
        finally:
            self._slots.release()
        raise TooHard(f"{ATTEMPTS} processes died of the request", hint="send smaller batches, or protobuf")

    async def _ask(self, head: bytes, body: bytes) -> dict[str, Any] | None:
        """Ask one process; None when it died of it."""
        child = self._idle.pop() if self._idle else await self._start()
        try:
            reply = await asyncio.wait_for(child.exchange(head, body), REPLY_SECONDS)
        except TimeoutError:
            child.kill()
            raise Busy("the process that looks at requests does not answer") from None
        except OSError:
            child.kill()
            code = await child.process.wait()
            event(log, "checker ended", level=logging.ERROR, code=code, bytes=len(body))
            return None
        except BaseException:  # cancelled: what it would still answer belongs to nobody
            child.kill()
            raise
        if reply.get("error") == "memory":
            child.kill()
        else:
            self._idle.append(child)
        return reply

    async def _start(self) -> _Child:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            process = await child_processes.start_async(
                "halo-checker", "halo_receiver.check_process", str(self._memory_bytes), str(self._cpu_seconds),
                env=child_processes.environment(bare=True), stdin=theirs, stdout=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
        return _Child(process, ours)

    def _told(self, reply: dict[str, Any]) -> Checked:
        match reply.get("error"):
            case None:
                return Checked(**reply)
            case "too large":
                raise TooLarge(reply["message"], hint=reply["hint"])
            case "undecodable":
                raise Undecodable(reply["message"], hint=reply["hint"])
            case "memory":
                what = f"more than {self._memory_bytes >> 20} MiB of memory"
            case "time":
                what = f"more than {self._cpu_seconds:g} s of processor time"
            case _:
                event(log, "request not understood", level=logging.ERROR, reason=reply["message"])
                raise Undecodable(f"the request cannot be looked at: {reply['message']}")
        raise TooHard(f"to look at the request takes {what}", hint="send smaller batches, or protobuf")

    def close(self) -> None:
        """End the processes that wait."""
        while self._idle:
            self._idle.pop().kill()


class Checking:
    """Looks at every request, each where it costs the others least."""

    def __init__(self, *, limit: int, memory_bytes: int, cpu_seconds: float) -> None:
        self._limit = limit
        self._threads = ThreadPoolExecutor(THREADS, "check", initializer=_give_way)
        self._checkers = Checkers(memory_bytes=memory_bytes, cpu_seconds=cpu_seconds)

    async def look(self, kind: str, encoding: Encoding, compression: str, body: bytes) -> Checked:
        """Look at a request as it came. Raises Busy, TooLarge and Undecodable."""
        if kind == "metrics" or (encoding == "protobuf" and wire.available()):
            checked = self._here(kind, compression, body)
            if checked is None:
                loop = asyncio.get_running_loop()
                checked = await loop.run_in_executor(self._threads, self._beside, kind, compression, body)
            if checked is not None:
                return request_check.judged(checked)
        return await self._checkers.look(kind, encoding, compression, body, self._limit)

    def _here(self, kind: str, compression: str, body: bytes) -> Checked | None:
        """Look at a request that is soon looked at; None when it is not."""
        if compression == "gzip":
            if len(body) > INLINE_PACKED:
                return None
            try:
                body = request_check.inflate(body, min(INLINE_BYTES, self._limit), members=1)
            except TooLarge:
                return None
        return self._scanned(kind, body, INLINE_FIELDS)

    def _beside(self, kind: str, compression: str, body: bytes) -> Checked | None:
        return self._scanned(kind, request_check.inflate(body, self._limit) if compression == "gzip" else body, 0)

    def _scanned(self, kind: str, body: bytes, max_fields: int) -> Checked | None:
        return Checked() if kind == "metrics" else request_check.scanned(kind, body, max_fields=max_fields)

    def close(self) -> None:
        """End threads and processes."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._checkers.close()


def _give_way() -> None:
    """Let the event loop's thread go first, where threads have priorities of their own."""
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), THREAD_NICE)

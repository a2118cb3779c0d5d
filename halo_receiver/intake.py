"""What happens to one export request, whatever transport brought it: checked, made durable, answered.

Every outcome passes one table, for an exception that escapes a gRPC handler becomes UNKNOWN, which OTLP clients must
not retry: the spans would be lost. Overload and trouble of ours are UNAVAILABLE; permanent codes are kept for what
is permanently wrong with the request.

Source: OTLP specification, "OTLP/gRPC Response", "OTLP/HTTP Response", "Failures".
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from halo_receiver import spool, spool_files, spool_queue
from halo_receiver.auth import CODES, Role, Verdict
from halo_receiver.check_client import Checking
from halo_receiver.config import ReceiverConfig
from halo_receiver.decode import Encoding, Undecodable
from halo_receiver.logs import event
from halo_receiver.metrics import Metrics
from halo_receiver.request_check import Checked, TooLarge

log = logging.getLogger("halo.receiver")

Kind = Literal["traces", "logs", "metrics"]
DISK_LOOK_SECONDS = 1.0
DISK_LOOK_BYTES = 64 * 2**20  # taken since, after which the disk is looked at sooner
SMALL_BACKLOG_BYTES = 64 * 2**20  # allowed however little is free beside it
STALL_SECONDS = 10.0  # for which the disk does not answer, after which clients are told to come back
MAX_HELD_BYTES = 256 * 2**20  # of requests that are read and not answered; above it clients are told to come back
REFUSALS_SECONDS = 3.0  # for which every export was refused, after which the receiver is not ready
REFUSALS_FORGOTTEN_SECONDS = 10.0  # without an export, after which it is tried again
MAX_MESSAGE = 1000  # characters of an error or warning told to a client


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client is told. `code` is a gRPC status name; `retry` whether it should come again."""

    code: str = "OK"
    message: str = ""
    rejected: int = 0
    retry: bool = False


class Refusals:
    """Whether every export has been told to come back for a while, whatever the reason."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._first = self._last = 0.0
        self._why: str | None = None

    def note(self, why: str | None) -> None:
        """Note the answer to an export: None when it was taken, else why it was not."""
        if why is not None:
            self._last = self._clock()
            self._first = self._first if self._why is not None else self._last
        self._why = why

    def reason(self) -> str | None:
        """Say so; None when one was taken since, or nobody has asked lately: who is sent nobody cannot get well."""
        if self._why is None or self._clock() - self._last > REFUSALS_FORGOTTEN_SECONDS:
            self._why = None
            return None
        refused_for = self._last - self._first
        return f"every export is refused: {self._why}" if refused_for >= REFUSALS_SECONDS else None


class Intake:
    """The rules every request passes."""

    def __init__(
        self,
        config: ReceiverConfig,
        *,
        sink: spool_queue.Ingest,
        spool_dir: Path,
        loaded: Callable[[], spool.Position],
        metrics: Metrics,
    ) -> None:
        self._config = config
        self._sink = sink
        self._spool_dir = spool_dir
        self._loaded = loaded
        self._metrics = metrics
        self._looked_at = 0.0
        self._taken = 0  # bytes, since the disk was looked at
        self._trouble: str | None = None
        self._refusals = Refusals()
        self._checking = Checking(
            limit=config.max_request_bytes,
            memory_bytes=config.check_memory_bytes,
            cpu_seconds=config.check_seconds,
        )
        self.held = 0  # bytes of requests that are read and not answered
        self.draining = False

    def trouble(self) -> str | None:
        """Say why nothing more can be taken now; None when all is well. Looks at the disk once a second, or a burst."""
        if self.draining:
            return "the receiver is shutting down"
        now = time.monotonic()
        if now - self._looked_at >= DISK_LOOK_SECONDS or self._taken >= DISK_LOOK_BYTES:
            self._looked_at, self._taken = now, 0
            try:
                self._trouble = self._look()
            except OSError as error:
                self._trouble = f"the spool cannot be looked at: {error.strerror}: {self._spool_dir}"
        return self._trouble

    def not_ready(self) -> str | None:
        """Say why no export succeeds now, though each is tried: for probes. None when all is well."""
        why = self.trouble()
        if why is None and (reason := self._sink.refusing) is not None:
            why = f"the spool cannot be written: {reason}: {self._spool_dir}"
        why = why or self._refusals.reason()
        self._metrics.ready.set(why is None)
        return why

    def _look(self) -> str | None:
        free = shutil.disk_usage(self._spool_dir).free
        waiting = spool_files.backlog(self._spool_dir, self._loaded())
        if self._sink.stalled_for > STALL_SECONDS:
            return f"the disk has not answered for {self._sink.stalled_for:.0f} s"
        self._metrics.free_bytes.set(free)
        self._metrics.backlog_bytes.set(waiting)
        if free < self._config.min_free_bytes:
            return f"the disk is full: {free >> 20} MiB are free, {self._config.min_free_bytes >> 20} are kept free"
        # Loading writes segments before it frees the spool: a backlog with less beside it could never be loaded.
        beside = max(free - self._config.min_free_bytes, SMALL_BACKLOG_BYTES)
        allowed = min(self._config.max_backlog_bytes, beside)
        if waiting > allowed:
            return f"{waiting >> 20} MiB wait to be loaded, {allowed >> 20} are allowed"
        return None

    async def export(
        self, kind: Kind, encoding: Encoding, compression: str | None, body: bytes, transport: str
    ) -> Answer:
        """Take one request. Never raises: what is not foreseen is ours, and may pass."""
        started = time.perf_counter()
        try:
            answer = await self._export(kind, encoding, compression, body)
        except asyncio.CancelledError:  # the client went away; what it sent may still become durable, and come again
            self._metrics.request(kind, transport, "CANCELLED", len(body), time.perf_counter() - started)
            raise
        except spool_queue.Busy as error:
            answer = Answer("UNAVAILABLE", f"{error}; please retry", retry=True)
        except TooLarge as error:
            answer = Answer("RESOURCE_EXHAUSTED", _sentence(error))
        except Undecodable as error:
            answer = Answer("INVALID_ARGUMENT", _sentence(error))
        except Exception as error:  # noqa: BLE001 - UNKNOWN would lose the spans; they stay with the client instead
            event(log, "request failed", level=logging.ERROR, reason=f"{type(error).__name__}: {error}")
            answer = Answer("UNAVAILABLE", "the receiver failed to take the request; please retry", retry=True)
        self._refusals.note(answer.message if answer.retry and not self._trouble else None)
        self._metrics.request(kind, transport, answer.code, len(body), time.perf_counter() - started)
        return answer

    def denied(self, kind: Kind, transport: str, verdict: Verdict) -> Answer:
        """Return the answer to a caller whose key is not one that may export."""
        self._metrics.request(kind, transport, CODES[verdict], 0, 0.0)
        return Answer(CODES[verdict], f"'authorization: Bearer KEY' is required, with {Role.INGEST.value}")

    def malformed(self, kind: Kind, transport: str, why: str) -> Answer:
        """Return the answer to a request that is none."""
        self._metrics.request(kind, transport, "INVALID_ARGUMENT", 0, 0.0)
        return Answer("INVALID_ARGUMENT", why)

    def aborted(self, kind: Kind, transport: str) -> None:
        """Count a request whose client went away before it was read."""
        self._metrics.request(kind, transport, "CANCELLED", 0, 0.0)

    def too_large(self, kind: Kind, transport: str, size: int) -> Answer:
        """Return the answer to a request that is over the limit before it was read."""
        self._metrics.request(kind, transport, "RESOURCE_EXHAUSTED", size, 0.0)
        limit = self._config.max_request_bytes
        return Answer("RESOURCE_EXHAUSTED", f"the request has over {limit} bytes, {limit} are allowed")

    def busy(self, kind: Kind, transport: str, why: str) -> Answer:
        """Return the answer to a request that should come again."""
        self._metrics.request(kind, transport, "UNAVAILABLE", 0, 0.0)
        self._refusals.note(why)
        return Answer("UNAVAILABLE", f"{why}; please retry", retry=True)

    async def _export(self, kind: Kind, encoding: Encoding, compression: str | None, body: bytes) -> Answer:
        if compression is None:  # gRPC hides the header from us; OTLP begins with 0x0a
            compression = "gzip" if body[:1] in (b"\x1f", b"\x78") else "none"
        if (trouble := self.trouble()) is not None:
            raise spool_queue.Busy(trouble)
        limit = self._config.max_request_bytes
        if len(body) > limit:
            raise TooLarge(f"the request has {len(body)} bytes, {limit} are allowed")
        if self.held + len(body) > max(MAX_HELD_BYTES, limit):
            raise spool_queue.Busy("too many requests are being answered")
        self.held += len(body)
        try:
            checked = await self._checking.look(kind, encoding, compression, body)
            if checked.items > checked.rejected:
                self._taken += len(body)
                await self._sink.store(kind=kind, encoding=encoding, compression=compression, body=body)
        finally:
            self.held -= len(body)
        return self._answer(kind, checked)

    def _answer(self, kind: Kind, checked: Checked) -> Answer:
        if kind == "metrics":
            self._metrics.ignored_metrics.inc()
            return Answer()
        self._metrics.items(kind, checked)
        if not checked.rejected:
            return Answer()
        named = "; ".join(checked.reasons)
        message = f"{checked.rejected} of {checked.items} rejected, the rest is stored: {named}"
        return Answer(message=message[:MAX_MESSAGE], rejected=checked.rejected)

    def close(self) -> None:
        """End what looks at requests."""
        self._checking.close()


def _sentence(error: TooLarge | Undecodable) -> str:
    return (f"{error}. {error.hint}" if error.hint else str(error))[:MAX_MESSAGE]

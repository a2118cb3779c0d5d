"""Bounded queue into the spool: a request is acknowledged after the fdatasync of its group.

One thread writes. While it waits for the disk, requests gather; the next sync takes them all. Whatever goes wrong with
a group is told to its requests, and the thread goes on with the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from halo_receiver import decode, spool, wire
from halo_receiver.errors import HaloError
from halo_receiver.logs import event
from halo_receiver.otlp_messages import LogsRequest, TraceRequest
from halo_receiver.span import Decoded

_zlib: Any
try:
    from isal import isal_zlib as _zlib  # inflates 2.5 times as fast; Collectors send gzip
except ImportError:  # not on every platform
    import zlib as _zlib

log = logging.getLogger("halo.receiver")

MAX_PENDING_BYTES = 256 * 2**20  # received, not yet on disk
MAX_SERVICES = 200  # label values of the per-service counters; the rest counts as "other"
CLOCK_BACK_NS = 3_600_000_000_000  # up to which a clock that goes back is not followed: arrivals stay in order
PROBE_SECONDS = 1.0  # between two attempts to write while the disk refuses
REFUSING_SECONDS = 3.0  # for which a write that the disk refused counts, whatever succeeds meanwhile
CLOSE_SECONDS = 5.0  # a disk that hangs longer than this does not keep the process
# In one request. A message may have two bytes: without a bound, 64 MiB of them would be looked at for minutes.
MAX_GROUPS = 100_000  # resources, and scopes
MAX_ITEMS = 2_000_000  # spans, or log records
MAX_MESSAGES = 5_000_000  # of all kinds, attributes included; 64 MiB of small spans hold four million
_MAX_REASONS = 3  # named in a partial success


class Busy(HaloError):  # noqa: N818
    """Nothing is wrong with the request: it should come again."""


class TooLarge(HaloError):  # noqa: N818
    """The request is over the limit, as sent or after decompression; it will not pass later."""


class _Crowd(decode.Undecodable):
    """Memory for its messages would be fifty times its size."""

    def __init__(self) -> None:
        super().__init__(
            f"the request holds more than {MAX_MESSAGES} spans, events, links, attributes and values together",
            hint="send smaller batches",
        )


@dataclass(slots=True)
class Checked:
    """What a look at a request tells before it is acknowledged."""

    items: int = 0
    rejected: int = 0
    reasons: list[str] = field(default_factory=list)
    services: dict[str, int] = field(default_factory=dict)  # items of each, rejected ones included
    rejected_services: dict[str, int] = field(default_factory=dict)


def inflate(body: bytes, limit: int) -> bytes:
    """Undo gzip or deflate, stopping at the limit. Raises TooLarge, or Undecodable when it is neither."""
    inflater: Any = _zlib.decompressobj(wbits=47)
    try:
        plain: bytes = inflater.decompress(body, limit + 1)
        while len(plain) <= limit and inflater.eof and inflater.unused_data[:2] == b"\x1f\x8b":  # concatenated members
            rest, inflater = inflater.unused_data, _zlib.decompressobj(wbits=47)
            plain += inflater.decompress(rest, limit + 1 - len(plain))
    except _zlib.error as error:
        raise decode.Undecodable(f"the body does not decompress: {error}") from None
    if len(plain) > limit:
        raise TooLarge(
            f"the request is over {limit} bytes after decompression",
            hint="send smaller batches: sending_queue.batch with sizer bytes, or raise receiver.max_request_bytes",
        )
    if not inflater.eof:
        raise decode.Undecodable("the body ends before its compressed stream does")
    return plain


def check(kind: str, encoding: Literal["protobuf", "json"], body: bytes) -> Checked:
    """Look at a decompressed request: can it be parsed, and which spans have no usable ids?

    Raises Undecodable when it is not a request of that kind at all.
    """
    try:
        checked = _look(kind, encoding, body)
    except decode.Undecodable as error:
        other = "logs" if kind == "traces" else "traces"
        if encoding == "protobuf" and not isinstance(error, _Crowd) and _is_of(other, body):
            raise decode.Undecodable(str(error), hint=f"it is a request of {other}: these go to /v1/{other}") from None
        raise
    if checked.items and checked.rejected == checked.items and all("missing" in reason for reason in checked.reasons):
        raise decode.Undecodable(
            f"none of the {checked.items} spans has ids: {checked.reasons[0]}",
            hint="a logs export that was sent to the traces path looks like this: logs go to /v1/logs",
        )
    return checked


def _look(kind: str, encoding: Literal["protobuf", "json"], body: bytes) -> Checked:
    if encoding == "json":
        if body.count(b"{") + body.count(b"[") > MAX_MESSAGES:
            raise _Crowd()
        return _counted((decode.decode_logs if kind == "logs" else decode.decode_traces)(body, encoding="json"))
    try:
        looked = wire.check(body, logs=kind == "logs")
    except OverflowError:
        raise _Crowd() from None
    if looked is not None:
        return _summary(looked)
    message = LogsRequest if kind == "logs" else TraceRequest
    # A message takes two bytes at least: what is shorter cannot hold too many, and most requests are.
    if len(body) > 2 * MAX_MESSAGES and decode.crowd.over(body, message.DESCRIPTOR, MAX_MESSAGES):
        raise _Crowd()
    return _check_logs(body) if kind == "logs" else _check_traces(body)


def _is_of(kind: str, body: bytes) -> bool:
    try:
        return _look(kind, "protobuf", body).items > 0
    except decode.Undecodable:
        return False


def _counted(decoded: Decoded) -> Checked:
    services: dict[str, int] = {}
    for scope in (*(span.scope for span in decoded.spans), *(item.scope for item in decoded.logs)):
        name = scope.service_name
        services[name] = services.get(name, 0) + 1
    rejected = len(decoded.rejected)
    if rejected:
        services[""] = services.get("", 0) + rejected  # what was rejected does not say whose it is
    return Checked(
        len(decoded.spans) + len(decoded.logs) + rejected,
        rejected,
        [item.reason for item in decoded.rejected[:_MAX_REASONS]],
        services,
        {"": rejected} if rejected else {},
    )


def _check_traces(body: bytes) -> Checked:
    checked = Checked()
    request = decode.parse(TraceRequest, body)
    _refuse_swarm(request.resource_spans, "scope_spans", "spans")
    for resource_spans in request.resource_spans:
        count, rejected = 0, checked.rejected
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                count += 1
                trace_id, span_id = span.trace_id, span.span_id
                if len(trace_id) == 16 and len(span_id) == 8 and any(trace_id) and any(span_id):
                    continue
                checked.rejected += 1
                if len(checked.reasons) < _MAX_REASONS:
                    checked.reasons.append(_reason(checked.items + count, trace_id, span_id))
        _add_service(checked, resource_spans.resource, count, checked.rejected - rejected)
    return checked


def _check_logs(body: bytes) -> Checked:
    checked = Checked()
    request = decode.parse(LogsRequest, body)
    _refuse_swarm(request.resource_logs, "scope_logs", "log_records")
    for resource_logs in request.resource_logs:
        count = sum(len(scope_logs.log_records) for scope_logs in resource_logs.scope_logs)
        _add_service(checked, resource_logs.resource, count)
    return checked


def _summary(looked: wire.Looked) -> Checked:
    items, rejected, named, services = looked
    checked = Checked(items, rejected, [_reason(*one) for one in named])
    for raw, number, bad in services:
        name = raw.decode("utf-8", "replace")
        checked.services[name] = checked.services.get(name, 0) + number
        if bad:
            checked.rejected_services[name] = checked.rejected_services.get(name, 0) + bad
    return checked


def _reason(index: int, trace_id: bytes, span_id: bytes) -> str:
    reason = decode.id_problem(trace_id.hex(), 32, "trace_id") or decode.id_problem(span_id.hex(), 16, "span_id")
    return f"span {index}: {reason or ''}"


def _refuse_swarm(groups: Any, scopes: str, items: str) -> None:
    """Raise Undecodable when a request holds absurdly many messages."""
    scopes_, items_ = 0, 0
    if len(groups) <= MAX_GROUPS:
        for group in groups:
            inside = getattr(group, scopes)
            scopes_ += len(inside)
            if scopes_ > MAX_GROUPS:
                break
            items_ += sum(len(getattr(scope, items)) for scope in inside)
    if len(groups) > MAX_GROUPS or scopes_ > MAX_GROUPS or items_ > MAX_ITEMS:
        what = f"{MAX_GROUPS} resources, {MAX_GROUPS} scopes and {MAX_ITEMS} {items}"
        raise decode.Undecodable(f"the request holds more than {what}", hint="send smaller batches")


def _add_service(checked: Checked, resource: Any, count: int, rejected: int = 0) -> None:
    checked.items += count
    name = ""
    for pair in resource.attributes:
        if pair.key == b"service.name":
            name = pair.value.string_value.decode("utf-8", "replace")
            break
    checked.services[name] = checked.services.get(name, 0) + count
    if rejected:
        checked.rejected_services[name] = checked.rejected_services.get(name, 0) + rejected


@dataclass(slots=True)
class _Pending:
    request: dict[str, Any]  # what spool.encode takes
    done: asyncio.Future[None]
    loop: asyncio.AbstractEventLoop


class Ingest:
    """The way into the spool. `store` is called on the event loop; the disk is waited for on a thread.

    `last_arrival_ns` is the latest arrival known from before this start; `on_synced` hears, on the thread, up to where
    everything is durable.
    """

    def __init__(
        self,
        writer: spool.SpoolWriter,
        *,
        clock: Callable[[], int],
        on_synced: Callable[[spool.Position], None],
        last_arrival_ns: int = 0,
        max_pending_bytes: int = MAX_PENDING_BYTES,
    ) -> None:
        self._writer = writer
        self._clock = clock
        self._on_synced = on_synced
        self._max_pending = max_pending_bytes
        self._pending_bytes = 0
        self._last_arrival = last_arrival_ns
        self._busy_since: float | None = None
        self._refused: tuple[float, str] | None = None  # when the disk last refused a write, and what it said
        self._queue: queue.SimpleQueue[_Pending | None] = queue.SimpleQueue()
        self.position = writer.position
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        self._thread.start()

    def arrival(self) -> int:
        """Return the time of arrival. It does not go back when the clock does: windows are cut on it.

        A clock that goes back by more than an hour was wrong before, and is followed.
        """
        now = self._clock()
        if self._last_arrival - now > CLOCK_BACK_NS:
            seconds = (self._last_arrival - now) / 1e9
            what = "clock went back: what arrives now may fall into windows that were analysed already"
            event(log, what, level=logging.WARNING, seconds=seconds)
            self._last_arrival = now
        self._last_arrival = max(self._last_arrival, now)
        return self._last_arrival

    @property
    def stalled_for(self) -> float:
        """Seconds for which the disk has not answered."""
        since = self._busy_since
        return time.monotonic() - since if since is not None else 0.0

    @property
    def refusing(self) -> str | None:
        """What the disk said when it refused the last write; None once it takes them again."""
        return self._refused[1] if self._refused is not None else None

    async def store(self, *, kind: str, encoding: str, compression: str, body: bytes) -> None:
        """Make a request durable. Raises Busy when too much waits already, or the disk refuses."""
        if self._pending_bytes + len(body) > self._max_pending:
            raise Busy("too much waits for the disk")
        loop = asyncio.get_running_loop()
        request = {
            "kind": kind, "encoding": encoding, "compression": compression, "arrival_ns": self.arrival(), "body": body,
        }  # fmt: skip
        done: asyncio.Future[None] = loop.create_future()
        self._pending_bytes += len(body)
        self._queue.put(_Pending(request, done, loop))
        try:
            await done  # who gives up waiting does not take the request out of the queue
        except OSError as error:
            raise Busy(f"the spool cannot be written: {error.strerror}") from None

    def _settle(self, group: list[_Pending], error: Exception | None) -> None:
        """Answer a group's requests, on the event loop."""
        for item in group:
            self._pending_bytes -= len(item.request["body"])
            if item.done.done():  # nobody waits any more
                continue
            if error is None:
                item.done.set_result(None)
            else:
                item.done.set_exception(error)

    def _groups(self) -> Iterator[list[_Pending]]:
        while True:
            try:
                first = self._queue.get(timeout=PROBE_SECONDS if self._refused else None)
            except queue.Empty:
                self._probe()
                continue
            if first is None:
                return
            group = [first]
            while not self._queue.empty():
                item = self._queue.get()
                if item is None:
                    yield group
                    return
                group.append(item)
            yield group

    def _probe(self) -> None:
        """Try whether the disk takes writes again: nobody may send any to one that is not ready."""
        assert self._refused is not None
        try:
            self._writer.probe()
        except OSError as error:
            self._refused = time.monotonic(), str(error.strerror)
            return
        if time.monotonic() - self._refused[0] > REFUSING_SECONDS:
            self._refused = None

    def _run(self) -> None:
        for group in self._groups():
            self._busy_since = time.monotonic()
            try:
                position = self._writer.append([spool.encode(**item.request) for item in group])
            except Exception as error:  # noqa: BLE001 - a thread that ended would leave every later request unanswered
                event(log, "spool refused", level=logging.ERROR, reason=f"{type(error).__name__}: {error}")
                self._refused = time.monotonic(), getattr(error, "strerror", None) or type(error).__name__
                self._tell(group, error)
                continue
            finally:
                self._busy_since = None
            self.position, self._refused = position, None
            self._tell(group, None)
            self._on_synced(position)

    def _tell(self, group: list[_Pending], error: Exception | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits for the answer
            group[0].loop.call_soon_threadsafe(self._settle, group, error)

    def close(self) -> None:
        """Write what waits and stop."""
        self._queue.put(None)
        self._thread.join(CLOSE_SECONDS)
        if not self._thread.is_alive():
            self._writer.close()

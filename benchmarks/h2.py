"""A small HTTP/2 client for export requests: what it sends was encoded before, so that it costs little beside a server.

It speaks as much of HTTP/2 as a unary gRPC call needs: SETTINGS, PING, flow control. It asks for headers without a
table (SETTINGS_HEADER_TABLE_SIZE 0), so that the status and message of a refusal stand in the bytes of its trailers.
"""

from __future__ import annotations

import re
import selectors
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import unquote

from benchmarks.payloads import Request

PATH = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_DATA, _HEADERS, _RST, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8
_BIG = 2**31 - 1 - 65535
_NUMBER = re.compile(r"\d+")


@dataclass(slots=True)
class Outcome:
    """What came back."""

    spans: int = 0  # of acknowledged requests, as are the next two
    requests: int = 0
    bytes: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)  # of the others, by grpc-status and grpc-message

    @property
    def refused(self) -> int:
        """How many requests were not acknowledged."""
        return self.refusals.total()

    def percentile(self, share: float) -> float:
        """Seconds of that share of the acknowledgements."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _header_block(authority: str, gzip: bool) -> bytes:
    headers = [
        (":method", "POST"), (":scheme", "http"), (":path", PATH), (":authority", authority),
        ("te", "trailers"), ("content-type", "application/grpc"), ("user-agent", "halo-benchmark"),
    ]  # fmt: skip
    if gzip:
        headers.append(("grpc-encoding", "gzip"))
    return b"".join(
        bytes([0, len(name)]) + name.encode() + bytes([len(value)]) + value.encode() for name, value in headers
    )


class _Connection:
    """One connection: a request is sent at a time, several may wait for their answer."""

    def __init__(self, host: str, port: int, *, gzip: bool) -> None:
        self.socket = socket.create_connection((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * 2**20)
        self.socket.sendall(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            + _frame(_SETTINGS, 0, 0, struct.pack(">HI", 1, 0))
            + _frame(_WINDOW, 0, 0, struct.pack(">I", _BIG))
        )
        self.socket.setblocking(False)
        self.block = _header_block(f"{host}:{port}", gzip)
        self.gzip = gzip
        self.next_stream = 1
        self.window = 65535
        self.stream_window = 65535  # what a new stream starts with
        self.frame_size = 16384
        self.open: dict[int, tuple[float, int, int]] = {}
        self.sending = 0  # the stream whose body is being sent
        self.left: memoryview = memoryview(b"")
        self.current: bytes | bytearray = b""  # must not change before it is sent
        self.sending_window = 0
        self.out: list[bytes | memoryview] = []
        self.received = b""

    def start(self, body: bytes | bytearray, spans: int, started: float) -> None:
        stream, self.next_stream = self.next_stream, self.next_stream + 2
        self.open[stream] = (started, spans, len(body))
        prefix = struct.pack(">BI", self.gzip, len(body))
        self.sending, self.left, self.current = stream, memoryview(body), body
        self.sending_window = self.stream_window - 5
        self.window -= 5
        self.out += [_frame(_HEADERS, 4, stream, self.block), _frame(_DATA, 0, stream, prefix)]
        self.fill()

    def fill(self) -> None:
        """Frame as much of the body as the windows allow."""
        while self.sending and len(self.out) < 64:
            size = min(len(self.left), self.frame_size, self.window, self.sending_window)
            if size <= 0 and len(self.left):
                return
            last = size == len(self.left)
            head = struct.pack(">I", size)[1:] + struct.pack(">BBI", _DATA, 1 if last else 0, self.sending)
            self.out += [head, self.left[:size]]
            self.left = self.left[size:]
            self.window -= size
            self.sending_window -= size
            if last:
                self.sending = 0

    def write(self) -> None:
        try:
            written = self.socket.sendmsg(self.out[:128])
        except BlockingIOError:
            return
        while self.out and written >= len(self.out[0]):
            written -= len(self.out.pop(0))
        if written:
            self.out[0] = memoryview(self.out[0])[written:]
        self.fill()

    def read(self, outcome: Outcome) -> None:
        try:
            came = self.socket.recv(2**16)
        except BlockingIOError:
            return
        if not came:
            raise ConnectionError("the server closed the connection")
        data = self.received + came
        at = 0
        while len(data) - at >= 9:
            length = int.from_bytes(data[at : at + 3], "big")
            if len(data) - at < 9 + length:
                break
            kind, flags, stream = struct.unpack_from(">BBI", data, at + 3)
            self.take(kind, flags, stream, data[at + 9 : at + 9 + length], outcome)
            at += 9 + length
        self.received = data[at:]
        self.fill()

    def take(self, kind: int, flags: int, stream: int, payload: bytes, outcome: Outcome) -> None:
        if kind == _SETTINGS and not flags & 1:
            for at in range(0, len(payload), 6):
                name, value = struct.unpack_from(">HI", payload, at)
                if name == 4:
                    self.sending_window += value - self.stream_window
                    self.stream_window = value
                elif name == 5:
                    self.frame_size = min(value, 2**20)
            self.out.append(_frame(_SETTINGS, 1, 0))
        elif kind == _PING and not flags & 1:
            self.out.append(_frame(_PING, 1, 0, payload))
        elif kind == _WINDOW:
            (more,) = struct.unpack(">I", payload)
            if stream == 0:
                self.window += more
            elif stream == self.sending:
                self.sending_window += more
        elif kind == _GOAWAY:
            raise ConnectionError(f"the server goes away: {payload[8:]!r}")
        if stream in self.open and (kind == _RST or (kind in (_DATA, _HEADERS) and flags & 1)):
            started, spans, size = self.open.pop(stream)
            status = _literal(payload, b"grpc-status") if kind == _HEADERS else f"frame {kind}"
            if status == "0":
                outcome.spans += spans
                outcome.bytes += size
                outcome.requests += 1
                outcome.latencies.append(time.perf_counter() - started)
            else:
                said = unquote(_literal(payload, b"grpc-message"))
                outcome.refusals[f"grpc-status {status}: {_NUMBER.sub('N', said)}"] += 1


def _literal(block: bytes, name: bytes) -> str:
    """Return the value of a header that stands in a block as it is, its length in one byte or more."""
    at = block.find(bytes([len(name)]) + name) + 1 + len(name)
    if at == len(name):
        return ""
    length, at = block[at], at + 1
    if length & 0x7F == 0x7F:
        shift, length = 0, 0x7F
        while True:
            byte, at = block[at], at + 1
            length += (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
    return block[at : at + length].decode("ascii", "replace")


def send(
    address: str,
    pool: list[Request],
    *,
    seconds: float,
    connections: int = 4,
    in_flight: int = 32,
    per_second: float = 0,
    gzip: bool = False,
    renew_from: int = 0,
    limit: int = 0,
    each_second: Callable[[], None] | None = None,
) -> Outcome:
    """Send requests of a pool, again and again with new ids, for `seconds` or until `limit` spans; await the answers.

    `per_second` sends on a clock, and latency counts from the moment a request was due (0: as fast as answers come,
    `in_flight` waiting at most). Gzipped bodies are sent as they are in the pool.
    """
    host, _, port = address.rpartition(":")
    selector = selectors.DefaultSelector()
    lines = [_Connection(host, int(port), gzip=gzip) for _ in range(connections)]
    for line in lines:
        selector.register(line.socket, selectors.EVENT_READ, line)
    outcome = Outcome()
    started = time.perf_counter()
    next_look = started + 1
    number = sent = turn = 0
    while True:
        now = time.perf_counter()
        over = now - started >= seconds or (limit and sent >= limit)
        if over and not any(line.open for line in lines):
            break
        if now - started > seconds + 120:
            raise TimeoutError("answers are missing")
        if each_second is not None and now >= next_look:
            next_look = now + 1
            each_second()
        waiting = sum(len(line.open) for line in lines)
        for _ in lines:
            line = lines[turn % len(lines)]
            if over or line.sending or line.out or waiting >= in_flight or (limit and sent >= limit):
                turn += 1
                continue
            due = started + number / per_second if per_second else now
            if due > now:
                break
            # A body may be in use by another connection that is still sending it.
            candidates = (pool[(number + k) % len(pool)] for k in range(len(pool)))
            request = next((candidate for candidate in candidates if not _used(candidate, lines)), None)
            if request is None:
                break
            body = request.body if gzip else request.renew(renew_from + number)
            line.start(body, request.spans, due)
            number += 1
            sent += request.spans
            waiting += 1
            turn += 1
        for line in lines:
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if line.out else 0)
            if selector.get_key(line.socket).events != events:
                selector.modify(line.socket, events, line)
        pause = 0.05 if not per_second else max(0.0, min(0.05, started + number / per_second - time.perf_counter()))
        for key, ready in selector.select(pause):
            if ready & selectors.EVENT_READ:
                key.data.read(outcome)
            if ready & selectors.EVENT_WRITE:
                key.data.write()
    outcome.seconds = time.perf_counter() - started
    for line in lines:
        line.socket.close()
    return outcome


def _used(request: Request, lines: list[_Connection]) -> bool:
    return any((line.sending or line.out) and line.current is request.body for line in lines)

"""Clients that send nothing, or not all: they cost little, they end, and others are served meanwhile."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from tests.fixtures_receiver import EXPORT, RawHttp2, ReceiverProcess, eventually, post, trace_request

PROTOBUF = {"Content_Type": "application/x-protobuf"}
MIB = 2**20
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + struct.pack(">IBI", 0, 4, 0)[1:]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., ReceiverProcess]]:
    running: list[ReceiverProcess] = []

    def started(**settings: object) -> ReceiverProcess:
        environment = {f"HALO_RECEIVER_{name.upper()}": str(value) for name, value in settings.items()}
        running.append(ReceiverProcess(tmp_path / "data", **environment))
        return running[-1]

    yield started
    for receiver in running:
        receiver.kill()


def connect(receiver: ReceiverProcess, transport: str = "http") -> socket.socket:
    host, _, port = str(receiver.address[transport]).rpartition(":")
    return socket.create_connection((host, int(port)), timeout=20)


def begin_body(receiver: ReceiverProcess, size: int, sent: int) -> socket.socket:
    sock = connect(receiver)
    head = (
        f"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Length: {size}\r\n\r\n"
    )
    sock.sendall(head.encode() + bytes(sent))
    return sock


def served(receiver: ReceiverProcess) -> bool:
    """Whether both transports answer."""
    receiver.export(trace_request((1, 1)))
    return post(f"{receiver.http}/v1/traces", trace_request((2, 1)), **PROTOBUF)[0] == 200


def closed(sock: socket.socket) -> bool:
    sock.settimeout(0.05)
    try:
        return sock.recv(1000) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def answered(sock: socket.socket) -> bytes:
    sock.settimeout(0.05)
    try:
        return sock.recv(1000)
    except TimeoutError:
        return b""


def test_without_a_key_nothing_is_read(start: Callable[..., ReceiverProcess]) -> None:
    """The refusal comes while the message is still on its way: who has no key cannot fill the memory with it."""
    receiver = start(api_keys="a-key-of-some-length")
    raw = RawHttp2(receiver.grpc)
    raw.begin(EXPORT, 60 * MIB, bytes(1000))
    assert b"16" in raw.read_until(b"grpc-status")
    receiver.export(trace_request((1, 1)), authorization="Bearer a-key-of-some-length")


def test_a_message_that_never_ends_is_told_to_come_back(start: Callable[..., ReceiverProcess]) -> None:
    receiver = start(read_seconds=0.3)
    raw = RawHttp2(receiver.grpc)
    raw.begin(EXPORT, MIB, bytes(1000))
    came = raw.read_until(b"grpc-status-details-bin")
    assert b"14" in came
    assert served(receiver)
    eventually(lambda: receiver.metric("halo_requests_total") >= 3)
    assert 'code="UNAVAILABLE",signal="traces",transport="grpc"' in receiver.metrics()


def test_messages_that_stand_still_leave_others_served(start: Callable[..., ReceiverProcess]) -> None:
    """Each sends a part of a message that is larger than the whole budget."""
    receiver = start(max_reading_bytes=2 * MIB, max_request_bytes=4 * MIB)
    hanging = []
    for _ in range(20):
        hanging.append(RawHttp2(receiver.grpc))
        hanging[-1].begin(EXPORT, 4 * MIB - 100, bytes(16_000))
    assert served(receiver)
    for raw in hanging:
        raw.socket.close()


def test_bodies_that_stand_still_go_when_there_is_no_room_and_others_are_served(
    start: Callable[..., ReceiverProcess],
) -> None:
    receiver = start(max_reading_bytes=4 * MIB, max_request_bytes=2 * MIB, retry_seconds=7)
    still = [begin_body(receiver, 2 * MIB, 2 * MIB - 50_000) for _ in range(2)]
    large = trace_request((3, 1), size=MIB)
    statuses: set[int] = set()

    def ended() -> list[bytes]:
        statuses.add(post(f"{receiver.http}/v1/traces", large, **PROTOBUF)[0])
        return [came for sock in still if (came := answered(sock))]

    answers = eventually(ended)
    assert statuses == {200}
    assert all(answer.startswith(b"HTTP/1.1 503") and b"Retry-After: 7" in answer for answer in answers)
    assert served(receiver)


def test_a_body_of_which_nothing_comes_is_told_to_come_back(start: Callable[..., ReceiverProcess]) -> None:
    receiver = start(idle_seconds=0.3)
    answer = begin_body(receiver, MIB, 1000).recv(1000)
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"Retry-After" in answer


def test_a_connection_without_a_complete_header_is_closed_and_one_between_requests_is_not(
    start: Callable[..., ReceiverProcess],
) -> None:
    receiver = start(header_seconds=0.5)
    used = connect(receiver)
    used.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert used.recv(1000).startswith(b"HTTP/1.1 200")
    silent, partly = connect(receiver), connect(receiver)
    partly.sendall(b"POST /v1/traces HTTP/1.1\r\nHost: x\r\n")
    eventually(lambda: closed(silent))
    eventually(lambda: closed(partly))
    assert not closed(used)
    used.settimeout(20)
    used.sendall(b"GET /healthz HTTP/1.1\r\nHo")
    eventually(lambda: closed(used))  # its next header does not come either
    silent_grpc = connect(receiver, "grpc")
    eventually(lambda: closed(silent_grpc))


def test_a_grpc_connection_without_requests_is_closed(start: Callable[..., ReceiverProcess]) -> None:
    receiver = start(idle_connection_seconds=0.5)
    idle = connect(receiver, "grpc")
    idle.sendall(PREFACE)
    eventually(lambda: closed(idle))


def test_connections_have_a_limit_and_idle_ones_make_room(start: Callable[..., ReceiverProcess]) -> None:
    receiver = start(max_connections=8, header_seconds=5)
    idle = [connect(receiver) for _ in range(20)]
    assert post(f"{receiver.http}/readyz", None, method="GET")[0] == 200
    assert closed(idle[0])
    assert not closed(idle[-1])
    busy = [connect(receiver, "grpc") for _ in range(20)]  # the handshake's time-out frees their places
    assert closed(busy[-1])

    def exported() -> bool:
        try:
            return receiver.export(trace_request((1, 1)), timeout=5) == b""
        except grpc.RpcError:
            return False

    eventually(exported)


def test_a_thousand_idle_connections_disturb_nobody(start: Callable[..., ReceiverProcess]) -> None:
    receiver = start(header_seconds=60)
    idle = []
    for number in range(1024):
        sock = connect(receiver, ("http", "grpc")[number % 2])
        if number % 2:
            sock.sendall(PREFACE)
        idle.append(sock)
    assert served(receiver)
    for sock in idle:
        sock.close()


def test_an_upload_that_is_aborted_is_counted_and_not_logged(start: Callable[..., ReceiverProcess]) -> None:
    receiver = start()
    begin_body(receiver, MIB, 1000).close()
    raw = RawHttp2(receiver.grpc)
    raw.begin(EXPORT, MIB, bytes(1000))
    raw.socket.close()
    eventually(lambda: 'code="CANCELLED",signal="traces",transport="http"} 1.0' in receiver.metrics())
    eventually(lambda: 'code="CANCELLED",signal="traces",transport="grpc"} 1.0' in receiver.metrics())
    assert said(receiver) == []


def said(receiver: ReceiverProcess) -> list[str]:
    return [line for line in receiver.log().splitlines() if "INFO receiver ready" not in line]


GARBAGE = [
    b"\x16\x03\x01\x02\x00\x01\x00" * 20, b"\0" * 1000, b"GET /\x00 HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000 + b"\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
    b"POST /v1/\xff HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
]  # fmt: skip
REFUSED = [
    (b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\n", b"400"),
    (b"Content-Type: \xff\xfe\r\nContent-Length: 0\r\n\r\n", b"415"),
    (b"Content-Type: application/json\r\nContent-Encoding: \xed\xa0\x80\r\nContent-Length: 2\r\n\r\n{}", b"415"),
    (b"Content-Type: application/x-protobuf\r\nContent-Encoding: \xff\r\nContent-Length: 2\r\n\r\n{}", b"415"),
]


def test_what_is_no_request_is_refused_and_not_logged(start: Callable[..., ReceiverProcess]) -> None:
    """Whoever can connect could fill the log; what comes is counted."""
    receiver = start()
    for text in GARBAGE:
        with connect(receiver) as sock:
            sock.sendall(text)
            assert b" 400 " in sock.recv(1000), text
    for headers, status in REFUSED:
        with connect(receiver) as sock:
            sock.sendall(b"POST /v1/traces HTTP/1.1\r\nHost: x\r\n" + headers)
            assert sock.recv(1000).split()[1] == status, headers
    assert said(receiver) == []
    assert receiver.metric("halo_bad_http_requests_total") >= 1
    assert served(receiver)


def test_a_refusal_of_the_budget_carries_retry_info(start: Callable[..., ReceiverProcess]) -> None:
    """Without it the Collector drops the data for good."""
    receiver = start(read_seconds=0.2, retry_seconds=3)
    blocked = grpc.insecure_channel(receiver.grpc)

    def endless() -> Iterator[bytes]:  # a stream that never sends its message
        eventually(lambda: False, seconds=5)
        yield b""

    call = blocked.stream_unary(EXPORT)
    with pytest.raises(grpc.RpcError) as caught:
        call(endless())
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    details = dict(caught.value.trailing_metadata())["grpc-status-details-bin"]
    retry = error_details_pb2.RetryInfo()
    assert status_pb2.Status.FromString(details).details[0].Unpack(retry)
    assert retry.retry_delay.seconds == 3
    blocked.close()

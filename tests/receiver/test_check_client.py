"""Looking into a request costs nobody else anything: bounded here, beside, or in a process that may die of it."""

from __future__ import annotations

import gzip
import json
import os
import signal
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from halo_receiver import check_client, request_check, wire
from halo_receiver.check_client import Checking, TooHard
from halo_receiver.decode import Undecodable
from halo_receiver.spool_queue import Busy
from tests.fixtures_receiver import ReceiverProcess, eventually, post, trace_request

MIB = 2**20
JSON = {"Content_Type": "application/json"}
SPAN = {"traceId": "a" * 32, "spanId": "b" * 16, "name": "x"}


def request(*spans: dict[str, Any]) -> bytes:
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]}).encode()


def large(events: int) -> bytes:
    """One span with so many events of which each says nothing."""
    return request({**SPAN, "events": [0]}).replace(b"[0]", b"[" + b",".join([b"{}"] * events) + b"]")


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[ReceiverProcess]:
    process = ReceiverProcess(tmp_path / "data")
    yield process
    process.kill()


def checkers(receiver: ReceiverProcess) -> list[int]:
    return receiver.children("halo_receiver.check_process")


class Sent(threading.Thread):
    """A JSON request on its way; its status once it is answered."""

    def __init__(self, receiver: ReceiverProcess, body: bytes) -> None:
        super().__init__(daemon=True)
        self.url, self.body, self.answer = f"{receiver.http}/v1/traces", body, b""
        self.status = 0
        self.start()

    def run(self) -> None:
        self.status, _, self.answer = post(self.url, self.body, **JSON)


def test_protobuf_is_taken_while_a_process_hangs_over_json(receiver: ReceiverProcess) -> None:
    assert post(f"{receiver.http}/v1/traces", request(SPAN), **JSON)[0] == 200
    [pid] = checkers(receiver)
    os.kill(pid, signal.SIGSTOP)
    hanging = Sent(receiver, request(SPAN))
    receiver.export(trace_request((1, 1)))
    assert post(f"{receiver.http}/v1/traces", request(SPAN), **JSON)[0] == 200, "there is a second one"
    assert hanging.is_alive()
    os.kill(pid, signal.SIGCONT)
    hanging.join(20)
    assert hanging.status == 200


def test_a_process_that_was_killed_is_nobodys_fault_and_there_is_another(receiver: ReceiverProcess) -> None:
    """By the system, when memory is short: the request may come again. 503, for a Collector drops it on others."""
    assert post(f"{receiver.http}/v1/traces", request(SPAN), **JSON)[0] == 200
    [pid] = checkers(receiver)
    os.kill(pid, signal.SIGSTOP)
    hanging = Sent(receiver, request(SPAN))
    eventually(lambda: hanging.is_alive())
    os.kill(pid, signal.SIGKILL)
    hanging.join(20)
    assert hanging.status in (503, 200), "200: it had not been given the request yet"
    assert post(f"{receiver.http}/v1/traces", request(SPAN), **JSON)[0] == 200


def test_a_request_that_processes_die_of_is_refused_for_good(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if 'halo_receiver.check_process' in ' '.join(sys.orig_argv):\n"
        "    from halo_receiver import request_check\n"
        "    as_it_is = request_check.check\n"
        "    def die(kind, encoding, body):\n"
        "        if b'poison' in body: os.abort()\n"
        "        return as_it_is(kind, encoding, body)\n"
        "    request_check.check = die\n"
    )
    receiver = ReceiverProcess(
        tmp_path / "data", PYTHONPATH=f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    )
    try:
        status, headers, body = post(f"{receiver.http}/v1/traces", request({**SPAN, "name": "poison"}), **JSON)
        assert (status, headers.get("Retry-After")) == (413, None)
        assert b"2 processes died of the request" in body
        assert post(f"{receiver.http}/v1/traces", request(SPAN), **JSON)[0] == 200
        assert receiver.log().count("checker ended") == 2
    finally:
        receiver.kill()


async def looked(body: bytes, **options: Any) -> Any:
    checking_ = Checking(**{"limit": 64 * MIB, "memory_bytes": 512 * MIB, "cpu_seconds": 10, **options})
    try:
        return await checking_.look("traces", "json", "none", body)
    finally:
        checking_.close()


async def test_json_that_takes_too_much_memory_is_refused_for_good_and_says_what_to_do() -> None:
    with pytest.raises((TooHard, Undecodable)) as caught:
        await looked(large(490_000), memory_bytes=16 * MIB)
    assert "batches" in caught.value.hint


async def test_json_that_takes_too_much_processor_time_is_refused_for_good() -> None:
    with pytest.raises(TooHard, match=r"more than 0\.01 s of processor time") as caught:
        await looked(large(400_000), cpu_seconds=0.01)
    assert caught.value.hint == "send smaller batches, or protobuf"


async def test_an_unforeseen_error_over_a_request_is_one_of_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """To look at it is a pure function: what it does once it does always, and a Collector would send it for minutes."""
    checkers = check_client.Checkers(memory_bytes=MIB, cpu_seconds=1)
    with pytest.raises(Undecodable, match="cannot be looked at: KeyError: 1"):
        checkers._told({"error": "failed", "message": "KeyError: 1"})


async def test_who_waits_too_long_for_a_process_is_told_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_client, "QUEUE_SECONDS", 0.01)
    monkeypatch.setattr(check_client, "PROCESSES", 0)
    with pytest.raises(Busy, match="wait to be looked at"):
        await looked(request(SPAN))


async def test_a_process_that_does_not_answer_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_client, "REPLY_SECONDS", 0.01)
    with pytest.raises(Busy, match="does not answer"):
        await looked(large(400_000))


def dense(number: int) -> bytes:
    """A span with so many empty events: two bytes each."""
    span = b"\x0a\x10" + b"a" * 16 + b"\x12\x08" + b"b" * 8 + b"\x5a\x00" * number
    for field in (2, 2, 1):
        length, size = b"", len(span)
        while size > 0x7F:
            length, size = length + bytes([size & 0x7F | 0x80]), size >> 7
        span = bytes([field << 3 | 2]) + length + bytes([size]) + span
    return span


@pytest.mark.skipif(not wire.available(), reason="the wire scanner was not built here")
@pytest.mark.parametrize(
    ("body", "compression", "here"),
    [
        (trace_request((1, 1)), "none", True),
        (trace_request((1, 1), size=3 * MIB), "none", True),  # what is long costs nothing
        (gzip.compress(trace_request((1, 1))), "gzip", True),
        (dense(check_client.INLINE_FIELDS), "none", False),
        (gzip.compress(dense(check_client.INLINE_FIELDS)), "gzip", False),
        (gzip.compress(trace_request((1, 1), size=MIB)), "gzip", False),
        (gzip.compress(trace_request((1, 1))) + gzip.compress(b""), "gzip", False),
        (b"\x0a\x00" * 5000, "none", False),
    ],
    ids=["a span", "long", "gzip", "many fields", "many fields, gzip", "long, gzip", "two members", "many resources"],
)
def test_what_is_not_soon_looked_at_is_looked_at_elsewhere(body: bytes, compression: str, here: bool) -> None:
    """The event loop looks at a millisecond's worth of fields, whatever the size; the answer is the same."""
    checking_ = Checking(limit=64 * MIB, memory_bytes=512 * MIB, cpu_seconds=10)
    found = checking_._here("traces", compression, body)
    assert (found is not None) == here
    assert not here or checking_._beside("traces", compression, body) == found
    checking_.close()


MEMBERS = gzip.compress(b"") * (request_check.MAX_MEMBERS + 1)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (gzip.compress(bytes(64 * MIB)), 400),
        (gzip.compress(bytes(65 * MIB)), 413),
        (zlib.compress(bytes(65 * MIB)), 413),
        (MEMBERS, 413),
        (b"".join(gzip.compress(part) for part in (trace_request((1, 1))[:20], trace_request((1, 1))[20:])), 200),
    ],
    ids=["zeros", "too many", "deflate", "members", "two members"],
)
def test_what_inflates_has_bounds(receiver: ReceiverProcess, body: bytes, status: int) -> None:
    """64 KiB that become 64 MiB; members of twenty bytes each, which were copied for each other."""
    headers = {"Content_Type": "application/x-protobuf", "Content_Encoding": "gzip"}
    assert post(f"{receiver.http}/v1/traces", body, **headers)[0] == status
    receiver.export(trace_request((2, 1)))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("startTimeUnixNano", "9" * 5000), ("startTimeUnixNano", 10**30), ("endTimeUnixNano", "-" + "9" * 5000),
        ("kind", "9" * 5000), ("kind", 10**25), ("status", {"code": "1" * 5000}), ("flags", "9" * 5000),
        ("droppedAttributesCount", 10**400), ("attributes", [{"key": "a", "value": {"intValue": "9" * 5000}}]),
        ("attributes", [{"key": "a", "value": {"doubleValue": 10**400}}]), ("startTimeUnixNano", 1e308),
        ("traceState", "\ud800"), ("attributes", [{"key": "\udfff", "value": {"stringValue": "\ud800"}}]),
    ],
    ids=range(13),
)  # fmt: skip
def test_numbers_of_any_length_and_any_text_are_taken(receiver: ReceiverProcess, field: str, value: Any) -> None:
    """Python refuses to read numbers of over 4,300 digits; such a request was told to come back, for ever."""
    spans = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [{**SPAN, field: 0}]}]}]})
    for written in (json.dumps(value), json.dumps(value).strip('"')):
        body = spans.replace(f'"{field}": 0', f'"{field}": {written}')
        status, headers, _ = post(f"{receiver.http}/v1/traces", body.encode(), **JSON)
        assert (status in (200, 400), headers.get("Retry-After")) == (True, None), (written[:30], status)
    assert "ERROR" not in receiver.log()
    assert receiver.rows("SELECT count(*) AS n FROM spans")[0]["n"] >= 1


def test_a_server_that_was_blocked_itself_does_not_take_its_loader_for_stuck(tmp_path: Path) -> None:
    """Time that passes between two looks is time in which nobody listened to the loader."""
    jump = tmp_path / "jump"
    jump.write_text("0")
    patch = (
        "import time, types\nfrom pathlib import Path\nimport halo_receiver.loader_client as client\n"
        f"later = lambda: time.monotonic() + float(Path({str(jump)!r}).read_text())\n"
        "client.time = types.SimpleNamespace(monotonic=later)\n"
    )
    receiver = ReceiverProcess(tmp_path / "data", patch=patch)
    try:
        loader = receiver.loader
        jump.write_text("3600")
        receiver.export(trace_request((1, 1)))
        assert receiver.rows("SELECT count(*) AS n FROM spans") == [{"n": 1}]
        assert receiver.loader == loader
        assert receiver.metric("halo_loader_stuck_total") == 0
        assert "loader stuck" not in receiver.log()
    finally:
        receiver.kill()

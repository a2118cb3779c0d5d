"""What is looked at before an acknowledgement, without a server around it."""

from __future__ import annotations

import gzip
import json
import random
import zlib
from types import ModuleType

import pytest

from benchmarks import payloads
from halo_receiver import decode, request_check, wire
from halo_receiver.decode import Undecodable
from halo_receiver.otlp_messages import LogsRequest, TraceRequest

LIMIT = 3000


def inflated(body: bytes) -> bytes | str:
    try:
        return request_check.inflate(body, LIMIT)
    except (request_check.TooLarge, Undecodable) as error:
        return type(error).__name__


def packed(generator: random.Random) -> tuple[bytes, bytes]:
    """Some bytes, and the same as clients send them."""
    plain = generator.randbytes(generator.randrange(1, 200)) * generator.randrange(1, 30)
    forms = (
        lambda: gzip.compress(plain, generator.choice([0, 1, 6, 9])),
        lambda: zlib.compress(plain),
    )
    return plain, generator.choice(forms)()


@pytest.mark.parametrize("library", [zlib, request_check._zlib], ids=["zlib", "the fast one"])
def test_either_library_inflates_what_is_whole_and_nothing_else(
    library: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the fast one is missing, the other must say the same: a request that one took, the other may load."""
    monkeypatch.setattr(request_check, "_zlib", library)
    generator = random.Random(7)
    for _ in range(500):
        plain, body = packed(generator)
        assert inflated(body) == (plain if len(plain) <= LIMIT else "TooLarge")
        assert inflated(gzip.compress(plain[:9]) + gzip.compress(plain[9:90])) == plain[:90]
        assert inflated(body[: generator.randrange(1, len(body) - 8)]) in ("Undecodable", "TooLarge")
        flipped = bytearray(body)
        flipped[generator.randrange(10, len(body))] ^= 1 << generator.randrange(8)
        assert inflated(bytes(flipped)) in ("Undecodable", "TooLarge", plain)


@pytest.fixture(params=[True, False], ids=["scanned", "without the scanner"])
def scanned(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if not request.param:
        monkeypatch.setattr(wire, "_wire", None)
    elif not wire.available():
        pytest.skip("SKIPPED: the scanner was not built here")
    return bool(request.param)


def many_messages(kind: str) -> tuple[str, bytes]:
    """One span, or log record, with more in it than a request may hold."""
    number = request_check.MAX_MESSAGES + 1
    if kind == "log body":
        logs = LogsRequest()
        record = logs.resource_logs.add().scope_logs.add().log_records.add()
        record.body.array_value.MergeFromString(b"\x0a\x00" * number)
        return "logs", logs.SerializeToString()
    request = TraceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add()
    span.trace_id, span.span_id = bytes(range(16)), bytes(range(1, 9))
    if kind == "value in a value":
        pairs = span.attributes.add(key=b"deep").value.kvlist_value
        pairs.values.add(key=b"deeper").value.kvlist_value.MergeFromString(b"\x0a\x00" * number)
        return "traces", request.SerializeToString()
    field = {"attributes": b"\x4a\x00", "events": b"\x5a\x00", "links": b"\x6a\x00"}[kind]
    span.MergeFromString(field * number)
    return "traces", request.SerializeToString()


@pytest.mark.parametrize("kind", ["attributes", "events", "links", "value in a value", "log body"])
def test_too_many_empty_messages_are_refused_for_good_before_any_is_built(
    kind: str, scanned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten megabytes of them became half a gigabyte, and the 64 that a request may have two."""
    signal, body = many_messages(kind)

    def build(*_: object) -> None:
        raise AssertionError("messages were built")

    monkeypatch.setattr(decode, "parse", build)
    with pytest.raises(Undecodable, match="holds more than 5000000 spans") as refusal:
        request_check.check(signal, "protobuf", body)
    assert refusal.value.hint == "send smaller batches"


def test_too_many_messages_in_json_are_refused_before_they_are_read() -> None:
    span = {"traceId": "0" * 31 + "1", "spanId": "0" * 15 + "1", "attributes": [0]}
    document = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]})
    body = document.replace("[0]", "[" + "{}," * request_check.MAX_MESSAGES + "{}]").encode()
    with pytest.raises(Undecodable, match="holds more than 5000000 spans"):
        request_check.check("traces", "json", body)


def test_as_many_small_spans_as_fit_into_a_request_are_not_too_many(scanned: bool) -> None:
    (request,) = payloads.requests("plain", count=1, spans=256)
    times = 2**26 // len(request.body)
    assert request_check.check("traces", "protobuf", bytes(request.body) * times).items == 256 * times


def test_damage_in_a_large_body_is_named_by_the_parser() -> None:
    (request,) = payloads.requests("plain", count=1, spans=256)
    body = bytes(request.body) * 90
    with pytest.raises(Undecodable, match="is not a protobuf ExportTraceServiceRequest"):
        request_check.check("traces", "protobuf", body[:-100])

"""Whatever is sent, over both transports, is answered with a code of the specification; the receiver goes on."""

from __future__ import annotations

import gzip
import json
import os
import random
import zlib
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.fixtures_receiver import EXPORT, ReceiverProcess, eventually, post, trace_request

pytestmark = pytest.mark.slow

REQUESTS = int(os.environ.get("HALO_FUZZ_REQUESTS", "400"))
EXPORT_LOGS = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
GRPC_CODES = {"OK", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"}
HTTP_CODES = {200, 400, 413, 415}
GROWTH_BYTES = 150 * 2**20  # of either process over all of it; one request of ours is below 1 MiB


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReceiverProcess]:
    process = ReceiverProcess(tmp_path_factory.mktemp("fuzz") / "data")
    yield process
    process.kill()


def mutated(generator: random.Random, bodies: list[bytes]) -> bytes:
    """Damage what a real SDK sent, or make something up."""
    body = bytearray(generator.choice(bodies))
    match generator.randrange(8):
        case 0:
            return generator.randbytes(generator.randrange(300))
        case 1:
            return bytes(body[: generator.randrange(len(body))])
        case 2:
            place = generator.randrange(len(body))
            return bytes(body[:place] + generator.randbytes(8) + body[place:])
        case 3:
            other = generator.choice(bodies)
            return bytes(body[: generator.randrange(len(body))]) + other[generator.randrange(len(other)) :]
        case 4:
            return b"\x0a\xff\xff\xff\xff\x0f" + bytes(body)
        case _:
            for _ in range(generator.randrange(1, 8)):
                body[generator.randrange(len(body))] = generator.randrange(256)
            return bytes(body)


def packed(generator: random.Random, body: bytes) -> tuple[bytes, str]:
    """Compress it, perhaps, and perhaps damage that too."""
    match generator.randrange(4):
        case 0:
            body = gzip.compress(body, 1)
            return (body[: generator.randrange(len(body))], "gzip") if generator.randrange(3) == 0 else (body, "gzip")
        case 1:
            return zlib.compress(body, 1), "deflate"
        case _:
            return body, "identity"


def resident(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))


def test_mutated_captures_and_random_bytes_are_answered_and_grow_nothing(
    receiver: ReceiverProcess, captures: Path
) -> None:
    seed = int(os.environ.get("HALO_FUZZ_SEED", "0")) or random.randrange(2**32)
    generator = random.Random(seed)
    binary = [path.read_bytes() for path in sorted(captures.glob("*/[tl]*-001.pb"))]
    text = [path.read_bytes() for path in sorted(captures.glob("*/[tl]*-001.json"))]
    loader, started = receiver.loader, {}
    accepted = 0
    with grpc.insecure_channel(receiver.grpc) as channel:
        exports = [channel.unary_unary(path) for path in (EXPORT, EXPORT_LOGS)]
        for number in range(REQUESTS):
            if number == 50:  # warm
                started = {pid: resident(pid) for pid in (receiver.process.pid, loader)}
            if number % 2:
                body, _ = packed(generator, mutated(generator, binary))
                try:
                    generator.choice(exports)(body, timeout=10)
                    accepted += 1
                except grpc.RpcError as error:
                    code, said = error.code().name, error.details()
                    if code not in GRPC_CODES:
                        raise AssertionError(f"seed {seed}, request {number}: {code}: {said}") from None
            else:
                as_json = generator.randrange(2)
                body, encoding = packed(generator, mutated(generator, text if as_json else binary))
                headers = {"Content-Type": f"application/{'json' if as_json else 'x-protobuf'}"}
                path = generator.choice(["traces", "logs", "metrics"])
                status, _, _ = post(f"{receiver.http}/v1/{path}", body, **headers, Content_Encoding=encoding)
                assert status in HTTP_CODES, f"seed {seed}, request {number}: {status}"
                accepted += status == 200
    assert accepted > REQUESTS // 20, "nearly nothing got beyond the parser: the mutations are too wild"
    receiver.export(trace_request((2**100, 1)))
    found = receiver.rows(f"SELECT count(*) AS n FROM spans WHERE trace_id = '{2**100:032x}'")
    assert found == [{"n": 1}], f"seed {seed}"
    assert receiver.loader == loader, f"seed {seed}: the loader died"
    eventually(lambda: receiver.metric("halo_spool_backlog_bytes") == 0)
    for pid, before in started.items():
        assert resident(pid) - before < GROWTH_BYTES, f"seed {seed}"


def test_json_that_nests_without_end_is_refused(receiver: ReceiverProcess) -> None:
    for body in (b"[" * 100_000, b'{"a":' * 100_000, json.dumps({"resourceSpans": [[[[[[]]]]]]}).encode()):
        status, _, _ = post(f"{receiver.http}/v1/traces", body, Content_Type="application/json")
        assert status in (200, 400)


def test_attributes_that_nest_without_end_are_cut_or_refused_and_the_loader_lives(receiver: ReceiverProcess) -> None:
    def wrapped(value: bytes) -> bytes:
        """An AnyValue that is an array of one value."""
        inner = b"\x0a" + length(value) + value
        return b"\x2a" + length(inner) + inner

    def length(value: bytes) -> bytes:
        size, made = len(value), bytearray()
        while size > 127:
            made.append(size & 127 | 128)
            size >>= 7
        return bytes([*made, size])

    for depth in (20, 60, 200, 5000):
        value = b"\x0a\x01x"
        for _ in range(depth):
            value = wrapped(value)
        pair = b"\x0a\x01k\x12" + length(value) + value
        span = b"\x0a\x10" + b"\x07" * 16 + b"\x12\x08" + depth.to_bytes(8, "big") + b"\x4a" + length(pair) + pair
        scope = b"\x12" + length(span) + span
        resource = b"\x12" + length(scope) + scope
        status, _, _ = post(
            f"{receiver.http}/v1/traces", b"\x0a" + length(resource) + resource, Content_Type="application/x-protobuf"
        )
        assert status in (200, 400)
    before = receiver.loader
    receiver.rows("SELECT attributes FROM spans LIMIT 1")
    eventually(lambda: receiver.metric("halo_spool_backlog_bytes") == 0)
    assert receiver.loader == before

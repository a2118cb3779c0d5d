"""Who may do what: an ingest key only exports, a read key only reads, an operator's does everything."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from pydantic import SecretStr

from halo_receiver.auth import Keys, Role, Verdict
from halo_receiver.config import load_receiver
from halo_receiver.errors import ConfigError
from tests.fixtures_receiver import EXPORT, RawHttp2, ReceiverProcess, post, trace_request

INGEST, READ, OPERATOR = "ingest-key-of-length", "read-key-of-length", "operator-key-of-length"
PROTOBUF = {"Content_Type": "application/x-protobuf"}
SEAL = "/halo.v1.Segments/Seal"


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReceiverProcess]:
    process = ReceiverProcess(
        tmp_path_factory.mktemp("auth") / "data",
        HALO_AUTH_INGEST_KEYS=INGEST, HALO_AUTH_READ_KEYS=READ, HALO_AUTH_OPERATOR_KEYS=OPERATOR,
    )  # fmt: skip
    yield process
    process.kill()


def by_grpc(receiver: ReceiverProcess, path: str, key: str | None, body: bytes = b"") -> str:
    try:
        receiver.export(body, path=path, **({"authorization": f"Bearer {key}"} if key else {}))
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def by_http(receiver: ReceiverProcess, path: str, key: str | None, method: str = "POST") -> int:
    headers = {**PROTOBUF, **({"Authorization": f"Bearer {key}"} if key else {})}
    return post(f"{receiver.http}{path}", b"" if method == "POST" else None, method=method, **headers)[0]


@pytest.mark.parametrize(
    ("key", "export", "seal", "metrics"),
    [
        (INGEST, "OK", "PERMISSION_DENIED", 403),
        (READ, "PERMISSION_DENIED", "PERMISSION_DENIED", 200),
        (OPERATOR, "OK", "OK", 200),
        ("another", "UNAUTHENTICATED", "UNAUTHENTICATED", 401),
        (None, "UNAUTHENTICATED", "UNAUTHENTICATED", 401),
    ],
)
def test_what_a_key_may(receiver: ReceiverProcess, key: str | None, export: str, seal: str, metrics: int) -> None:
    assert by_grpc(receiver, EXPORT, key, trace_request((1, 1))) == export
    assert {by_grpc(receiver, f"/halo.v1.Segments/{method}", key) for method in ("Seal", "List", "Status")} == {seal}
    http = {"OK": 200, "PERMISSION_DENIED": 403, "UNAUTHENTICATED": 401}[export]
    assert {by_http(receiver, f"/v1/{signal}", key) for signal in ("traces", "logs", "metrics")} == {http}
    assert by_http(receiver, "/metrics", key, "GET") == metrics
    assert {by_http(receiver, path, key, "GET") for path in ("/healthz", "/readyz")} == {200}, "probes need no key"


def test_the_local_token_may_everything(receiver: ReceiverProcess) -> None:
    token = str(receiver.address["token"])
    assert by_grpc(receiver, EXPORT, token, trace_request((1, 1))) == "OK"
    assert by_grpc(receiver, SEAL, token) == "OK"
    assert by_http(receiver, "/metrics", token, "GET") == 200


def test_who_is_refused_is_told_what_is_needed_and_who_scrapes_is_told_at_the_start(receiver: ReceiverProcess) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        receiver.export(b"", authorization=f"Bearer {READ}")
    assert "[auth] ingest_keys" in caught.value.details()
    status, headers, body = post(f"{receiver.http}/metrics", None, method="GET")
    assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
    assert b"[auth] read_keys" in body
    assert "metrics need a key: scrape with one of [auth] read_keys" in receiver.log()
    assert not any(key in receiver.log() for key in (INGEST, READ, OPERATOR))


@pytest.mark.parametrize("value", [b"Bearer \xff\xfe", b"\xff", b"Bearer \xed\xa0\x80", b"Bearer \x80" * 10, b"Bearer"])
def test_a_header_of_any_bytes_is_a_wrong_key(receiver: ReceiverProcess, value: bytes) -> None:
    """401 as for any other, and no line in the log: who has no key could fill the disk with them."""
    before = receiver.log()
    host, _, port = str(receiver.address["http"]).rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as sock:
        sock.sendall(
            b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
            b"Content-Length: 0\r\nAuthorization: " + value + b"\r\n\r\n"
        )
        assert sock.recv(200).split()[1] == b"401"
    raw = RawHttp2(receiver.grpc)
    raw.request(EXPORT, b"", authorization=value)
    with raw.socket:
        raw.read_until(b"grpc-status")
    assert receiver.log() == before


def test_metrics_are_open_where_the_settings_say_so_and_where_no_key_reads(tmp_path: Path) -> None:
    for number, environment in enumerate(
        ({"HALO_AUTH_READ_KEYS": READ, "HALO_AUTH_METRICS_OPEN": "true"}, {"HALO_RECEIVER_API_KEYS": INGEST})
    ):
        process = ReceiverProcess(tmp_path / f"data-{number}", **environment)
        try:
            assert post(f"{process.http}/metrics", None, method="GET")[0] == 200
            assert "metrics need a key" not in process.log()
        finally:
            process.kill()


def test_without_keys_exports_are_open_and_operators_calls_are_not() -> None:
    keys = Keys(local_token="token")
    assert keys.judge(None, Role.INGEST) is Verdict.ALLOWED
    assert keys.judge(None, Role.OPERATE) is Verdict.UNKNOWN
    assert keys.judge("Bearer token", Role.OPERATE) is Verdict.ALLOWED
    only_operators = Keys(operator=[SecretStr(OPERATOR)])
    assert only_operators.judge(None, Role.READ) is Verdict.UNKNOWN, "who sets an operator's key closes what it opens"


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"HALO_RECEIVER_API_KEYS": ""}, "[receiver] api_keys: key 1 is empty"),
        ({"HALO_AUTH_INGEST_KEYS": " , "}, "[auth] ingest_keys: key 1 is empty"),
        ({"HALO_AUTH_READ_KEYS": "long-enough-a-key,short"}, "[auth] read_keys: key 2 has 5 characters, 8 are needed"),
        ({"HALO_AUTH_OPERATOR_KEYS": "long enough a key"}, "[auth] operator_keys: key 1 has a space"),
        ({"HALO_RECEIVER_API_KEYS": "schlüssel-lang"}, "[receiver] api_keys: key 1 has a space or a character"),
    ],
)
def test_keys_that_protect_nothing_are_refused_at_the_start(environment: dict[str, str], message: str) -> None:
    """Set and empty is how a variable looks whose secret was not found: it must not mean open."""
    with pytest.raises(ConfigError) as caught:
        load_receiver(file=Path("/dev/null"), environment=environment)
    assert message in str(caught.value)
    assert not any(key and key in f"{caught.value} {caught.value.hint}" for key in ("long-enough-a-key", "schlüssel"))


def test_short_keys_under_the_older_name_still_work_and_are_warned_of(tmp_path: Path) -> None:
    process = ReceiverProcess(tmp_path / "data", HALO_RECEIVER_API_KEYS="tiny")
    try:
        process.export(trace_request((1, 1)), authorization="Bearer tiny")
        assert "WARNING short keys in [receiver] api_keys" in process.log()
        assert "tiny" not in process.log()
    finally:
        process.kill()

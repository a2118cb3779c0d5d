"""The receiver as its peers see it: acknowledged means durable, and every answer is the one OTLP asks for."""

from __future__ import annotations

import gzip
import json
import random
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from tests.fixtures_receiver import ReceiverProcess, eventually, trace_request

COUNT = "SELECT count(*) AS n FROM spans"
PROTOBUF = {"Content-Type": "application/x-protobuf"}


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[ReceiverProcess]:
    process = ReceiverProcess(tmp_path / "data")
    yield process
    process.kill()


def post(url: str, body: bytes, **headers: str) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(url, body, {name.replace("_", "-"): value for name, value in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


def test_what_the_sdk_exports_is_found(receiver: ReceiverProcess) -> None:
    exporter = OTLPSpanExporter(endpoint=receiver.grpc, insecure=True, compression=grpc.Compression.Gzip)
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    for number in range(50):
        with provider.get_tracer("test").start_as_current_span("step") as span:
            span.set_attribute("number", number)
    provider.shutdown()
    rows = receiver.rows("SELECT sum((attributes->>'number')::INT) AS total, count(*) AS n FROM spans")
    assert rows == [{"total": 49 * 25, "n": 50}]


def test_a_good_request_is_answered_with_partial_success_unset(receiver: ReceiverProcess) -> None:
    for body in (trace_request((1, 1)), b""):
        answer = ExportTraceServiceResponse.FromString(receiver.export(body))
        assert not answer.HasField("partial_success")


def test_a_span_with_a_bad_id_is_told_and_the_rest_is_stored(receiver: ReceiverProcess) -> None:
    answer = ExportTraceServiceResponse.FromString(receiver.export(trace_request((1, 1), (0, 2), (1, 3))))
    assert answer.partial_success.rejected_spans == 1
    assert "span 2: trace_id is all zeros" in answer.partial_success.error_message
    assert receiver.rows(COUNT) == [{"n": 2}]


def test_the_same_request_twice_is_shown_once_also_across_segments(receiver: ReceiverProcess) -> None:
    body = trace_request((1, 1), (1, 2))
    receiver.export(body)
    receiver.export(body)
    assert receiver.rows(COUNT) == [{"n": 2}]
    receiver.export(body)
    assert receiver.rows("SELECT span_count FROM traces") == [{"span_count": 2}]


@pytest.mark.parametrize(
    ("body", "says"), [(b"\xff\xff", "not a protobuf"), (gzip.compress(b"x" * 10)[:-4], "ends before its compressed")]
)
def test_what_is_wrong_for_good_is_invalid_argument(receiver: ReceiverProcess, body: bytes, says: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        receiver.export(body)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert says in caught.value.details()


def test_a_bomb_is_stopped_at_the_limit_and_is_not_to_be_retried(receiver: ReceiverProcess) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        receiver.export(gzip.compress(b"\n" * (65 * 2**20)))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "after decompression" in caught.value.details()
    assert b"RetryInfo" not in dict(caught.value.trailing_metadata())["grpc-status-details-bin"]


def test_a_full_disk_is_answered_unavailable_with_when_to_come_back(tmp_path: Path) -> None:
    """Collectors retry UNAVAILABLE, so trouble of ours costs delay and never spans."""
    receiver = ReceiverProcess(tmp_path / "data", HALO_RECEIVER_MIN_FREE_BYTES=str(2**60))
    try:
        with pytest.raises(grpc.RpcError) as caught:
            receiver.export(trace_request((1, 1)))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        details = dict(caught.value.trailing_metadata())["grpc-status-details-bin"]
        retry = error_details_pb2.RetryInfo()
        assert status_pb2.Status.FromString(details).details[0].Unpack(retry)
        assert retry.retry_delay.seconds == 5
        status, headers, _ = post(f"{receiver.http}/v1/traces", trace_request((1, 1)), Content_Type="application/json")
        assert (status, headers["Retry-After"]) == (503, "5")
        assert post(f"{receiver.http}/readyz", b"")[0] == 405
        with pytest.raises(urllib.error.HTTPError, match="503"):
            urllib.request.urlopen(f"{receiver.http}/readyz")
        channel = grpc.insecure_channel(receiver.grpc)
        stub = health_pb2_grpc.HealthStub(channel)
        eventually(lambda: stub.Check(health_pb2.HealthCheckRequest()).status == 2)
    finally:
        receiver.kill()


def test_http_speaks_protobuf_and_json_in_kind(receiver: ReceiverProcess) -> None:
    status, headers, body = post(f"{receiver.http}/v1/traces", trace_request((1, 1)), **PROTOBUF)
    assert (status, headers["Content-Type"], body) == (200, "application/x-protobuf", b"")
    document = {"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "0" * 31 + "2", "spanId": "0" * 15 + "1"}]}]}]}
    body = gzip.compress(json.dumps(document).encode())
    status, headers, body = post(
        f"{receiver.http}/v1/traces", body, Content_Type="application/json; charset=utf-8", Content_Encoding="gzip"
    )
    assert (status, body) == (200, b"{}")
    assert headers["Content-Type"].startswith("application/json")
    assert receiver.rows(COUNT) == [{"n": 2}]


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("/v1/traces", b"{", {"Content-Type": "application/json"}, 400),
        ("/v1/traces", b"x", {"Content-Type": "text/plain"}, 415),
        ("/v1/traces", b"x", {**PROTOBUF, "Content-Encoding": "zstd"}, 415),
        ("/v1/nothing", b"x", PROTOBUF, 404),
    ],
)
def test_http_errors_are_the_ones_collectors_know(
    receiver: ReceiverProcess, path: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    assert post(f"{receiver.http}{path}", body, **headers)[0] == status


def test_logs_sent_to_the_traces_path_are_refused_and_nothing_is_stored(
    receiver: ReceiverProcess, captures: Path
) -> None:
    body = (captures / "otel-genai-openai" / "logs-001.pb").read_bytes()
    status, _, answer = post(f"{receiver.http}/v1/traces", body, **PROTOBUF)
    assert status == 400
    assert status_pb2.Status.FromString(answer).message
    assert post(f"{receiver.http}/v1/logs", body, **PROTOBUF)[0] == 200
    assert receiver.rows(COUNT) == [{"n": 0}]
    assert receiver.rows("SELECT count(*) AS n FROM logs") == [{"n": 4}]


def test_metrics_are_accepted_and_counted(receiver: ReceiverProcess, captures: Path) -> None:
    body = (captures / "claude-code" / "metrics-001.pb").read_bytes()
    assert post(f"{receiver.http}/v1/metrics", body, **PROTOBUF)[0] == 200
    with urllib.request.urlopen(f"{receiver.http}/metrics") as answer:
        assert "halo_ignored_metrics_requests_total 1.0" in answer.read().decode()


def test_any_of_several_keys_opens_and_none_does_not(tmp_path: Path) -> None:
    receiver = ReceiverProcess(tmp_path / "data", HALO_RECEIVER_API_KEYS="old,new")
    try:
        for key in ("old", "new"):
            receiver.export(trace_request((1, 1)), authorization=f"Bearer {key}")
        for wrong in ("Bearer other", "old", ""):
            with pytest.raises(grpc.RpcError) as caught:
                receiver.export(trace_request((1, 1)), authorization=wrong)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert post(f"{receiver.http}/v1/traces", b"", **PROTOBUF)[0] == 401
        assert receiver.rows(COUNT) == [{"n": 1}]
    finally:
        receiver.kill()


def test_sigterm_drains_and_seals_and_a_second_start_goes_on(tmp_path: Path) -> None:
    receiver = ReceiverProcess(tmp_path / "data")
    receiver.export(trace_request(*((1, span) for span in range(1, 100))))
    assert receiver.terminate() == 0
    assert not (tmp_path / "data" / "receiver.json").exists()
    assert not list((tmp_path / "data" / "segments").glob("*.open*"))
    receiver = ReceiverProcess(tmp_path / "data")
    try:
        receiver.export(trace_request((2, 1)))
        assert receiver.rows(COUNT) == [{"n": 100}]
    finally:
        receiver.kill()


def test_a_second_receiver_on_the_directory_says_who_has_it(receiver: ReceiverProcess) -> None:
    with pytest.raises(AssertionError, match=r"error: .* is in use by a receiver \(process \d+\)\nhint:"):
        ReceiverProcess(receiver.data_dir)


def test_kill_at_any_moment_loses_nothing_that_was_acknowledged_and_doubles_nothing(tmp_path: Path) -> None:
    """Rounds of load, each ended by SIGKILL to receiver and loader; rolls happen meanwhile."""
    data_dir, random_ = tmp_path / "data", random.Random(1)
    acknowledged: set[int] = set()
    sent = 0
    for _ in range(6):
        receiver = ReceiverProcess(data_dir, HALO_STORE_ROTATE_SECONDS="0.3")
        stop = threading.Event()

        def load(receiver: ReceiverProcess = receiver, stop: threading.Event = stop) -> None:
            nonlocal sent
            with grpc.insecure_channel(receiver.grpc) as channel:
                export = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
                while not stop.is_set():
                    first = sent + 1
                    sent += 20
                    try:
                        export(trace_request(*((n, n) for n in range(first, first + 20)), size=200), timeout=10)
                    except grpc.RpcError:
                        return
                    acknowledged.update(range(first, first + 20))

        thread = threading.Thread(target=load)
        before = len(acknowledged)
        thread.start()
        target = before + random_.randint(1, 60) * 20
        eventually(lambda target=target: len(acknowledged) >= target)
        receiver.kill()
        stop.set()
        thread.join()
    receiver = ReceiverProcess(data_dir)
    try:
        stored = [int(row["trace_id"], 16) for row in receiver.rows("SELECT trace_id FROM spans")]
    finally:
        receiver.kill()
    assert acknowledged <= set(stored)
    assert len(stored) == len(set(stored))

"""The server's side of the OTLP specification, answer by answer, over real gRPC and HTTP."""

from __future__ import annotations

import gzip
import itertools
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from halo_receiver.otlp_messages import TraceRequest
from tests.fixtures_receiver import EXPORT, RawHttp2, ReceiverProcess, eventually, post, trace_request

PROTOBUF = {"Content-Type": "application/x-protobuf"}
JSON = {"Content-Type": "application/json"}
EXPORT_LOGS = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
EXPORT_METRICS = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
TRACES = itertools.count(1)


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReceiverProcess]:
    """One for all tests here: each uses a trace of its own."""
    process = ReceiverProcess(tmp_path_factory.mktemp("protocol") / "data")
    yield process
    process.kill()


@pytest.fixture
def trace() -> int:
    return next(TRACES)


def stored(receiver: ReceiverProcess, trace: int) -> int:
    return int(receiver.rows(f"SELECT count(*) AS n FROM spans WHERE trace_id = '{trace:032x}'")[0]["n"])


def refusal(receiver: ReceiverProcess, body: bytes, *, path: str = EXPORT) -> tuple[str, str, status_pb2.Status]:
    with pytest.raises(grpc.RpcError) as caught:
        receiver.export(body, path=path)
    details = dict(caught.value.trailing_metadata()).get("grpc-status-details-bin", b"")
    return caught.value.code().name, caught.value.details(), status_pb2.Status.FromString(details)


# gRPC


def test_what_the_sdk_exports_is_found_with_and_without_gzip(receiver: ReceiverProcess) -> None:
    for compression in (grpc.Compression.Gzip, grpc.Compression.NoCompression):
        exporter = OTLPSpanExporter(endpoint=receiver.grpc, insecure=True, compression=compression)
        provider = TracerProvider(resource=Resource({"service.name": f"sdk-{compression.name}"}))
        provider.add_span_processor(BatchSpanProcessor(exporter))
        for number in range(50):
            with provider.get_tracer("test").start_as_current_span("step") as span:
                span.set_attribute("number", number)
        provider.shutdown()
        rows = receiver.rows(
            "SELECT sum((attributes->>'number')::INT) AS total, count(*) AS n FROM spans "
            f"WHERE service_name = 'sdk-{compression.name}'"
        )
        assert rows == [{"total": 49 * 25, "n": 50}]


def test_a_good_request_is_answered_with_partial_success_unset(receiver: ReceiverProcess, trace: int) -> None:
    answer = ExportTraceServiceResponse.FromString(receiver.export(trace_request((trace, 1))))
    assert not answer.HasField("partial_success")


def test_a_request_without_telemetry_is_a_success_and_stores_nothing(receiver: ReceiverProcess) -> None:
    """Also with empty envelopes, such as the one rotel sends when it stops."""
    envelope = TraceRequest()
    envelope.resource_spans.add().resource.attributes.add(key=b"service.name", value={"string_value": b"empty"})
    envelope.resource_spans[0].scope_spans.add()
    for body in (b"", envelope.SerializeToString()):
        answer = ExportTraceServiceResponse.FromString(receiver.export(body))
        assert not answer.HasField("partial_success")
        assert post(f"{receiver.http}/v1/traces", body, **PROTOBUF)[::2] == (200, b"")
    assert post(f"{receiver.http}/v1/traces", b"{}", **JSON)[::2] == (200, b"{}")
    assert receiver.rows("SELECT count(*) AS n FROM spans WHERE service_name = 'empty'") == [{"n": 0}]


def test_a_span_with_a_bad_id_is_told_and_the_rest_is_stored(receiver: ReceiverProcess, trace: int) -> None:
    answer = ExportTraceServiceResponse.FromString(receiver.export(trace_request((trace, 1), (0, 2), (trace, 3))))
    assert answer.partial_success.rejected_spans == 1
    assert "span 2: trace_id is all zeros" in answer.partial_success.error_message
    assert stored(receiver, trace) == 2


def test_many_bad_spans_make_a_short_answer(receiver: ReceiverProcess, trace: int) -> None:
    body = trace_request((trace, 1), *((0, n) for n in range(1, 5000)))
    raw = receiver.export(body)
    assert ExportTraceServiceResponse.FromString(raw).partial_success.rejected_spans == 4999
    assert len(raw) < 2000


def test_8192_spans_with_one_bad_id_one_bad_utf8_and_one_that_ends_before_it_starts(
    receiver: ReceiverProcess, trace: int
) -> None:
    """Only the id is beyond salvage; the others are kept, marked in the counters."""
    request = TraceRequest.FromString(trace_request((0, 1), *((trace, n) for n in range(2, 8193)), service="salvage"))
    spans = request.resource_spans[0].scope_spans[0].spans
    spans[1].name = b"caf\xe9"
    spans[2].end_time_unix_nano = 1
    answer = ExportTraceServiceResponse.FromString(receiver.export(request.SerializeToString()))
    assert answer.partial_success.rejected_spans == 1
    found = receiver.rows(
        "SELECT count(*) AS n, count(*) FILTER (name = 'caf\ufffd') AS mended, "
        "count(*) FILTER (duration_ns < 0) AS back FROM spans WHERE service_name = 'salvage'"
    )
    assert found == [{"n": 8191, "mended": 1, "back": 1}]
    text = receiver.metrics()
    assert 'halo_loader_events_total{event="mended: text was not UTF-8: replaced"}' in text
    assert 'halo_loader_events_total{event="mended: span ends before it starts"}' in text


def test_an_oversize_attribute_is_cut_and_marked_and_duplicate_keys_keep_the_last(
    receiver: ReceiverProcess, trace: int
) -> None:
    request = TraceRequest.FromString(trace_request((trace, 1)))
    span = request.resource_spans[0].scope_spans[0].spans[0]
    span.attributes.add(key=b"long", value={"string_value": b"x" * (2**20 + 100)})
    span.attributes.add(key=b"twice", value={"string_value": b"first"})
    span.attributes.add(key=b"twice", value={"int_value": 2})
    answer = ExportTraceServiceResponse.FromString(receiver.export(request.SerializeToString()))
    assert not answer.HasField("partial_success")
    row = receiver.rows(
        f"SELECT attributes->>'long' AS long, attributes->'twice' AS twice FROM spans WHERE trace_id = '{trace:032x}'"
    )[0]
    assert row["long"].endswith(f"… [cut by halo: {2**20 + 100} bytes]")
    assert row["long"].startswith("x" * 2**20)
    assert row["twice"] == "2"
    assert "duplicate attribute key: last kept" in receiver.metrics()
    assert "attribute value over the limit: cut" in receiver.metrics()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"\xff\xff", "not a protobuf"),
        (trace_request((9, 9))[:-3], "not a protobuf"),
        (gzip.compress(b"x" * 10, mtime=0)[:-4], "ends before its compressed"),
        (b'{"resourceSpans": []}', "it starts like JSON"),
    ],
)
def test_what_is_wrong_for_good_is_invalid_argument_with_what_is_wrong(
    receiver: ReceiverProcess, body: bytes, says: str
) -> None:
    code, message, status = refusal(receiver, body)
    assert code == "INVALID_ARGUMENT"
    assert says in message
    violation = error_details_pb2.BadRequest()
    assert status.details[0].Unpack(violation)
    assert violation.field_violations[0].description


def test_a_request_just_below_the_limit_is_taken_and_one_above_is_not_to_be_retried(
    receiver: ReceiverProcess, trace: int
) -> None:
    receiver.export(trace_request(*((trace, n) for n in range(1, 64)), size=10**6), timeout=60)
    code, message, status = refusal(receiver, trace_request(*((trace, n) for n in range(1, 66)), size=2**20))
    assert code == "RESOURCE_EXHAUSTED"
    assert "larger than max" in message
    assert not status.details
    assert stored(receiver, trace) == 63


def test_a_bomb_is_stopped_at_the_limit_and_is_not_to_be_retried(receiver: ReceiverProcess) -> None:
    bomb = gzip.compress(bytes(2**28), compresslevel=1)
    peak = peak_bytes(receiver)
    code, message, status = refusal(receiver, bomb)
    assert (code, len(status.details)) == ("RESOURCE_EXHAUSTED", 0)
    assert "after decompression" in message
    assert post(f"{receiver.http}/v1/traces", bomb, **PROTOBUF, Content_Encoding="gzip")[0] == 413
    assert peak_bytes(receiver) - peak < 300 * 2**20


def test_a_swarm_of_empty_messages_is_refused_at_once_and_others_are_answered_meanwhile(
    receiver: ReceiverProcess, trace: int
) -> None:
    swarm = gzip.compress(b"\x0a\x00" * (8 * 2**20), compresslevel=1)
    with grpc.insecure_channel(receiver.grpc) as channel:
        waiting = channel.unary_unary(EXPORT).future(swarm, timeout=30)
        receiver.export(trace_request((trace, 1)), timeout=10)
        assert waiting.exception(timeout=30).code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "smaller batches" in waiting.exception().details()


def peak_bytes(receiver: ReceiverProcess) -> int:
    status = Path(f"/proc/{receiver.process.pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def test_zstd_and_snappy_over_grpc_are_internal_as_the_readme_warns(receiver: ReceiverProcess) -> None:
    """The library answers before any handler runs; when this changes, the README's warning can go."""
    for compression in ("zstd", "snappy"):
        connection = RawHttp2(receiver.grpc)
        connection.request(EXPORT, b"\x28\xb5\x2f\xfd", grpc_encoding=compression)
        assert b"grpc-status\x0213" in connection.read_until(b"grpc-encoding' metadata")


def test_pings_as_frequent_as_any_collectors_are_tolerated(receiver: ReceiverProcess) -> None:
    """Without calls, and far more often than each ten seconds: gRPC's defaults would end the connection."""
    connection = RawHttp2(receiver.grpc)
    for _ in range(30):
        connection.ping()
    came = connection.read_until(b"\x00\x00\x08\x06\x01")
    connection.request(EXPORT, b"")
    came += connection.read_until(b"grpc-status")
    assert b"too_many_pings" not in came


def test_a_service_that_is_not_ours_is_unimplemented(receiver: ReceiverProcess) -> None:
    path = "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export"
    assert refusal(receiver, b"", path=path)[0] == "UNIMPLEMENTED"


def test_logs_and_metrics_have_their_services(receiver: ReceiverProcess, captures: Path) -> None:
    logs = (captures / "otel-genai-openai" / "logs-001.pb").read_bytes()
    before = receiver.rows("SELECT count(*) AS n FROM logs")[0]["n"]
    assert not ExportLogsServiceResponse.FromString(receiver.export(logs, path=EXPORT_LOGS)).HasField("partial_success")
    assert receiver.rows("SELECT count(*) AS n FROM logs")[0]["n"] == before + 4
    metrics = (captures / "claude-code" / "metrics-001.pb").read_bytes()
    ignored = receiver.metric("halo_ignored_metrics_requests_total")
    answer = ExportMetricsServiceResponse.FromString(receiver.export(metrics, path=EXPORT_METRICS))
    assert not answer.HasField("partial_success")
    assert post(f"{receiver.http}/v1/metrics", metrics, **PROTOBUF)[0] == 200
    assert receiver.metric("halo_ignored_metrics_requests_total") == ignored + 2


def test_health_serves_every_name_that_is_asked_for(receiver: ReceiverProcess) -> None:
    with grpc.insecure_channel(receiver.grpc) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for name in ("", "opentelemetry.proto.collector.trace.v1.TraceService"):
            assert stub.Check(health_pb2.HealthCheckRequest(service=name)).status == 1
    assert post(f"{receiver.http}/healthz", None, method="GET")[::2] == (200, b"ok\n")
    assert post(f"{receiver.http}/readyz", None, method="GET")[::2] == (200, b"ok\n")


# HTTP


def test_http_speaks_protobuf_and_json_in_kind(receiver: ReceiverProcess, trace: int) -> None:
    status, headers, body = post(f"{receiver.http}/v1/traces", trace_request((trace, 1)), **PROTOBUF)
    assert (status, headers["Content-Type"], body) == (200, "application/x-protobuf", b"")
    span = {"traceId": f"{trace:032x}".upper(), "spanId": "0" * 15 + "2", "unknownField": {"ignored": True}}
    document = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()
    for packed, encoding in ((gzip.compress(document), "gzip"), (zlib.compress(document), "deflate")):
        status, headers, body = post(
            f"{receiver.http}/v1/traces",
            packed,
            Content_Type="application/json; charset=utf-8",
            Content_Encoding=encoding,
        )
        assert (status, body) == (200, b"{}")
        assert headers["Content-Type"] == "application/json", "the Collector reads no other as JSON"
    assert stored(receiver, trace) == 2


def test_http_tells_a_partial_success_in_kind(receiver: ReceiverProcess, trace: int) -> None:
    status, _, body = post(f"{receiver.http}/v1/traces", trace_request((trace, 1), (0, 2)), **PROTOBUF)
    assert (status, ExportTraceServiceResponse.FromString(body).partial_success.rejected_spans) == (200, 1)
    spans = [{"traceId": f"{trace:032x}", "spanId": "0" * 15 + "3"}, {"traceId": "abc", "spanId": "0" * 15 + "4"}]
    document = {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}
    status, _, body = post(f"{receiver.http}/v1/traces", json.dumps(document).encode(), **JSON)
    assert (status, json.loads(body)["partialSuccess"]["rejectedSpans"]) == (200, "1")
    assert stored(receiver, trace) == 2


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("/v1/traces", b"{", JSON, 400),
        ("/v1/traces", b"\xff\xff", PROTOBUF, 400),
        ("/v1/traces", b"not gzip", {**PROTOBUF, "Content-Encoding": "gzip"}, 400),
        ("/v1/traces", bytes(2**26 + 1), PROTOBUF, 413),
        ("/v1/traces", gzip.compress(bytes(2**26 + 1), 1), {**JSON, "Content-Encoding": "gzip"}, 413),
        ("/v1/traces", b"x", {**PROTOBUF, "Content-Encoding": "zstd"}, 415),
        ("/v1/traces", b"{}", {**JSON, "Content-Encoding": "snappy"}, 415),
        ("/v1/nothing", b"x", PROTOBUF, 404),
        ("/v1/nothing", b"{}", JSON, 404),
    ],
)
def test_every_http_error_is_a_status_in_the_encoding_of_the_request(
    receiver: ReceiverProcess, path: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    code, answered, answer = post(f"{receiver.http}{path}", body, **headers)
    assert code == status
    assert answered["Content-Type"].startswith(headers["Content-Type"])
    message = json.loads(answer)["message"] if headers["Content-Type"] == "application/json" else ""
    assert message or status_pb2.Status.FromString(answer).message
    assert "Retry-After" not in answered


def test_a_wrong_method_and_a_wrong_type_are_told_as_a_collector_tells_them(receiver: ReceiverProcess) -> None:
    assert post(f"{receiver.http}/v1/traces", b"x", Content_Type="text/plain")[0] == 415
    status, headers, _ = post(f"{receiver.http}/v1/traces", None, method="GET")
    assert (status, headers["Allow"]) == (405, "POST")
    status, _, body = post(f"{receiver.http}/v1/traces", b"", method="PUT", **PROTOBUF)
    assert status == 405
    assert status_pb2.Status.FromString(body).message


def test_logs_sent_to_the_traces_path_are_refused_and_nothing_is_stored(
    receiver: ReceiverProcess, captures: Path
) -> None:
    body = (captures / "otel-genai-openai" / "logs-001.pb").read_bytes()
    before = receiver.rows("SELECT count(*) AS n FROM spans")
    status, _, answer = post(f"{receiver.http}/v1/traces", body, **PROTOBUF)
    assert status == 400
    assert "/v1/logs" in status_pb2.Status.FromString(answer).message
    assert "/v1/logs" in refusal(receiver, body)[1]
    assert receiver.rows("SELECT count(*) AS n FROM spans") == before


def test_traces_sent_to_the_logs_path_are_refused(receiver: ReceiverProcess, captures: Path) -> None:
    for capture in sorted(captures.glob("*/traces-001.pb")):
        status, _, answer = post(f"{receiver.http}/v1/logs", capture.read_bytes(), **PROTOBUF)
        assert (status, capture.parent.name) == (400, capture.parent.name)
        assert "/v1/traces" in status_pb2.Status.FromString(answer).message


def test_what_is_counted_is_seen_per_service(receiver: ReceiverProcess, trace: int) -> None:
    receiver.export(trace_request((trace, 1), (trace, 2), (0, 3), service="counted"))
    text = receiver.metrics()
    assert 'halo_accepted_total{service="counted",signal="traces"} 2.0' in text
    assert 'halo_rejected_total{service="counted",signal="traces"} 1.0' in text
    eventually(lambda: receiver.metric("halo_loader_lag_seconds") == 0)
    for name in (
        "halo_received_bytes_total", "halo_refused_requests_total", "halo_acknowledgement_seconds_count",
        "halo_spool_backlog_bytes", "halo_disk_free_bytes", "halo_segments", "halo_ready", "halo_loader_restarts_total",
    ):  # fmt: skip
        assert name in text, name


def test_only_who_can_read_the_directory_may_seal(receiver: ReceiverProcess) -> None:
    for metadata in ({}, {"authorization": "Bearer guessed"}):
        with pytest.raises(grpc.RpcError) as caught:
            receiver.export(b"", path="/halo.v1.Segments/Seal", **metadata)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert (receiver.data_dir / "receiver.json").stat().st_mode & 0o77 == 0

"""The demo's fleet: the same for the same seed, mostly healthy, and sent as any SDK would send it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent import futures

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

from halo_worker.demo import emit
from halo_worker.demo.emit import NotAcknowledged
from halo_worker.demo.fleet import FLEET, visits

NOW = 1_790_000_000_000_000_000
DAY = 86_400_000_000_000


class Sink(TraceServiceServicer):
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self.endpoint = ""
        self.refuse = False

    def Export(self, request: ExportTraceServiceRequest, context: grpc.ServicerContext) -> ExportTraceServiceResponse:
        if self.refuse:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no")
        self.requests.append(request)
        return ExportTraceServiceResponse()

    def spans(self) -> list[tuple[str, object]]:
        return [
            (next(a.value.string_value for a in resource.resource.attributes if a.key == "service.name"), span)
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@pytest.fixture
def sink() -> Iterator[Sink]:
    server = grpc.server(futures.ThreadPoolExecutor(2), options=[("grpc.max_receive_message_length", 64 * 2**20)])
    servicer = Sink()
    add_TraceServiceServicer_to_server(servicer, server)
    servicer.endpoint = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield servicer
    server.stop(None)


def test_the_same_seed_sends_the_same_spans(sink: Sink) -> None:
    first = emit(sink.endpoint, now_ns=NOW, days=1, traces_per_day=40)
    once = sorted(request.SerializeToString(deterministic=True) for request in sink.requests)
    sink.requests.clear()
    assert emit(sink.endpoint, now_ns=NOW, days=1, traces_per_day=40) == first
    assert sorted(request.SerializeToString(deterministic=True) for request in sink.requests) == once


def test_every_span_is_whole_and_lies_in_its_trace_and_in_the_past(sink: Sink) -> None:
    """No orphan, no dropped attribute, no child outside its parent: broken telemetry is not what the demo shows."""
    emitted = emit(sink.endpoint, now_ns=NOW, days=2, traces_per_day=120)
    spans = {(span.trace_id, span.span_id): span for _, span in sink.spans()}
    assert len(spans) == emitted.spans
    assert len({trace_id for trace_id, _ in spans}) == emitted.traces
    for span in spans.values():
        assert span.dropped_attributes_count == 0
        assert NOW - 2 * DAY <= span.start_time_unix_nano <= span.end_time_unix_nano < NOW
        if span.parent_span_id:
            parent = spans[span.trace_id, span.parent_span_id]
            assert parent.start_time_unix_nano <= span.start_time_unix_nano
            assert span.end_time_unix_nano <= parent.end_time_unix_nano


def test_two_conventions_and_four_services_are_spoken(sink: Sink) -> None:
    emit(sink.endpoint, now_ns=NOW, days=1, traces_per_day=80)
    keys = {(service, attribute.key) for service, span in sink.spans() for attribute in span.attributes}
    services = {service for service, _ in keys}
    assert services == {"support-api", "handbook-rag", "patch-agent", "research-desk"}
    assert {service for service, key in keys if key == "gen_ai.operation.name"} == {"support-api", "research-desk"}
    assert {service for service, key in keys if key == "openinference.span.kind"} == {"handbook-rag", "patch-agent"}


def test_nine_of_ten_traces_are_healthy_and_every_mode_appears() -> None:
    planned = list(visits(now_ns=NOW, days=5, traces_per_day=400, seed=7))
    modes = Counter(visit.mode.key for visit in planned if visit.mode)
    assert 1_800 <= len(planned) <= 2_300
    assert 0.04 <= sum(modes.values()) / len(planned) <= 0.12
    assert set(modes) == {mode.key for team in FLEET for mode in team.modes}
    assert min(modes.values()) >= 5


def test_the_calendar_has_a_new_a_resolved_and_a_returning_mode() -> None:
    """Whatever hour the demo is run at."""
    for hour in range(0, 24, 5):
        planned = list(visits(now_ns=NOW + hour * 3_600_000_000_000, days=5, traces_per_day=400, seed=7))
        seen: dict[str, set[int]] = {}
        for visit in planned:
            if visit.mode:
                seen.setdefault(visit.mode.key, set()).add(
                    int((NOW + hour * 3_600_000_000_000 - visit.start_ns) // DAY)
                )
        assert seen["refund_in_cents"] == {0}
        assert seen["tracking_times_out"] == {1, 2, 3, 4}
        assert seen["invented_answer"] == {0, 3}
        assert 0 not in seen["rate_limited"]


def test_the_demo_is_the_same_at_any_hour() -> None:
    """By the real hour, a demo at night would show a tenth of what was planted for today."""

    def plan(now_ns: int) -> list[tuple[int, str, str]]:
        planned = visits(now_ns=now_ns, days=5, traces_per_day=400, seed=7)
        return [(now_ns - one.start_ns, one.scenario.__name__, one.agent.version) for one in planned]

    assert plan(NOW) == plan(NOW + 11 * 3_600_000_000_000)


def test_a_refused_batch_is_an_error_with_a_hint(sink: Sink) -> None:
    sink.refuse = True
    with pytest.raises(NotAcknowledged, match="did not acknowledge"):
        emit(sink.endpoint, now_ns=NOW, days=1, traces_per_day=10)

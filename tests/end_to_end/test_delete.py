"""`halo delete` beside a receiver: refused while one runs, and what clients send late of it is dropped."""

from __future__ import annotations

import signal
from collections.abc import Callable

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.end_to_end.conftest import Halo, Service, eventually
from tests.worker.test_delete import OTHER, USER, left_over


def test_a_late_retry_of_a_deleted_trace_is_not_stored_and_the_receiver_goes_on(
    halo: Halo, serve: Callable[..., Service]
) -> None:
    first = serve("receive")
    address = eventually(first.address, what="receive is ready")
    spans = _spans(USER)
    _send(address["grpc"], spans)
    refused = halo.attempt("delete", "--user", USER, "--yes").stderr.decode()
    assert "nothing was deleted: " in refused
    assert "stop 'halo up'" in refused
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    eventually(lambda: halo.attempt("delete", "--user", USER, "--yes").returncode == 0, what="the loader has ended")
    assert left_over(halo.data_dir) == []
    second = serve("receive")
    address = eventually(second.address, what="receive is ready again")
    _send(address["grpc"], spans)
    _send(address["grpc"], _spans(OTHER))
    assert halo.query("SELECT DISTINCT user_id FROM spans") == [{"user_id": OTHER}]
    assert second.stop() == 0


def _spans(user: str) -> list[ReadableSpan]:
    kept = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    attributes = {"gen_ai.operation.name": "invoke_agent", "user.id": user}
    provider.get_tracer("test").start_span("invoke_agent shop", attributes=attributes).end()
    return list(kept.get_finished_spans())


def _send(endpoint: str, spans: list[ReadableSpan]) -> None:
    OTLPSpanExporter(endpoint, insecure=True).export(spans)

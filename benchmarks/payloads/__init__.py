"""Export requests for the ingest benchmark: agents' spans of about 7.6 kB, plain HTTP spans of about 0.5 kB.

A `Request` is encoded once and may be sent any number of times: `renew` writes new trace ids into its bytes, so that
every replay holds spans the receiver has not seen.
"""

from __future__ import annotations

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from benchmarks.payloads.request import Request, of_message
from benchmarks.payloads.traces import Writer, key_value

__all__ = ["Request", "requests"]


def _encode(groups: list[tuple[str, str, list[Span]]]) -> Request:
    request = ExportTraceServiceRequest()
    for service, scope_name, spans in groups:
        group = ResourceSpans()
        group.resource.attributes.extend(
            [
                key_value("service.name", service), key_value("service.version", "2.14.1"),
                key_value("telemetry.sdk.language", "python"), key_value("telemetry.sdk.name", "opentelemetry"),
                key_value("host.name", "worker-17.internal"),
            ]
        )  # fmt: skip
        scoped = ScopeSpans()
        scoped.scope.name = scope_name
        scoped.scope.version = "1.2.3"
        scoped.spans.extend(spans)
        group.scope_spans.append(scoped)
        request.resource_spans.append(group)
    return of_message(request)


def requests(workload: str, *, count: int, spans: int, seed: int = 1) -> list[Request]:
    """Return `count` different requests of about `spans` spans each: workload `llm` or `plain`."""
    writer = Writer(seed)
    out = []
    for _ in range(count):
        groups: dict[str, list[Span]] = {}
        number = 0
        total = 0
        while total < spans:
            number += 1
            trace = b"\0" * 8 + bytes([number % 256]) + writer.rng.randbytes(7)
            if workload == "llm":
                genai = number % 2 == 0
                made = writer.agent_trace(trace, genai)
                scope = "opentelemetry.instrumentation.openai_v2" if genai else "openinference.instrumentation.openai"
            else:
                made = writer.http_trace(trace)
                scope = "opentelemetry.instrumentation.asgi"
            made = made[: spans - total]
            groups.setdefault(scope, []).extend(made)
            total += len(made)
        service = "support-agent" if workload == "llm" else "shop"
        out.append(_encode([(service, scope, group) for scope, group in groups.items()]))
    return out

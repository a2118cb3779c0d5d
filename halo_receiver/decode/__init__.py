"""OTLP protobuf, OTLP/JSON and flat HALO lines → spans, log records and rejections. Pure: bytes in, objects out.

body ──protobuf──▶ messages ─┐
body ──json──────▶ objects ──┴▶ Span, LogRecord (span.py)      a bad span → Rejection, a repaired one → warnings
line ──flat──────▶ Span
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from halo_receiver.decode import from_json, from_protobuf, message_count_limit
from halo_receiver.decode.flat import flat_span
from halo_receiver.decode.from_json import refusals
from halo_receiver.decode.from_protobuf import parse
from halo_receiver.decode.repair import MAX_ATTRIBUTE_BYTES, Item, Repair, Undecodable, id_problem
from halo_receiver.span import Decoded

Encoding = Literal["protobuf", "json"]

__all__ = [
    "MAX_ATTRIBUTE_BYTES",
    "Encoding",
    "Item",
    "Repair",
    "Undecodable",
    "decode_logs",
    "decode_traces",
    "each",
    "flat_span",
    "id_problem",
    "message_count_limit",
    "parse",
    "refusals",
]


def each(kind: str, body: bytes, *, encoding: Encoding, repair: Repair) -> Iterator[Item]:
    """Yield what a request of `traces` or `logs` holds, one by one: large JSON is parsed as far as it is iterated over.

    What is yielded and raised is as in `decode_traces` and `decode_logs`; `repair` counts what is repaired.
    """
    source = from_json if encoding == "json" else from_protobuf
    yield from source.logs(body, repair) if kind == "logs" else source.traces(body, repair)


def decode_traces(
    body: bytes, *, encoding: Encoding = "protobuf", max_attribute_bytes: int = MAX_ATTRIBUTE_BYTES
) -> Decoded:
    """Turn the body of one ExportTraceServiceRequest into spans.

    resource_spans[] → scope_spans[] → spans[] becomes one flat list in request order, and
    len(spans) + len(rejected) is the number sent. A span is rejected, with a reason, when its trace_id is not
    16 or its span_id not 8 bytes, or either is all zeros. Everything else is repaired and counted in `warnings`:
    invalid UTF-8 (kept with U+FFFD), duplicate keys (the last wins), times beyond int64 (clamped), strings over
    `max_attribute_bytes` (cut, and marked at their end), end before start (kept as sent).

    Raises Undecodable when the body as a whole cannot be parsed, and for nothing else.

    Source: opentelemetry/proto/trace/v1/trace.proto; OTLP specification, "JSON Protobuf Encoding".
    """
    repair = Repair(max_attribute_bytes)
    return repair.gather(each("traces", body, encoding=encoding, repair=repair))


def decode_logs(
    body: bytes, *, encoding: Encoding = "protobuf", max_attribute_bytes: int = MAX_ATTRIBUTE_BYTES
) -> Decoded:
    """Turn the body of one ExportLogsServiceRequest into log records; repaired and raised as in `decode_traces`.

    A record needs no ids; ids of a wrong length are dropped and counted, the record is kept.

    Source: opentelemetry/proto/logs/v1/logs.proto.
    """
    repair = Repair(max_attribute_bytes)
    return repair.gather(each("logs", body, encoding=encoding, repair=repair))

"""What a client is told, as OTLP's messages: the response of each signal, and google.rpc.Status for what failed."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from halo_receiver.intake import Answer, Kind


def status_details(answer: Answer, retry_seconds: float) -> bytes:
    """Return google.rpc.Status for a failed answer, with RetryInfo where the client should come again."""
    status = status_pb2.Status(code=grpc.StatusCode[answer.code].value[0], message=answer.message)
    if answer.retry:
        seconds, nanos = int(retry_seconds), int(retry_seconds % 1 * 1e9)
        delay = error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=seconds, nanos=nanos))
        packed = any_pb2.Any()
        packed.Pack(delay)
        status.details.append(packed)
    elif answer.code == "INVALID_ARGUMENT":
        packed = any_pb2.Any()
        packed.Pack(
            error_details_pb2.BadRequest(
                field_violations=[error_details_pb2.BadRequest.FieldViolation(field="body", description=answer.message)]
            )
        )
        status.details.append(packed)
    return bytes(status.SerializeToString())


def response(kind: Kind, answer: Answer) -> Any:
    """Return the export response message of that signal."""
    module: Any = {"traces": trace_service_pb2, "logs": logs_service_pb2, "metrics": metrics_service_pb2}[kind]
    name = {"traces": "Trace", "logs": "Logs", "metrics": "Metrics"}[kind]
    message = getattr(module, f"Export{name}ServiceResponse")()
    if answer.rejected:
        field = {"traces": "rejected_spans", "logs": "rejected_log_records", "metrics": "rejected_data_points"}[kind]
        setattr(message.partial_success, field, answer.rejected)
        message.partial_success.error_message = answer.message
    return message

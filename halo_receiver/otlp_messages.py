"""OTLP's protobuf messages with every string field as bytes.

One string that is not UTF-8 makes google.protobuf refuse the whole request, and the Collector forwards such data. So
the installed descriptors are copied with `string` turned into `bytes`; the wire format of the two is the same, and
the decoder replaces what is not UTF-8 in the one field that has it. Parsing costs the same.

Source: opentelemetry-proto's descriptors; protobuf encoding, "Length-Delimited Records".
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

_FILES = (common_pb2, resource_pb2, trace_pb2, logs_pb2, trace_service_pb2, logs_service_pb2)


def _copy_with_bytes() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    for module in _FILES:
        file = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        todo = list(file.message_type)
        while todo:
            message = todo.pop()
            todo.extend(message.nested_type)
            for field in message.field:
                if field.type == descriptor_pb2.FieldDescriptorProto.TYPE_STRING:
                    field.type = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES
        pool.Add(file)
    return pool


_POOL = _copy_with_bytes()


def _message(name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(name))


TraceRequest = _message("opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest")
LogsRequest = _message("opentelemetry.proto.collector.logs.v1.ExportLogsServiceRequest")

"""The descriptors of what the receiver's gRPC port speaks, for tools that have no stubs: `make proto` writes them."""

from __future__ import annotations

import sys

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FileDescriptor
from grpc_health.v1 import health_pb2
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from halo_receiver.pb import segments_pb2

SERVICES = (trace_service_pb2, logs_service_pb2, metrics_service_pb2, health_pb2, segments_pb2)


def descriptor_set() -> descriptor_pb2.FileDescriptorSet:
    """Return the files of every service and of what they need, each after what it imports."""
    found: dict[str, FileDescriptor] = {}

    def add(file: FileDescriptor) -> None:
        for needed in file.dependencies:
            add(needed)
        found.setdefault(file.name, file)

    for module in SERVICES:
        add(module.DESCRIPTOR)
    made = descriptor_pb2.FileDescriptorSet()
    for file in found.values():
        file.CopyToProto(made.file.add())
        for message in made.file[-1].message_type:
            _name_in_json(message)
    return made


def _name_in_json(message: descriptor_pb2.DescriptorProto) -> None:
    """Say how JSON names the fields: the runtime drops it, and some tools then show the names of the .proto."""
    for field in message.field:
        first, *rest = field.name.split("_")
        field.json_name = first + "".join(word.capitalize() for word in rest)
    for inner in message.nested_type:
        _name_in_json(inner)


if __name__ == "__main__":
    sys.stdout.buffer.write(descriptor_set().SerializeToString(deterministic=True))

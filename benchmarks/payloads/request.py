"""An encoded request, and where its trace ids are."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_NONCE = struct.Struct("<Q")


@dataclass(slots=True)
class Request:
    """The bytes of one export request, and where its trace ids are."""

    body: bytearray
    spans: int
    places: list[int] = field(default_factory=list)

    def renew(self, number: int) -> bytearray:
        """Write trace ids that depend on `number` into the body: the first eight bytes of each are replaced."""
        nonce = _NONCE.pack(number + 1)
        body = self.body
        for place in self.places:
            body[place : place + 8] = nonce  # the other half of the id tells the traces of a request apart
        return body


def of_message(message: ExportTraceServiceRequest) -> Request:
    """Encode a request whose trace ids are 16 bytes each."""
    spans = [span for group in message.resource_spans for scope in group.scope_spans for span in scope.spans]
    body = bytearray(message.SerializeToString())
    result = Request(body, len(spans))
    for trace in {span.trace_id for span in spans}:
        place = body.find(trace)
        while place >= 0:
            result.places.append(place)
            place = body.find(trace, place + 16)
    return result

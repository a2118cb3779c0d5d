"""What SDKs recorded, replayed at scale: fresh ids, and texts of a size and kind.

`recordings` finds the payloads that the tests read: those beside them, and those in the folder that HALO_SHARED names.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.payloads.request import Request, of_message
from benchmarks.payloads.traces import Writer

REPOSITORY = Path(__file__).resolve().parent.parent.parent
Text = Literal["recorded", "natural", "random", "repeated"]


def recordings() -> dict[str, list[bytes]]:
    """Return the recorded requests by the SDK that sent them."""
    found: dict[str, list[bytes]] = {}
    paths = [*sorted((REPOSITORY / "tests" / "data" / "sdk").glob("*.pb"))]
    shared = Path(os.environ.get("HALO_SHARED") or REPOSITORY.parent / "shared") / "otlp-captures"
    paths += sorted(shared.glob("*/traces-*.pb"))
    for path in paths:
        name = path.stem if path.parent.name == "sdk" else path.parent.name
        body = path.read_bytes()
        if not name.endswith(".logs") and _spans(body):
            found.setdefault(name, []).append(body)
    return found


def _spans(body: bytes) -> int:
    try:
        message = ExportTraceServiceRequest.FromString(body)
    except DecodeError:
        return 0
    return sum(len(scope.spans) for group in message.resource_spans for scope in group.scope_spans)


def replayed(bodies: list[bytes], *, spans: int, text: Text, bytes_a_span: int = 0, seed: int = 1) -> list[Request]:
    """Return requests of at least `spans` spans in all; texts grow until a span has about `bytes_a_span`."""
    rng, found, count = random.Random(seed), list[Request](), 0
    words = _words(text, seed)
    while count < spans:
        for body in bodies:
            message = ExportTraceServiceRequest.FromString(body)
            _renew(message, rng)
            if words is not None:
                _grow(message, bytes_a_span, words)
            request = of_message(message)
            found.append(request)
            count += request.spans
    return found


def _renew(message: ExportTraceServiceRequest, rng: random.Random) -> None:
    """Give each trace and each span another id, the same one wherever it is named."""
    ids: dict[bytes, bytes] = {}

    def fresh(old: bytes) -> bytes:
        if old not in ids:
            ids[old] = rng.randbytes(len(old))
        return ids[old]

    for group in message.resource_spans:
        for scope in group.scope_spans:
            for span in scope.spans:
                span.trace_id, span.span_id = fresh(span.trace_id), fresh(span.span_id)
                span.parent_span_id = fresh(span.parent_span_id) if span.parent_span_id else b""
                for link in span.links:
                    link.trace_id, link.span_id = fresh(link.trace_id), fresh(link.span_id)


def _words(text: Text, seed: int) -> Callable[[int], str] | None:
    writer, rng = Writer(seed), random.Random(seed)
    if text == "natural":
        return lambda size: writer.text(size // 6 + 1)[:size]
    if text == "random":
        return lambda size: "".join(rng.choices("abcdefghijklmnopqrstuvwxyz0123456789 ", k=size))
    return (lambda size: ("the same again. " * (size // 16 + 1))[:size]) if text == "repeated" else None


def _grow(message: ExportTraceServiceRequest, wanted: int, words: Callable[[int], str]) -> None:
    for group in message.resource_spans:
        for scope in group.scope_spans:
            for span in scope.spans:
                texts = [item.value for item in span.attributes if item.value.WhichOneof("value") == "string_value"]
                missing = wanted - span.ByteSize()
                if texts and missing > 0:
                    longest = max(texts, key=lambda value: len(value.string_value))
                    longest.string_value = _longer(longest.string_value, words(missing))


def _longer(text: str, more: str) -> str:
    """Put text behind the longest text in a JSON value; a value that is none is that text itself."""
    try:
        value = json.loads(text)
    except ValueError:
        return text + more
    place = max(_places(value), key=lambda found: len(found[0][found[1]]), default=None)
    if place is None:
        return json.dumps(value) if isinstance(value, (dict, list)) else text + more
    place[0][place[1]] += more
    return json.dumps(value)


def _places(value: Any) -> list[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = []
    for key, item in items:
        found += [(value, key)] if isinstance(item, str) and key not in ("role", "type", "id") else _places(item)
    return found

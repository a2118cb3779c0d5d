"""How many spans a CPU second a window of ClickHouse gives: through the wire scanner, and by the reference decoder.

    python -m benchmarks.clickhouse                 # LLM spans as the Collector's exporter stores them, all values text
    python -m benchmarks.clickhouse --spans 100000 --workload fleet    # agents of the tests' fleet, texts of usual size

A process of its own serves the rows on loopback, as ClickHouse's HTTP interface does: its work is not counted. What is
counted is the CPU of the import: HTTP, the requests, decoding, and DuckDB's sealed segment. Both in one run.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks import payloads
from halo_receiver import batch_tables, decode
from halo_receiver.decode import Repair
from halo_receiver.span import Span
from halo_worker import elsewhere
from halo_worker.config_sources import SourceConfig
from halo_worker.source import row_binary
from halo_worker.source.row_binary import ATTRIBUTES, COLUMNS, INTEGER, TEXT, UNSIGNED
from halo_worker.window import Window
from tests.generator.fleet import fleet

MAP = "Map(LowCardinality(String), String)"
# The exporter's table.
TYPES = {
    "Timestamp": "DateTime64(9)", "TraceId": "String", "SpanId": "String", "ParentSpanId": "String",
    "TraceState": "String", "SpanName": "LowCardinality(String)", "SpanKind": "LowCardinality(String)",
    "ServiceName": "LowCardinality(String)", "ResourceAttributes": MAP, "ScopeName": "String",
    "ScopeVersion": "String", "SpanAttributes": MAP, "Duration": "UInt64", "StatusCode": "LowCardinality(String)",
    "StatusMessage": "String", "Events.Timestamp": "Array(DateTime64(9))",
    "Events.Name": "Array(LowCardinality(String))", "Events.Attributes": f"Array({MAP})",
    "Links.TraceId": "Array(String)", "Links.SpanId": "Array(String)", "Links.TraceState": "Array(String)",
    "Links.Attributes": f"Array({MAP})",
}  # fmt: skip
NO_LINKS: list[list[Any]] = [[], [], [], []]


def as_text(value: Any) -> str:
    """Print an attribute as OTLP's Go library does."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def held(attributes: dict[str, Any], *, text: bool = True) -> dict[str, Any]:
    """Return attributes as a Map holds them, all values text, or as JSON does."""
    return {key: as_text(value) if text else value for key, value in attributes.items()}


def row(span: Span) -> list[Any]:
    """Return the row that `source.clickhouse` selects of a span."""
    return [
        span.start_unix_nano, span.trace_id, span.span_id, span.parent_span_id, span.name, span.kind.capitalize(),
        span.status_code.capitalize(), span.end_unix_nano - span.start_unix_nano, held(span.attributes),
        held(span.scope.resource_attributes), span.trace_state, span.scope.name, span.scope.version,
        span.status_message, [event.time_unix_nano for event in span.events], [event.name for event in span.events],
        [held(event.attributes) for event in span.events], *NO_LINKS,
    ]  # fmt: skip


def packed(values: list[Any], *, nested: bool = False) -> bytes:
    """Return a row in RowBinary, attributes as maps, or as JSON text."""
    return b"".join(_packed(value, kind, nested) for value, kind in zip(values, COLUMNS.values(), strict=True))


def _packed(value: Any, kind: str, nested: bool) -> bytes:
    if kind.startswith("Array("):
        return _count(len(value)) + b"".join(_packed(item, kind[6:-1], nested) for item in value)
    if kind in (INTEGER, UNSIGNED):
        return (int(value) % 2**64).to_bytes(8, "little")
    if kind == ATTRIBUTES and not nested:
        return _count(len(value)) + b"".join(_packed(text, TEXT, False) for pair in value.items() for text in pair)
    raw = json.dumps(value).encode() if kind == ATTRIBUTES else value.encode()
    return _count(len(raw)) + raw


def _count(size: int) -> bytes:
    out = bytearray()
    while size > 127:
        out.append(size & 127 | 128)
        size >>= 7
    return bytes([*out, size])


def _requests(workload: str, seed: int) -> Iterator[bytes]:
    if workload == "fleet":
        return (request.SerializeToString() for request, _ in fleet(500, seed=seed))
    return (bytes(request.body) for request in payloads.requests(workload, count=20, spans=500, seed=seed))


def serve(workload: str, spans: int, told: Connection) -> None:
    """Serve `spans` rows until killed; tells the port and the number."""
    lines: list[bytes] = []
    while len(lines) < spans:
        for request in _requests(workload, seed=len(lines)):
            found = decode.each("traces", request, encoding="protobuf", repair=Repair(2**20))
            lines += [packed(row(span)) for span in found if isinstance(span, Span)]
    body = b"".join(lines)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sql = self.rfile.read(int(self.headers["content-length"])).decode()
            answer = body
            if sql.startswith("DESCRIBE"):
                answer = "\n".join(json.dumps([name, kind]) for name, kind in TYPES.items()).encode()
            elif sql.startswith("SELECT count()"):
                answer = json.dumps([len(lines)]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    told.send((server.server_port, len(lines)))
    server.serve_forever()


def measured(port: int) -> tuple[int, float]:
    """Import everything; return how many spans, and the CPU seconds that it took."""
    source = SourceConfig.model_validate({"url": f"clickhouse://reader@127.0.0.1:{port}/otel"})
    with tempfile.TemporaryDirectory() as folder:
        began = time.process_time()
        copied = elsewhere.copy(source, Window(0, 1), Path(folder), now_ns=time.time_ns())
        return copied.spans, time.process_time() - began


def main() -> None:
    """Print both figures and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--spans", type=int, default=40_000)
    parser.add_argument("--workload", choices=("llm", "plain", "fleet"), default="llm")
    given = parser.parse_args()
    told, teller = multiprocessing.Pipe(duplex=False)
    server = multiprocessing.Process(target=serve, args=(given.workload, given.spans, teller), daemon=True)
    server.start()
    port, _ = told.recv()
    no_scanner: Callable[..., Any] = lambda **_: None  # noqa: E731 - what `wire.scanner` gives without a compiler
    try:
        spans, seconds = measured(port)
        with (
            mock.patch.object(batch_tables.wire, "scanner", no_scanner),
            mock.patch.object(row_binary.wire, "rows", return_value=None),
        ):
            spans_too, reference = measured(port)
    finally:
        server.kill()
    assert spans == spans_too
    print(f"{spans:,} spans ({given.workload})")
    print(f"wire scanner  {spans / seconds:10,.0f} spans/CPU s")
    print(f"reference     {spans / reference:10,.0f} spans/CPU s   {reference / seconds:.1f} times slower")


if __name__ == "__main__":
    main()

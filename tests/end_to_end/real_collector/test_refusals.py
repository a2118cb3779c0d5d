"""What the Collector makes of an answer that is not plain success: what it logs, sends again, drops.

First of halo's own answers, then of every status with which a server of OTLP may answer: on the second rests which
status halo chooses for what.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from tests.collector.process import DROPPED, RETRIED, configuration, exporter, spans
from tests.end_to_end.real_collector.conftest import Collect, Receivers
from tests.fixtures_receiver import EXPORT, eventually, trace_request

pytestmark = pytest.mark.peer
KEY = {"headers": {"authorization": "Bearer key"}}
WRONG = {"headers": {"authorization": "Bearer wrong"}}
LIMIT = 2**16

# What halo refuses for good: the exporter's settings, the size of each of ten spans, a part of the Collector's reason.
REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "otlp_grpc/no_key": ({}, 0, "code = Unauthenticated"),
    "otlp_http/no_key_http": ({}, 0, "HTTP Status Code 401"),
    "otlp_grpc/wrong_key": (WRONG, 0, "code = Unauthenticated"),
    "otlp_http/wrong_key_http": (WRONG, 0, "HTTP Status Code 401"),
    "otlp_grpc/large": (KEY, LIMIT, "code = ResourceExhausted"),
    "otlp_grpc/large_plain": ({**KEY, "compression": "none"}, LIMIT, "code = ResourceExhausted"),
    "otlp_http/large_http": (KEY, LIMIT, "HTTP Status Code 413"),
    "otlp_http/large_json": ({**KEY, "encoding": "json"}, LIMIT, "HTTP Status Code 413"),
    "otlp_grpc/zstd": ({**KEY, "compression": "zstd"}, 0, "code = Internal"),
    "otlp_grpc/snappy": ({**KEY, "compression": "snappy"}, 0, "code = Internal"),
    "otlp_http/zstd_http": ({**KEY, "compression": "zstd"}, 0, "HTTP Status Code 415"),
}


def own(name: str) -> str:
    """The part after the type: what its receiver and the service of its spans are named."""
    return name.partition("/")[2]


def ways(receivers: Receivers, settings: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """An exporter to the receiver for each name and its settings."""
    ends = {"otlp_grpc": receivers.grpc, "otlp_http": receivers.http}
    return {name: exporter(ends[name.partition("/")[0]], **given) for name, given in settings.items()}


def test_what_halo_refuses_for_good_is_dropped_with_its_reason(collect: Collect, receivers: Receivers) -> None:
    receivers.start(HALO_RECEIVER_API_KEYS="key", HALO_RECEIVER_MAX_REQUEST_BYTES=str(LIMIT))
    settings = {name: given for name, (given, _, _) in REFUSED.items()} | {"otlp_grpc/good": KEY}
    collector = collect(configuration(ways(receivers, settings)))
    for name, (_, size, _) in REFUSED.items():
        collector.send(spans(0, 10, service=own(name), size=size), f"otlp/{own(name)}")
    collector.send(spans(0, 10, service="good"), "otlp/good")
    for name, (_, _, reason) in REFUSED.items():
        [dropped] = eventually(lambda name=name: collector.log(DROPPED, component=name))
        assert (dropped["level"], dropped["dropped_items"]) == ("error", 10), name
        assert reason in dropped["error"], name
        assert not collector.log(RETRIED, component=name)
    receivers.shows(good=10)


KINDS: dict[str, dict[str, Any]] = {"otlp_grpc/grpc": {}, "otlp_http/http": {}, "otlp_http/json": {"encoding": "json"}}


def test_of_what_halo_takes_in_part_the_rest_is_neither_sent_again_nor_counted_as_dropped(
    collect: Collect, receivers: Receivers
) -> None:
    """One line of the Collector's log is all that its operator sees; halo counts what it rejected."""
    receivers.start()
    collector = collect(configuration(ways(receivers, KINDS)))
    for name in KINDS:
        without_id = trace_request((0, 1), service=own(name))
        collector.send(spans(0, 10, service=own(name)) + without_id, f"otlp/{own(name)}")
    receivers.shows(grpc=10, http=10, json=10)
    for name in KINDS:
        [warning] = collector.log("Partial success response", component=name)
        assert (warning["level"], warning["dropped_spans"]) == ("warn", 1)
        assert warning["message"].startswith("1 of 11 rejected, the rest is stored: ")
    assert not collector.log(DROPPED)
    assert not collector.log(RETRIED)
    assert receivers.now.metric("halo_rejected_total") == 3


def test_what_halo_cannot_take_now_comes_again_when_it_said(collect: Collect, receivers: Receivers) -> None:
    """The disk is full until the receiver is started again with less to keep free. Not before the two seconds."""
    receivers.start(HALO_RECEIVER_MIN_FREE_BYTES=str(2**60), HALO_RECEIVER_RETRY_SECONDS="2")
    collector = collect(configuration(ways(receivers, KINDS)))
    for name in KINDS:
        collector.send(spans(0, 10, service=own(name)), f"otlp/{own(name)}")
    for name in KINDS:
        first = eventually(lambda name=name: collector.log(RETRIED, component=name))[0]
        assert (first["level"], first["interval"]) == ("info", "2s"), name
        assert ("code = Unavailable" if name == "otlp_grpc/grpc" else "HTTP Status Code 503") in first["error"]
    receivers.now.terminate()
    receivers.start()
    receivers.shows(grpc=10, http=10, json=10)
    assert not collector.log(DROPPED)


# A server's first answer: (gRPC status, seconds of RetryInfo) or (HTTP status, Retry-After), and what comes of it.
AGAIN = {
    *((code, 0) for code in ("CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS")),
    ("UNAVAILABLE", 2), ("RESOURCE_EXHAUSTED", 2),
    (429, 0), (502, 0), (503, 0), (504, 0), (429, 2), (503, 2),
}  # fmt: skip
FOR_GOOD = {
    *((code, 0) for code in ("UNKNOWN", "INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED")),
    *((code, 0) for code in ("FAILED_PRECONDITION", "UNIMPLEMENTED", "INTERNAL", "UNAUTHENTICATED")),
    ("RESOURCE_EXHAUSTED", 0), ("INTERNAL", 2),
    (400, 0), (401, 0), (403, 0), (404, 0), (408, 0), (413, 0), (415, 0), (422, 0), (500, 0), (500, 2),
}  # fmt: skip


class Sink:
    """Answers each client, known by a header, first as the header says and then with success; counts the requests."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._grpc = grpc.server(ThreadPoolExecutor(8))
        handlers = {"Export": grpc.unary_unary_rpc_method_handler(self._export)}
        service = EXPORT.split("/")[1]
        self._grpc.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        self.grpc = f"127.0.0.1:{self._grpc.add_insecure_port('127.0.0.1:0')}"
        self._grpc.start()
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                sink._post(self)

            def log_message(self, *_: Any) -> None:
                """Silent."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def _first(self, answer: str) -> bool:
        with self._lock:
            self.requests[answer] += 1
            return self.requests[answer] == 1

    def _export(self, _body: bytes, context: Any) -> bytes:
        answer = dict(context.invocation_metadata())["x-answer"]
        code, _, seconds = answer.partition("-")
        if self._first(answer):
            status = status_pb2.Status(code=grpc.StatusCode[code].value[0], message="scripted")
            if seconds != "0":
                packed = any_pb2.Any()
                packed.Pack(error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=int(seconds))))
                status.details.append(packed)
            context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
            context.abort(grpc.StatusCode[code], "scripted")
        return b""

    def _post(self, request: BaseHTTPRequestHandler) -> None:
        answer = request.headers["x-answer"]
        code, _, seconds = answer.partition("-")
        first = self._first(answer)
        request.send_response(int(code) if first else 200)
        if first and seconds != "0":
            request.send_header("Retry-After", seconds)
        request.send_header("Content-Length", "0")
        request.end_headers()

    def stop(self) -> None:
        self._grpc.stop(None)
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def sink() -> Iterator[Sink]:
    running = Sink()
    yield running
    running.stop()


def test_every_status_is_read_as_the_table_says(collect: Collect, sink: Sink) -> None:
    """halo answers what may pass with one of AGAIN, and nothing that may pass with one of FOR_GOOD."""
    exporters = {}
    for code, seconds in AGAIN | FOR_GOOD:
        answer = f"{code}-{seconds}"
        kind, end = ("otlp_http", sink.http) if isinstance(code, int) else ("otlp_grpc", sink.grpc)
        exporters[f"{kind}/{answer}"] = exporter(end, headers={"x-answer": answer})
    collector = collect(configuration(exporters))
    for name in exporters:
        collector.send(spans(0, 1, service="any"), f"otlp/{own(name)}")
    for name in exporters:
        answer = own(name)
        code, _, seconds = answer.partition("-")
        again = (int(code) if code.isdigit() else code, int(seconds)) in AGAIN
        [entry] = eventually(
            lambda name=name, again=again: collector.log(RETRIED if again else DROPPED, component=name)
        )
        if again:
            eventually(lambda answer=answer: sink.requests[answer] == 2)
            assert entry["interval"] == f"{seconds}s" or seconds == "0", name
        assert not collector.log(DROPPED if again else RETRIED, component=name)
    assert {answer for answer, number in sink.requests.items() if number > 2} == set()

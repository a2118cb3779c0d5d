"""A run's own spans: made from its record, stored and read back, or sent to a real endpoint."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from halo_receiver.decode import decode_traces
from halo_receiver.store.reader import Reader
from halo_worker import inputs, telemetry

BEGAN = 1_795_000_000 * 10**9
SECOND = 10**9


def record(path: Path, *lines: dict[str, Any]) -> Path:
    path.write_bytes(
        b"".join(
            orjson.dumps({"at_unix_nano": BEGAN + number * SECOND, "elapsed": float(number)} | line) + b"\n"
            for number, line in enumerate(lines)
        )
    )
    return path


@pytest.fixture
def trajectory(tmp_path: Path) -> Path:
    usage = {"input_tokens": 1000, "output_tokens": 50, "cached_tokens": 800, "reasoning_tokens": 10, "cost_usd": 0.01}
    return record(
        tmp_path / "trajectory.jsonl",
        {"kind": "agent", "agent_id": "root", "name": "root", "depth": 0, "model": "gpt-5.4-mini"},
        {"kind": "model", "agent_id": "root", "purpose": "turn", "attempt": 1, "model": "gpt-5.4-mini", "seconds": 0.5,
         "error": "429: slow down", "error_type": "ModelUnavailable", "error_code": "rate_limit_exceeded"},
        {"kind": "model", "agent_id": "root", "purpose": "turn", "attempt": 2, "model": "gpt-5.4-mini", "seconds": 0.7,
         "finish_reason": "tool_calls", "content": "", "tool_calls": [["c1", "run_code", '{"code":"1"}']], **usage},
        {"kind": "tool", "agent_id": "root", "tool_call_id": "c1", "name": "run_code", "arguments": {"code": "1"},
         "result": "1", "seconds": 0.2},
        {"kind": "agent", "agent_id": "child", "parent_agent_id": "root", "name": "child", "depth": 1},
        {"kind": "model", "agent_id": "child", "purpose": "turn", "model": "gpt-5.4-mini", "seconds": 0.1,
         "finish_reason": "stop", "content": "nothing here", **usage},
        {"kind": "tool", "agent_id": "root", "tool_call_id": "c2", "name": "view_trace", "arguments": {"trace_id": "x"},
         "result": "there is no trace x", "failed": True, "seconds": 0.01},
        {"kind": "note", "agent_id": "root", "note": "elided", "items": 3},
        {"kind": "end", "stopped_by": "turns", "reason": "20 turns", "turns": 20},
    )  # fmt: skip


def stored(spans: list[Any], folder: Path) -> list[dict[str, Any]]:
    (folder / "own.pb").write_bytes(telemetry.encoded(spans))
    inputs.import_files([str(folder / "own.pb")], folder / "data", now_ns=time.time_ns(), arrival="now", say=print)
    with Reader.open(folder / "data") as reader:
        return reader.query("SELECT * FROM spans ORDER BY start_time, end_time DESC")


def test_a_run_is_a_trace_like_any_other(trajectory: Path, tmp_path: Path) -> None:
    spans = stored(telemetry.RunTelemetry("20261124T000000Z-abcdef").spans(trajectory), tmp_path)
    by_name = {span["name"]: span for span in spans}
    root, child = by_name["invoke_agent root"], by_name["invoke_agent child"]
    assert {span["trace_id"] for span in spans} == {root["trace_id"]}
    assert root["parent_span_id"] in (None, "")
    assert child["parent_span_id"] == root["span_id"]
    assert root["service_name"] == "halo"
    assert root["end_time"] >= max(span["end_time"] for span in spans)
    kinds = sorted(span["span_type"] for span in spans)
    assert kinds == ["agent", "agent", "llm", "llm", "llm", "tool", "tool"]
    failed, answered, nested = [span for span in spans if span["span_type"] == "llm"]
    assert (failed["status_code"], failed["error_type"]) == ("ERROR", "rate_limit_exceeded")
    assert "slow down" in failed["status_message"]
    assert (answered["input_tokens"], answered["output_tokens"], answered["cached_tokens"]) == (1000, 50, 800)
    assert answered["model"] == "gpt-5.4-mini"
    assert answered["finish_reason"] == "tool_calls"
    assert "run_code" in str(answered["output_messages"])
    assert nested["parent_span_id"] == child["span_id"]
    assert 690_000_000 < answered["duration_ns"] < 710_000_000
    code, view = by_name["execute_tool run_code"], by_name["execute_tool view_trace"]
    assert (code["tool_name"], code["output_text"], code["tool_call_id"]) == ("run_code", "1", "c1")
    assert view["status_code"] == "ERROR"


def test_telling_twice_shows_once(trajectory: Path, tmp_path: Path) -> None:
    """A run that was killed after telling, and resumed."""
    first = stored(telemetry.RunTelemetry("run").spans(trajectory), tmp_path)
    assert stored(telemetry.RunTelemetry("run").spans(trajectory), tmp_path) == first


def test_the_direct_route_has_a_root_of_its_own_and_a_cut_line_is_passed_over(tmp_path: Path) -> None:
    path = record(tmp_path / "t.jsonl", {"kind": "model", "agent_id": "", "model": "m", "seconds": 0.5, "content": "x"})
    path.write_bytes(path.read_bytes() + b'{"kind": "model", "at_un')
    spans = stored(telemetry.RunTelemetry("run").spans(path), tmp_path)
    root, chat = sorted(spans, key=lambda span: span["name"] == "chat m")
    assert (root["name"], chat["name"], chat["parent_span_id"]) == ("invoke_agent halo", "chat m", root["span_id"])
    assert telemetry.RunTelemetry("run").spans(tmp_path / "absent.jsonl") == []


def test_what_was_said_is_left_out_unless_asked_for(trajectory: Path) -> None:
    told = telemetry.encoded(telemetry.RunTelemetry("run", content=False).spans(trajectory))
    assert b"nothing here" not in told
    assert b"code" not in told.replace(b"run_code", b"").replace(b"error_code", b"")
    assert not telemetry.captures_content({})
    assert telemetry.captures_content({"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY"})


class Sink(http.server.ThreadingHTTPServer):
    status = 200
    bodies: list[tuple[str, str | None, bytes]]


@pytest.fixture
def sink() -> Iterator[Sink]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            server.bodies.append((self.path, self.headers.get("x-key"), body))
            self.send_response(server.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = Sink(("127.0.0.1", 0), Handler)
    server.bodies = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def test_an_endpoint_of_the_environment_gets_the_spans(
    trajectory: Path, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans = telemetry.RunTelemetry("run").spans(trajectory)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{sink.server_port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=abc")
    assert telemetry.export(spans) is None
    [(path, key, body)] = sink.bodies
    assert (path, key) == ("/v1/traces", "abc")
    assert len(decode_traces(body, encoding="protobuf").spans) == len(spans)
    sink.status = 503
    assert "503" in (telemetry.export(spans) or "")


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_an_endpoint_that_is_not_there_is_said_and_nothing_fails(
    trajectory: Path, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    monkeypatch.setattr(telemetry, "SECONDS", 1.0)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    assert "did not take" in (telemetry.export(telemetry.RunTelemetry("run").spans(trajectory)) or "")

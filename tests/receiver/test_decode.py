"""OTLP requests become spans; what is wrong with one item stays with that item."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from halo_receiver.decode import Undecodable, decode_logs, decode_traces
from halo_receiver.otlp_messages import LogsRequest, TraceRequest

TRACE, SPAN = b"\x01" * 16, b"\x02" * 8


def one_span(**fields: object) -> bytes:
    request = TraceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add()
    span.trace_id, span.span_id, span.name = TRACE, SPAN, b"work"
    for name, value in fields.items():
        setattr(span, name, value)
    return bytes(request.SerializeToString())


def test_protobuf_and_json_of_the_same_run_give_the_same_spans(captures: Path) -> None:
    found = 0
    for path in sorted(captures.glob("*/traces-*.pb")):
        spans = decode_traces(path.read_bytes()).spans
        assert spans == decode_traces(path.with_suffix(".json").read_bytes(), encoding="json").spans
        found += len(spans)
    for path in sorted(captures.glob("*/logs-*.pb")):
        logs = decode_logs(path.read_bytes()).logs
        assert logs == decode_logs(path.with_suffix(".json").read_bytes(), encoding="json").logs
    assert found == 89


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("trace_id", b"", "trace_id is missing"),
        ("trace_id", b"\0" * 16, "trace_id is all zeros"),
        ("trace_id", b"\1" * 8, "trace_id has 8 bytes, 16 are required"),
        ("span_id", b"\0" * 8, "span_id is all zeros"),
    ],
)
def test_a_span_with_a_bad_id_is_rejected_alone(field: str, value: bytes, reason: str) -> None:
    request = TraceRequest.FromString(one_span(**{field: value}))
    good = request.resource_spans[0].scope_spans[0].spans.add()
    good.trace_id, good.span_id = TRACE, SPAN
    decoded = decode_traces(request.SerializeToString())
    assert [(item.index, item.reason) for item in decoded.rejected] == [(1, reason)]
    assert len(decoded.spans) == 1


def test_text_that_is_not_utf8_is_kept_with_replacement() -> None:
    decoded = decode_traces(one_span(name=b"caf\xe9"))
    assert decoded.spans[0].name == "caf�"
    assert decoded.warnings == {"text was not UTF-8: replaced": 1}


def test_every_kind_of_attribute_value_keeps_its_type() -> None:
    request = TraceRequest.FromString(one_span())
    span = request.resource_spans[0].scope_spans[0].spans[0]
    for key, setting in {
        b"s": {"string_value": b"x"}, b"b": {"bool_value": True}, b"i": {"int_value": -(2**63)},
        b"d": {"double_value": 0.5}, b"y": {"bytes_value": b"\0\xff"}, b"none": {},
        b"a": {"array_value": {"values": [{"int_value": 1}, {"string_value": b"m"}]}},
        b"k": {"kvlist_value": {"values": [{"key": b"in", "value": {"bool_value": False}}]}},
    }.items():  # fmt: skip
        span.attributes.add(key=key, value=setting)
    assert decode_traces(request.SerializeToString()).spans[0].attributes == {
        "s": "x", "b": True, "i": -(2**63), "d": 0.5, "y": b"\0\xff", "none": None, "a": [1, "m"], "k": {"in": False},
    }  # fmt: skip


def test_what_is_out_of_bounds_is_mended_and_counted() -> None:
    request = TraceRequest.FromString(one_span(start_time_unix_nano=9, end_time_unix_nano=3))
    span = request.resource_spans[0].scope_spans[0].spans[0]
    span.attributes.add(key=b"k", value={"string_value": b"x" * 600})
    span.attributes.add(key=b"k", value={"string_value": b"y" * 600})
    other = request.resource_spans[0].scope_spans[0].spans.add(start_time_unix_nano=2**64 - 1)
    other.trace_id, other.span_id, other.parent_span_id = TRACE, SPAN, b"\0" * 8
    decoded = decode_traces(request.SerializeToString(), max_attribute_bytes=500)
    assert decoded.spans[0].attributes["k"].startswith("y" * 500 + "… [cut by halo")
    assert decoded.spans[1].start_unix_nano == 2**63 - 1
    assert decoded.spans[1].parent_span_id == ""
    assert decoded.warnings == {
        "attribute value over the limit: cut": 2,
        "duplicate attribute key: last kept": 1,
        "span ends before it starts": 1,
        "time beyond int64: clamped": 1,
    }


def test_json_as_senders_really_write_it() -> None:
    body = b"""{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"a"}}]},
      "scopeSpans":[{"spans":[{"traceId":"0101010101010101010101010101010A","spanId":"0202020202020202",
      "parentSpanId":"0000000000000000","name":null,"kind":"SPAN_KIND_CLIENT","startTimeUnixNano":5,
      "endTimeUnixNano":"7","status":{"code":2},"unknown":1,"attributes":[{"key":"n","value":{"intValue":"12"}},
      {"key":"y","value":{"bytesValue":"AP8="}},{"key":"x","value":{"doubleValue":"NaN"}}]}]}]}]}"""
    span = decode_traces(body, encoding="json").spans[0]
    assert (span.trace_id, span.parent_span_id, span.kind) == ("0101010101010101010101010101010a", "", "CLIENT")
    assert (span.start_unix_nano, span.end_unix_nano, span.status_code) == (5, 7, "ERROR")
    assert span.attributes["n"] == 12
    assert span.attributes["y"] == b"\0\xff"
    assert span.scope.service_name == "a"


@pytest.mark.parametrize(
    ("body", "encoding", "says"),
    [
        (b"\xff\xff\xff", "protobuf", "is not a protobuf ExportTraceServiceRequest"),
        (b"{", "json", "is not JSON"),
        (b"[]", "json", "an object is required"),
        (b'{"resource_spans":[]}', "json", "has no 'resourceSpans' but resource_spans"),
    ],
)
def test_a_body_that_is_no_request_says_so(body: bytes, encoding: str, says: str) -> None:
    with pytest.raises(Undecodable, match=says):
        decode_traces(body, encoding=encoding)  # type: ignore[arg-type]


def test_empty_requests_and_empty_envelopes_hold_nothing() -> None:
    request = TraceRequest()
    request.resource_spans.add().scope_spans.add()
    for body in (b"", request.SerializeToString()):
        assert decode_traces(body).spans == []
    assert decode_traces(b"{}", encoding="json").spans == []


def test_a_log_keeps_its_body_when_its_ids_are_wrong() -> None:
    request = LogsRequest()
    record = request.resource_logs.add().scope_logs.add().log_records.add()
    record.trace_id, record.body.string_value = b"\1", b"hello"
    decoded = decode_logs(request.SerializeToString())
    assert (decoded.logs[0].trace_id, decoded.logs[0].body) == ("", "hello")
    assert list(decoded.warnings.values()) == [1]


@pytest.mark.parametrize("spans", [1, 40_000], ids=["small", "read in parts"])
def test_names_of_before_otlp_0_19_are_read(spans: int) -> None:
    """Older exporters write instrumentationLibrarySpans; a value that only looks like that name stays as it is."""
    name = '"instrumentationLibrarySpans": [x]'
    made = [{"traceId": f"{number:032x}", "spanId": f"{number:016x}", "name": name} for number in range(1, spans + 1)]
    scoped = {"instrumentationLibrary": {"name": "lib", "version": "3"}, "spans": made}
    body = json.dumps({"resourceSpans": [{"instrumentationLibrarySpans": [scoped]}]}).encode()
    decoded = decode_traces(body, encoding="json")
    assert len(decoded.spans) == spans
    assert {(span.scope.name, span.scope.version, span.name) for span in decoded.spans} == {("lib", "3", name)}
    logs = {"instrumentationLibrary": {"name": "lib"}, "logRecords": [{"body": {"stringValue": "x"}}]}
    body = json.dumps({"resourceLogs": [{"instrumentationLibraryLogs": [logs]}]}).encode()
    assert [log.scope.name for log in decode_logs(body, encoding="json").logs] == ["lib"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"traceId": "S/kvNXezTaajzpKdDg5HNg=="}, "trace_id is base64, 32 hex digits are required in OTLP/JSON"),
        ({"spanId": "APBnqguSArc="}, "span_id is base64, 16 hex digits are required in OTLP/JSON"),
        ({"spanId": "APBnqguSArc"}, "span_id is base64, 16 hex digits are required in OTLP/JSON"),
        ({"traceId": "00f067aa0ba902b7"}, "trace_id has 16 characters, 32 hex digits are required"),
        ({"traceId": "g" * 32}, "trace_id is not hex"),
        ({"traceId": ""}, "trace_id is missing"),
    ],
)
def test_a_json_id_in_another_form_is_named_as_such(changes: dict[str, str], reason: str) -> None:
    span = {"traceId": f"{1:032x}", "spanId": f"{1:016x}", **changes}
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()
    assert [rejected.reason for rejected in decode_traces(body, encoding="json").rejected] == [reason]

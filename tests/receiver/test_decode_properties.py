"""Whatever is sent, decoding ends in spans, rejections and counts, or in Undecodable; and so does reading meaning."""

# ruff: noqa: E501 - a payload reads best on one line

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from halo_receiver import decode
from halo_receiver.conventions import canonical, error_signature, from_log
from halo_receiver.conventions.meaning import TABLE
from halo_receiver.otlp_messages import TraceRequest
from halo_receiver.span import FINISH_REASONS, SPAN_TYPES, Decoded, LogRecord, Scope, Span, SpanEvent
from halo_receiver.store.columns import log_table, span_table

QUICK = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
OTLP_KEYS = [
    "resourceSpans", "resourceLogs", "scopeSpans", "scopeLogs", "spans", "logRecords", "resource", "scope", "attributes",
    "key", "value", "stringValue", "intValue", "doubleValue", "boolValue", "bytesValue", "arrayValue", "kvlistValue",
    "values", "traceId", "spanId", "parentSpanId", "name", "kind", "status", "code", "message", "events", "links",
    "startTimeUnixNano", "endTimeUnixNano", "flags", "droppedAttributesCount", "body", "severityNumber", "eventName",
]  # fmt: skip
FLAT_KEYS = [
    "trace_id", "span_id", "parent_span_id", "name", "kind", "start_time", "end_time", "status", "code", "message",
    "resource", "scope", "attributes", "events", "links", "time", "timestamp", "version", "schema_url", "flags",
]  # fmt: skip

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=20),
    st.sampled_from(["0" * 32, "1" * 32, "a" * 16, "2026-04-23T05:32:00Z", "[]", '{"a":', "NaN", "\ud800", "AP8=", "\0"]),
)  # fmt: skip


def nested(keys: list[str]) -> st.SearchStrategy[Any]:
    return st.recursive(
        scalars,
        lambda inner: st.one_of(
            st.lists(inner, max_size=4),
            st.dictionaries(st.one_of(st.sampled_from(keys), st.text(max_size=8)), inner, max_size=6),
        ),
        max_leaves=30,
    )


def storable(decoded: Decoded) -> None:
    """Everything that was kept has a meaning and a row."""
    for span in decoded.spans:
        meaning = canonical(span)
        assert meaning.span_type is None or meaning.span_type in SPAN_TYPES
        assert meaning.finish_reason is None or meaning.finish_reason in FINISH_REASONS
        for text in (meaning.input_messages, meaning.output_messages, meaning.tool_definitions):
            assert text is None or isinstance(json.loads(text), list)
    span_table((span, canonical(span), 1) for span in decoded.spans)
    log_table((record, from_log(record), 1) for record in decoded.logs)


@QUICK
@given(st.binary(max_size=400), st.sampled_from(["protobuf", "json"]))
@example(b"\x0a" * 300, "protobuf")
@example(b"[" * 5000, "json")
@example(b'{"a":' * 5000, "json")
def test_random_bytes_are_refused_or_empty(body: bytes, encoding: Any) -> None:
    for read in (decode.decode_traces, decode.decode_logs):
        try:
            storable(read(body, encoding=encoding))
        except decode.Undecodable as error:
            assert str(error)  # noqa: PT017


@QUICK
@given(st.data())
def test_damaged_captures_are_refused_or_mended(captures: Path, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(captures.glob("*/[tl]*-001.pb"))))
    body = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(body) - 1))
        body[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(len(body) // 2, len(body)))
    for damaged in (bytes(body), bytes(body[:cut])):
        for read in (decode.decode_traces, decode.decode_logs):
            try:
                storable(read(damaged))
            except decode.Undecodable as error:
                assert " at byte " in str(error) or "nested" in str(error)  # noqa: PT017


@QUICK
@given(nested(OTLP_KEYS))
def test_any_json_object_is_read_or_refused(value: Any) -> None:
    value = value if isinstance(value, dict) else {"resourceSpans": [value], "resourceLogs": [value]}
    for wrapped in (value, {"resourceSpans": [{"scopeSpans": [{"spans": [value]}]}]},
                    {"resourceSpans": [{"scopeSpans": [{"spans": [{**value, "traceId": "1" * 32, "spanId": "2" * 16}]}]}]},
                    {"resourceLogs": [{"scopeLogs": [{"logRecords": [value]}]}]}):  # fmt: skip
        body = json.dumps(wrapped).encode()
        for read in (decode.decode_traces, decode.decode_logs):
            try:
                storable(read(body, encoding="json"))
            except decode.Undecodable as error:
                assert error.hint  # noqa: PT017


@pytest.mark.slow
@QUICK
@given(st.dictionaries(st.sampled_from(FLAT_KEYS), nested(FLAT_KEYS), max_size=12))
def test_any_flat_object_with_ids_is_a_span(value: dict[str, Any]) -> None:
    storable(Decoded(spans=[decode.flat_span({**value, "trace_id": "t", "span_id": "s"})]))


ATTRIBUTE_KEYS = sorted(
    {source if isinstance(source, str) else source.key
     for convention in TABLE.conventions.values() for sources in convention.fields.values() for source in sources}
    | {kind.key for convention in TABLE.conventions.values() for kind in convention.kinds}
    | {"llm.input_messages.0.message.content", "llm.input_messages.x", "llm.tools.0.tool.json_schema", "gen_ai.prompt.1.role"}
)  # fmt: skip
MESSAGE_KEYS = [
    "role", "content", "parts", "type", "text", "tool_calls", "function", "name", "arguments", "id", "messages", "choices",
    "message", "tool_use", "toolUse", "input", "output", "kwargs", "system", "contents", "finish_reason", "result",
    "response", "functionCall", "args", "tools", "parameters", "json", "reasoning", "thinking", "message_content", "prompt",
]  # fmt: skip
values = st.one_of(
    scalars, nested(MESSAGE_KEYS), nested(MESSAGE_KEYS).map(json.dumps), st.binary(max_size=8),
    st.sampled_from(["chat", "LLM", "tool", "execute_tool", '"TOOL"', "TOOL", "generation", "agent", "llm_request"]),
)  # fmt: skip


@QUICK
@given(
    st.sampled_from(["", "ai", "gen_ai", "pydantic-ai", "langfuse-sdk", "mlflow.x", "langsmith", "strands.telemetry.tracer",
                     "gcp.vertex.agent", "codex_exec", "logfire", "lmnr.tracer", "com.anthropic.claude_code.tracing"]),
    st.dictionaries(st.sampled_from(ATTRIBUTE_KEYS), values, max_size=12),
    st.lists(st.tuples(st.sampled_from(["exception", "gen_ai.choice", "gen_ai.user.message", "tool.output"]),
                       st.dictionaries(st.sampled_from(["content", "message", "exception.type", "exception.message"]), values)), max_size=2),
)  # fmt: skip
def test_no_attribute_value_breaks_the_meaning(scope: str, attributes: dict[str, Any], events: list[Any]) -> None:
    clean = decode.flat_span({"trace_id": "t", "span_id": "s", "scope": {"name": scope}})
    clean.attributes = {key: value for key, value in attributes.items() if "\ud800" not in str(value)}
    clean.events = [SpanEvent(0, name, given) for name, given in events if "\ud800" not in str(given)]
    canonical(clean)
    for event in (
        "gen_ai.client.inference.operation.details",
        "gen_ai.choice",
        "claude_code.api_request",
        "codex.tool_result",
    ):
        from_log(
            LogRecord(Scope(name=scope), event_name=event, attributes=clean.attributes, body=attributes.get("events"))
        )


def test_protobuf_and_json_of_any_request_are_equal() -> None:
    """The two encodings of one message, with every field that they share."""
    message = TraceRequest()
    group = message.resource_spans.add(schema_url=b"r")
    group.resource.attributes.add(key=b"service.name", value={"string_value": b"a"})
    group.resource.dropped_attributes_count = 3
    scoped = group.scope_spans.add(schema_url=b"s")
    scoped.scope.name, scoped.scope.version, scoped.scope.dropped_attributes_count = b"n", b"v", 4
    span = scoped.spans.add(trace_id=b"\1" * 16, span_id=b"\2" * 8, parent_span_id=b"\3" * 8, trace_state=b"a=b", flags=257,
                            name=b"w", kind=3, start_time_unix_nano=5, end_time_unix_nano=9, dropped_attributes_count=1,
                            dropped_events_count=2, dropped_links_count=3)  # fmt: skip
    span.status.code, span.status.message = 2, b"no"
    span.events.add(time_unix_nano=6, name=b"e", dropped_attributes_count=1).attributes.add(key=b"k", value={})
    span.links.add(trace_id=b"\4" * 16, span_id=b"\5" * 8, trace_state=b"t", flags=1, dropped_attributes_count=2)
    body = {"resourceSpans": [{"schemaUrl": "r", "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "a"}}],
            "droppedAttributesCount": 3}, "scopeSpans": [{"schemaUrl": "s", "scope": {"name": "n", "version": "v", "droppedAttributesCount": 4},
            "spans": [{"traceId": "01" * 16, "spanId": "02" * 8, "parentSpanId": "03" * 8, "traceState": "a=b", "flags": 257, "name": "w", "kind": 3,
            "startTimeUnixNano": "5", "endTimeUnixNano": 9, "droppedAttributesCount": 1, "droppedEventsCount": 2, "droppedLinksCount": 3,
            "status": {"code": 2, "message": "no"}, "events": [{"timeUnixNano": "6", "name": "e", "droppedAttributesCount": 1, "attributes": [{"key": "k", "value": {}}]}],
            "links": [{"traceId": "04" * 16, "spanId": "05" * 8, "traceState": "t", "flags": 1, "droppedAttributesCount": 2}]}]}]}]}  # fmt: skip
    one, other = (
        decode.decode_traces(message.SerializeToString()),
        decode.decode_traces(json.dumps(body).encode(), encoding="json"),
    )
    assert one == other
    found = one.spans[0]
    assert all(getattr(found, name) for name in Span.__slots__ if name != "attributes")


@pytest.mark.parametrize(
    ("text", "error_type", "signature"),
    [
        ("Error code: 429 - rate limited for org-abc12345", "RateLimitError", "RateLimitError: Error code: 429 - rate limited for <id>"),
        ("HTTP 503 Service Unavailable", None, "HTTP 503 Service Unavailable"),
        ("order 12345 not found", None, "order <n> not found"),
        ("order 777 not found", None, "order <n> not found"),
        ("user 3f2b8c9a-1111-2222-3333-444455556666 unknown", None, "user <id> unknown"),
        ("could not open /var/lib/data/x.json at 0x7ffde", "OSError", "OSError: could not open <path> at <hex>"),
        ("GET https://api.example.com/v1/x?y=1 failed after 30.5s", None, "GET <url> failed after <n>s"),
        ("mail to jane.doe@example.com bounced", None, "mail to <email> bounced"),
        ("expired at 2026-11-22T08:43:34.123Z", None, "expired at <time>"),
        ("KeyError: 'city'", "KeyError", "KeyError: <text>"),
        ("connect 10.1.2.3:5432 refused", None, "connect <address> refused"),
        ("Error code: 400 - {'error': {'message': 'max_tokens too large: 5000', 'code': None}}", "BadRequestError",
         "BadRequestError: Error code: 400 - max_tokens too large: <n>"),
        ("Traceback (most recent call last):\n  File \"/a/b.py\", line 3, in f\n    g(7)\n    ^^^^\nValueError: bad value 17\n", "ValueError", "ValueError: bad value <n>"),
        ("TypeError: x is not a function\n    at f (/app/index.js:10:5)\n    at g (/app/index.js:20:1)", "TypeError", "TypeError: x is not a function"),
        ("\n\n=====\nreal message\n", None, "real message"),
        ("", "ValueError", "ValueError"),
        ("", None, ""),
    ],
)  # fmt: skip
def test_a_signature_keeps_what_repeats(text: str, error_type: str | None, signature: str) -> None:
    assert error_signature(text, error_type) == signature


@QUICK
@given(st.text(max_size=300), st.integers(0, 10**9), st.integers(0, 10**9))
def test_numbers_do_not_split_a_signature(words: str, one: int, other: int) -> None:
    assert error_signature(f"item {one} failed", None) == error_signature(f"item {other} failed", None)
    assert len(error_signature(words, "X")) <= 300


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        "/a",
        "{",
        "'",
        "[{",
        "0",
        "a.",
        "a@",
        "\n",
        " ",
        "x_1",
        "1.",
        "://",
        "Traceback (most recent call last)\n",
        "f0",
    ],
)
def test_a_long_error_text_costs_no_more_than_a_bounded_one(unit: str) -> None:
    """Every mask is linear in the line, and the line is bounded."""
    started = time.perf_counter()
    error_signature(unit * (2_000_000 // len(unit)), "X")
    assert time.perf_counter() - started < 0.5

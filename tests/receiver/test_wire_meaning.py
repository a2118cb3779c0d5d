"""What C makes of a span by a plan for its shape, against the reference: any keys of the mapping with any values."""

# ruff: noqa: E501 - tables of values read best unbroken

from __future__ import annotations

import json
import os
import random
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList

from halo_receiver import batch_tables, wire
from halo_receiver.batch_tables import Tables
from halo_receiver.conventions import plans
from halo_receiver.conventions.meaning import TABLE
from halo_receiver.conventions.readings import Lookup
from halo_receiver.conventions.table import Convention
from tests.receiver.test_wire import LIMIT, SDK, referred
from tests.receiver.test_wire_shapes import Shapes

pytestmark = pytest.mark.skipif(not wire.available(), reason="the wire scanner is not built: no C compiler")
ROUNDS = int(os.environ.get("HALO_FUZZ", "400")) // 4
SPANS = 12  # a request
WORDS = ["", " ", "a", " a ", "gpt-4o", "é", "\u00a0x", "x\n", '"q"', '"q', '""', '"\\u00e9\\n"', '"\\ud800"', '"a" ', "null",
         "true", "12", "-3", "1.5", "12 ", "1e400", "007", "99999999999999999999", "nan", "[HEAD]\nbelow", "[HEAD]\n", "[a",
         "OPENAI", "bedrock", "langchain", "end_turn", "FinishReason.STOP", '["stop"]', "image", "text", "[]", "{}", "[{",
         "ERROR", "error", "false", "llm", "LLM", "agent", "TOOL", "chat", "x" * 70, "a\x1eb"]  # fmt: skip
OBJECTS = ['{"output":"x"}', '{"output": {"a": 1}}', '{"output":"x","b":1}', '{ "output" : "\\u00e9" }', '{"output":"x"',
           '{"content":[{"type":"text","text":"no"}],"isError":true}', '[{"text":"a"},{"text":"b"}]', '[{"type": "text"}]',
           '{"content":"x"}', '{"model":"m","max_tokens":5,"tools":[{"name":"f"}],"messages":[{"role":"user","content":"hi"}]}',
           "{'cache_read': 3, 'reasoning': 4}", '{"input_tokens":7,"total":0.5,"input":0.1,"output":2,"prompt_tokens":9}',
           '{"input":1.0,"input_cached_tokens":3,"cache_read_input_tokens":2}', '[{"role":"user","content":"hi"}]',
           '[{"name":"f","description":"d","parameters":{"type":"object"}}]', ' {"output":"x"}',
           '[{"event.name":"gen_ai.choice","message":{"role":"assistant","content":"a"}},{"role":"user","content":"b"}]']  # fmt: skip
SUFFIXES = [
    "0.message.role",
    "0.message.content",
    "0.role",
    "0.content",
    "1.tool.json_schema",
    "0.name",
    "x",
    "0.document.content",
]


def keys_of(convention: Convention) -> list[str]:
    """All keys that a convention looks at, with some below each prefix."""
    keys = {kind.key or kind.has for kind in convention.kinds} | {item["key"] for item in convention.error_when}
    for sources in convention.fields.values():
        for source in sources:
            if isinstance(source, Lookup):
                options = source.options
                keys |= {
                    options[part] for part in ("text", "object", "tool_calls", "files", "reasoning") if part in options
                }
                keys |= {
                    options[kind] + end
                    for kind in ("flat", "flat_json", "flat_text")
                    if kind in options
                    for end in SUFFIXES
                }
            keys.add(source if isinstance(source, str) else source.key if isinstance(source, Lookup) else source[0])
    return sorted(keys - {""})


def events_of(convention: Convention) -> list[str]:
    """All names of events that it looks at."""
    found = {"exception"}
    for sources in convention.fields.values():
        for source in sources:
            if isinstance(source, Lookup):
                found |= (
                    {source.options["event"]} if "event" in source.options else set(source.options.get("events", ()))
                )
    return sorted(found)


class Spans:
    """Makes requests at random."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.shapes = Shapes(seed)
        data = [(rule.scopes, rule.scope_prefixes, rule.convention) for rule in TABLE._rules]
        self.conventions = [
            (convention, scope, keys_of(convention), events_of(convention))
            for scopes, prefixes, convention in data
            for scope in (*scopes, *prefixes, *(("",) if not scopes and not prefixes else ()))
        ]

    def value(self, *, words: bool = False) -> AnyValue:
        """A text mostly, of any kind that a field may have."""
        draw, chance = self.random, self.random.random()
        if words or chance < 0.4:
            return AnyValue(string_value=draw.choice(WORDS))
        if chance < 0.6:
            return AnyValue(string_value=draw.choice(OBJECTS))
        if chance < 0.75:
            return AnyValue(string_value=self.shapes.text().encode("utf-8", "replace").decode())
        return draw.choice(
            [AnyValue(int_value=draw.choice([0, 5, 12, 17, -1, 2**63 - 1])), AnyValue(double_value=draw.choice([0.5, -1.0, 3.0])),
             AnyValue(bool_value=draw.random() < 0.5), AnyValue(), AnyValue(bytes_value=b"\x00b"),
             AnyValue(array_value=ArrayValue(values=[AnyValue(string_value=draw.choice(["stop", "length", ""]))])),
             AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key="content", value=AnyValue(string_value="x"))]))]
        )  # fmt: skip

    def kinds(self, convention: Convention) -> list[KeyValue]:
        """What tells the type, mostly as it should be."""
        told = [kind for kind in convention.kinds if kind.key]
        if not told or self.random.random() < 0.2:
            return []
        kind = self.random.choice(told)
        word = self.random.choice([*kind.values, "unheard of"])
        word = word.lower() if kind.upper and self.random.random() < 0.5 else word
        text = json.dumps(word) if convention.json_values else word
        return [KeyValue(key=kind.key, value=AnyValue(string_value=text))]

    def request(self) -> bytes:
        """Some spans of one scope, half of them of one shape."""
        draw = self.random
        convention, scope, keys, names = draw.choice(self.conventions)
        request = ExportTraceServiceRequest()
        group = request.resource_spans.add()
        group.resource.attributes.append(KeyValue(key="service.name", value=self.value(words=True)))
        scoped = group.scope_spans.add()
        scoped.scope.name = scope + draw.choice(["", "", ".x"])
        same = draw.sample(keys, min(len(keys), draw.randint(1, 9)))
        for number in range(SPANS):
            span = scoped.spans.add(
                trace_id=b"t" * 16, span_id=bytes([1 + number]) * 8, start_time_unix_nano=1_790_000_000 * 10**9
            )
            span.name = draw.choice(
                ["chat", "tools/call f", "execute_tool x", "agent run", "MCP request: tools/call f", "", "é"]
            )
            span.status.code = draw.choice([0, 0, 0, 1, 2])  # type: ignore[assignment]
            span.status.message = draw.choice(["", "ValueError: bad 12"])
            wanted = same if draw.random() < 0.5 else draw.sample(keys, min(len(keys), draw.randint(1, 9)))
            told = self.kinds(convention)
            span.attributes.extend(told)
            span.attributes.extend(
                KeyValue(key=key, value=self.value()) for key in wanted if key not in [t.key for t in told]
            )
            if draw.random() < 0.05:
                span.attributes.append(KeyValue(key="error.type", value=self.value()))
            for _ in range(draw.choice([0, 0, 0, 1, 2])):
                event = span.events.add(name=draw.choice([*names, "other"]), time_unix_nano=1)
                held = ["content", "message", "finish_reason", "id", "exception.type", "exception.message",
                        "gen_ai.input.messages", "gen_ai.output.messages"]  # fmt: skip
                event.attributes.extend(
                    KeyValue(key=key, value=self.value()) for key in draw.sample(held, draw.randint(0, 3))
                )
        return request.SerializeToString()


def test_spans_of_every_convention_mean_the_same() -> None:
    spans, sure = Spans(1), 0
    tables = Tables(max_attribute_bytes=LIMIT)  # one for all: plans are kept
    for _ in range(ROUNDS):
        body = spans.request()
        if not tables._scan(body, 77):
            continue
        sure += 1
        found, expected = tables.take()[0], referred(body)
        for name in expected.schema.names:
            assert found[name].equals(expected[name]), (name, found[name].to_pylist(), expected[name].to_pylist())
    assert sure > ROUNDS * 0.9


def test_sdks_spans_are_read_by_their_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python is asked for single fields of some, and for no whole span, once a shape was met before."""
    asked: list[Any] = []
    read = batch_tables._meaning

    def heard(*said: Any) -> Any:
        asked.append(said)
        return read(*said)

    monkeypatch.setattr(batch_tables, "_meaning", heard)
    for path in sorted(path for path in SDK.glob("*.pb") if not path.name.endswith(".logs.pb")):
        tables = Tables(max_attribute_bytes=LIMIT)
        assert tables._scan(path.read_bytes(), 77), path
        assert asked, path
        asked.clear()
        assert tables._scan(path.read_bytes(), 77), path
        assert not asked, path


def test_shapes_are_forgotten_before_they_are_too_many() -> None:
    """More of them than the scanner keeps, each met again."""
    tables, expected = Tables(max_attribute_bytes=LIMIT), Tables(max_attribute_bytes=LIMIT, scan=False)
    request = ExportTraceServiceRequest()
    scoped = request.resource_spans.add().scope_spans.add()
    for number in range(1500):
        for again in range(2):
            span = scoped.spans.add(trace_id=b"t" * 16, span_id=b"%08d" % (2 * number + again))
            for key, value in (
                ("gen_ai.operation.name", "chat"),
                (f"k{number}", "x"),
                ("gen_ai.request.model", f"m{number}"),
            ):
                span.attributes.append(KeyValue(key=key, value=AnyValue(string_value=value)))
    body = request.SerializeToString()
    assert tables._scan(body, 77)
    expected.add("traces", "protobuf", body, 77)
    assert tables.take()[0].equals(expected.take()[0].combine_chunks())


def test_a_plan_that_python_cannot_make_leaves_spans_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise ValueError("no plan")

    body = (SDK / "codex-0.169.0.pb").read_bytes()
    for options in ({"plan": broken}, {"plan": lambda *_: None}, {"plan": lambda *_: object()}, {"unwrapped": broken}):
        monkeypatch.setattr(plans, "FOR_SCANNER", plans.FOR_SCANNER | options)
        tables = Tables(max_attribute_bytes=LIMIT)
        assert tables._scan(body, 77)
        assert tables.take()[0].equals(referred(body))
        monkeypatch.undo()

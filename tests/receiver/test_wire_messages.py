"""Messages of the usual forms, read in C, against the reference: the same words, or it is not sure and says so."""

from __future__ import annotations

import json
import os
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from halo_receiver import wire
from halo_receiver.conventions import flattened, message_summary, messages
from halo_receiver.conventions.meaning import finish_reason
from tests.generator.fleet import fleet

pytestmark = pytest.mark.skipif(not wire.available(), reason="the wire scanner is not built: no C compiler")
FUZZ = settings(
    max_examples=int(os.environ.get("HALO_FUZZ", "400")), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
PREFIX = "llm.input_messages."


def referred(value: Any) -> message_summary.MessageSummary | None:
    """What the reference makes of a value."""
    found = messages.read(value, "user")
    return message_summary.summarize(found, finish_reason) if found else None


def same(text: str) -> bool:
    """Compare the two on JSON text; return whether C was sure."""
    found = wire.messages(text, None, "user", finish_reason)
    if found is None:
        return False
    assert (found or None) == referred(text)
    return True


def same_flat(attributes: dict[str, Any]) -> bool:
    """Compare the two on flattened attributes; return whether C was sure."""
    found = wire.messages(attributes, PREFIX, "user", finish_reason)
    if found is None:
        return False
    gathered = flattened.gather(attributes, PREFIX)
    assert gathered is not None
    assert (found or None) == referred(gathered)
    return True


CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": [1, 2.5, "ü\\n", null, true]}'}}
RESULT = {"type": "tool_call_response", "id": "1", "response": "r"}
USUAL = [
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "ü\n\"\\/\u0000\U0001f600"}],
    [{"role": "assistant", "content": None, "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "1"}],
    [{"tool_call_id": "c1", "content": "", "role": "tool"}],
    [{"role": "assistant", "content": "", "tool_calls": [], "finish_reason": "tool_calls", "name": "a"}],
    [{"role": "assistant", "tool_calls": None, "content": "x", "finish_reason": "no such reason"}],
    [{"role": "user", "parts": [{"type": "text", "content": "a"}, {"text": "b", "type": "text"}]}],
    [{"role": "assistant", "parts": [{"type": "tool_call", "id": "1", "name": "f", "arguments": {"x": [-0.5]}}]}],
    [{"role": "user", "parts": [RESULT, {"type": "text", "text": "t"}]}],
    [{"role": "tool", "parts": [{"type": "tool_call_response", "id": "1", "response": ""}]}],
    [{"role": "user", "content": []}, {"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}],
    [{"role": "assistant", "tool_calls": [{"id": None, "function": {"name": None, "arguments": None}}]}],
    [{"role": "assistant", "tool_calls": [{"index": 0, "function": {"arguments": "no JSON"}}]}],
]  # fmt: skip
UNUSUAL = [
    "[", '"a"', '[{"role":"user","role":"user","content":"a"}]', '[{"role":"user","content":"a"}',
    '[{"role":"user","content":"a"}]]', '[{"role":"user","content":"\\ud800"}]', '[{"role":"user","content":"a\nb"}]',
    '[{"role":"user","content":"a"},]', "[" * 100_000, '[{"role":"é"}]', "[" + "{}," * 40_000 + "{}]",
    *(
        json.dumps([{"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": text}}]}])
        for text in ('{"a":1,"a":2}', '{"a":1e5}', '{"a":1.50}', '{"a":-0}', '{"a":0.0001234}', "{",
                     '{"a":01}', '{"a":12345678901234567890}', "[" * 100, '{"a":1} x')
    ),
]  # fmt: skip


@pytest.mark.parametrize("usual", USUAL)
@pytest.mark.parametrize("write", [json.dumps, lambda item: orjson.dumps(item).decode()])
def test_the_usual_forms_are_read_alike(usual: Any, write: Any) -> None:
    assert same(write(usual))


@pytest.mark.parametrize("text", UNUSUAL)
def test_what_is_unusual_is_left_to_the_reference(text: str) -> None:
    assert not same(text)


def test_the_generated_fleet_is_read_alike() -> None:
    found = 0
    for request, _ in fleet(30, seed=5, failing=0.5):
        for group in request.resource_spans:
            for span in (span for scope in group.scope_spans for span in scope.spans):
                attributes = {item.key: item.value.string_value for item in span.attributes}
                found += same_flat({key: value for key, value in attributes.items() if key.startswith(PREFIX)})
                found += sum(same(text) for text in attributes.values() if text[:1] == "[")
    assert found > 100


WORDS = st.text(max_size=8) | st.sampled_from(
    ["", "[", '{"a":1}', '{"a": [1.5, {"b": "\\u00e9"}]}', "stop", "c1", "{x"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3), max_leaves=6,
)  # fmt: skip
MAYBE = WORDS | st.none() | VALUES
ROLES = st.sampled_from(["user", "assistant", "system", "tool", "human"])
CALLS = st.fixed_dictionaries(
    {}, optional={
        "id": MAYBE, "type": WORDS, "index": st.integers(0, 9),
        "function": st.fixed_dictionaries({}, optional={"name": MAYBE, "arguments": MAYBE}),
    },
)  # fmt: skip
PARTS = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "tool_call", "tool_call_response", "image"])},
    optional={"content": MAYBE, "text": WORDS, "id": WORDS, "name": WORDS, "arguments": VALUES, "response": MAYBE},
)
MESSAGES = st.fixed_dictionaries(
    {"role": ROLES}, optional={
        "content": MAYBE | st.lists(PARTS, max_size=3), "parts": st.lists(PARTS, max_size=3),
        "tool_calls": st.lists(CALLS, max_size=2) | st.none(), "tool_call_id": MAYBE, "name": MAYBE,
        "finish_reason": MAYBE,
    },
)  # fmt: skip


@pytest.mark.slow
@FUZZ
@given(st.lists(MESSAGES, min_size=1, max_size=4), st.booleans(), st.data())
def test_any_messages_are_read_alike(items: list[Any], escaped: bool, data: st.DataObject) -> None:
    text = json.dumps(items, ensure_ascii=escaped)
    same(text)
    at = data.draw(st.integers(0, len(text)))
    same(
        text[:at] + data.draw(st.sampled_from(['"', "\\", "}", "]", ",", "[", "{", "é", "\ud800", ""])) + text[at + 1 :]
    )


FIELDS = ("role", "content", "tool_call_id", "name", "finish_reason", "tool_calls.0.tool_call.id",
          "tool_calls.0.tool_call.function.name", "tool_calls.0.tool_call.function.arguments",
          "tool_calls.10.tool_call.function.arguments", "tool_calls.2.tool_call.id", "contents.0.message_content.text",
          "role.x", "tool_calls.0", "")  # fmt: skip
PLACES = st.sampled_from(["0", "1", "2", "10", "01", "x", "", "255", "256", "99999999999"])


@FUZZ
@given(
    st.dictionaries(st.tuples(PLACES, st.sampled_from(FIELDS)), WORDS | st.integers(), max_size=8),
    st.lists(ROLES, min_size=1, max_size=3),
)
@example({("0", "content"): "a", ("2", "content"): "b"}, ["user", "tool", "assistant"])
def test_any_flattened_messages_are_read_alike(items: dict[tuple[str, str], Any], roles: list[str]) -> None:
    attributes = {f"{PREFIX}{place}.message.{name}": value for (place, name), value in items.items()}
    attributes |= {f"{PREFIX}{place}.message.role": role for place, role in enumerate(roles)}
    same_flat(attributes)


def test_without_the_scanner_the_reference_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "_wire", None)
    assert wire.messages('[{"role":"user","content":"a"}]', None, "user", finish_reason) is None

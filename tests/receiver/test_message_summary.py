"""Messages read by C against those read by Python: the same text, byte by byte, or C is not sure and says so."""

# ruff: noqa: E501 - a table of values reads best unbroken

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from benchmarks import payloads
from halo_receiver import decode, wire
from halo_receiver.conventions import canonical, message_summary, messages, parts
from halo_receiver.conventions.meaning import finish_reason
from halo_receiver.conventions.readings import Reading
from halo_receiver.conventions.sources import Source, compile_source
from halo_receiver.span import Scope, Span
from tests.generator.fleet import fleet

pytestmark = pytest.mark.skipif(not wire.available(), reason="the wire scanner is not built: no C compiler")
EXAMPLES = int(os.environ.get("HALO_FUZZ", "300"))
QUICK = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
FLAT = compile_source({"flat": "p."}, "input_messages")


def heard(attributes: dict[str, Any], source: Source, role: str) -> message_summary.MessageSummary | None:
    return message_summary.read(Reading(Span("", "", "", "", Scope()), attributes), (source,), role, finish_reason)


def same(attributes: dict[str, Any], source: Source = "k", roles: tuple[str, ...] = ("user",)) -> bool:
    """Compare the two; return whether C was sure."""
    found = None
    for role in roles:
        found = wire.messages(*((attributes["k"], None) if source == "k" else (attributes, "p.")), role, finish_reason)
        both = heard(attributes, source, role)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(wire, "_wire", None)
            expected = heard(attributes, source, role)
        assert both == expected
        assert found is None or (found or None) == expected
    return found is not None


def spans(captures: Path) -> Iterator[Span]:
    sdk = Path(__file__).parents[1] / "data" / "sdk"
    bodies = [path.read_bytes() for path in sorted(captures.glob("*/traces-*.pb"))]
    bodies += [path.read_bytes() for path in sorted(sdk.glob("*.pb")) if ".logs" not in path.name]
    bodies += [bytes(request.renew(1)) for request in payloads.requests("llm", count=1, spans=60)]
    bodies += [request.SerializeToString() for request, _ in fleet(30, seed=5, failing=0.5)]
    for body in bodies:
        yield from decode.decode_traces(body).spans


def test_what_sdks_really_send_means_the_same(captures: Path) -> None:
    for span in spans(captures):
        found = canonical(span)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(wire, "_wire", None)
            assert canonical(span) == found


def test_plain_forms_are_read_by_c(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of the benchmark's messages: else it measures something else."""
    asked: list[bool] = []
    read = wire.messages

    def counted(*args: Any) -> Any:
        found = read(*args)
        asked.append(found is not None)
        return found

    monkeypatch.setattr(wire, "messages", counted)
    body = bytes(payloads.requests("llm", count=1, spans=60)[0].renew(1))
    for span in decode.decode_traces(body).spans:
        canonical(span)
    assert len(asked) > 60
    assert all(asked)


TEXT = st.text(max_size=12) | st.sampled_from(
    ["", "hello", "two\nlines", '{"a": 1}', '{"a":1,"b":[1.5,null,true,"é\\u00e9\\/"]}', '"quoted"', "[]", "[1", " {}", "\x1f{}", "\x85[]",
     '\\ " / \b\f\n\r\t\x00\x7f', "é☔\U0001f600", "x" * 70, "\u2028", '{"a":1,"a":2}', '{"a":-0,"b":0.1e-7,"c":12345678901234567890}']
)  # fmt: skip
ODD = (
    TEXT
    | st.none()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.booleans()
    | st.sampled_from([{}, [], {"a": [1]}, ["x"], {"a": {"b": "c"}}])
)  # type: ignore[arg-type]
ROLE = st.sampled_from(["user", "assistant", "system", "tool"] * 3 + ["User", "ai", "developer", "", 7, None])  # type: ignore[operator]
ARGUMENTS = TEXT | st.dictionaries(TEXT, ODD, max_size=3) | st.none()
FUNCTION = st.fixed_dictionaries({"name": TEXT | st.none(), "arguments": ARGUMENTS}, optional={"input": TEXT})
CALL = st.fixed_dictionaries(
    {}, optional={"id": TEXT | st.none(), "type": st.just("function"), "function": FUNCTION, "index": st.just(0), "name": TEXT}
)  # fmt: skip
PART = st.one_of(
    st.fixed_dictionaries({"type": st.just("text"), "content": TEXT}),
    st.fixed_dictionaries({"type": st.just("text"), "text": TEXT}),
    st.fixed_dictionaries({"text": TEXT}),
    st.fixed_dictionaries({"type": st.just("tool_call_response"), "id": TEXT, "response": st.dictionaries(st.sampled_from(["type", "value", "a"]), ODD)}),
    st.fixed_dictionaries({"type": st.just("tool_call"), "id": TEXT, "name": TEXT, "arguments": ARGUMENTS}),
    st.fixed_dictionaries({"type": st.just("tool_call_response"), "id": TEXT, "response": ODD}),
    st.fixed_dictionaries({"type": st.sampled_from(["text", "reasoning", "image"])}, optional={"content": ODD, "text": ODD}),
)  # fmt: skip
REASON = st.sampled_from(["stop", "tool_calls", "FinishReason.STOP", "null", '["stop"]', "strange", ""])
MESSAGE = st.one_of(
    st.fixed_dictionaries({"role": ROLE, "content": TEXT | st.none()}, optional={"tool_calls": st.lists(CALL, max_size=2), "tool_call_id": TEXT, "name": TEXT}),
    st.fixed_dictionaries({"role": ROLE, "parts": st.lists(PART, max_size=3)}, optional={"finish_reason": REASON, "name": TEXT}),
    st.fixed_dictionaries({}, optional={"role": ROLE, "content": ODD | st.lists(PART, max_size=2), "parts": ODD, "tool_calls": ODD, "tool_call_id": ODD, "name": ODD, "finish_reason": ODD, "refusal": ODD, "audio": st.none(), "function_call": st.none(), "annotations": st.just([])}),
)  # fmt: skip
FORM = st.sampled_from([{}, {"ensure_ascii": False}, {"indent": 1}, {"separators": (",", ":")}])


@pytest.mark.slow
@QUICK
@given(
    st.lists(MESSAGE, max_size=4) | st.lists(PART, max_size=3),
    FORM,
    st.sampled_from(["user", "system", "assistant"]),
    st.booleans(),
)
def test_any_messages_read_the_same(value: list[Any], form: dict[str, Any], role: str, shuffled: bool) -> None:
    if shuffled:
        value = [dict(reversed(item.items())) for item in value]
    same({"k": json.dumps(value, **form)}, roles=(role,))
    if value:
        same({"k": json.dumps(value[0], **form)}, roles=(role,))


REQUEST = st.fixed_dictionaries(
    {"messages": st.lists(MESSAGE, max_size=3) | ODD},
    optional={"system": ODD, "config": ODD, "instructions": TEXT, "input": ODD, "model": TEXT, "tools": st.just([{"messages": []}]), "message": ODD, "role": ROLE, "type": TEXT},
)  # fmt: skip


@QUICK
@given(REQUEST, FORM)
def test_any_request_reads_the_same(value: dict[str, Any], form: dict[str, Any]) -> None:
    same({"k": json.dumps(value, **form)})


@QUICK
@given(TEXT | st.text())
@example("\ud800")
@example("[")
@example('[{"role":"user","content":"\\ud800"}]')
@example('[{"role":"user","content":"\\ud83d\\ude00\\u0000\\u001F\\u00e9\\/"}]')
@example('[{"role":"user","content":"a","content":"b"}]')
@example('[{"role":"user","content":"a"},]')
@example('[{"role":"user","content":"a"}] ')
@example('[{"role":"user","content":"a"}]x')
@example('[{"role":"user","content":"a\x01"}]')
@example('[{"role":"user","content":"a",}]')
@example("[" * 100_000)
@example(
    '[{"role":"assistant","parts":[{"type":"tool_call","id":"1","name":"n","arguments":'
    + '{"a":' * 40
    + "1"
    + "}" * 43
    + "]}]"
)
@example(
    '[{"role":"assistant","parts":[{"type":"tool_call","id":"1","name":"n","arguments":'
    + '{"a":' * 400
    + "1"
    + "}" * 400
    + "}]}]"
)
@example('[{"role":"assistant","tool_calls":[{"id":"1","function":{"name":"n","arguments":"' + "[" * 3000 + '"}}]}]')
def test_any_text_reads_the_same(text: str) -> None:
    same({"k": text}, roles=("user", "assistant"))


NUMBERS = ["0", "-0", "-1", "01", "1.", ".5", "1.5", "-1.50", "1e5", "1E+2", "1e-5", "1e400", "9" * 18, "9" * 19, "9" * 30, "0.1", "123456.789",
           "1e15", "1e16", "0.0001", "0.00001", "0.30000000000000004", "1" * 40 + ".5", "+1", "NaN", "--1", "5e-324", "1.0", "-0.0", "100.0"]  # fmt: skip


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_are_written_alike(number: str) -> None:
    call = f'{{"type":"tool_call","id":"1","name":"n","arguments":{{"a":{number},"b":[{number}]}}}}'
    same({"k": f'[{{"role":"assistant","parts":[{call}]}}]'})


STEP = st.sampled_from(["0", "1", "2", "10", "01", "600", "x"])
MEMBER = st.sampled_from(
    [
        "role",
        "role",
        "content",
        "content",
        "tool_call_id",
        "name",
        "finish_reason",
        "extra",
        "message",
        "contents.0.text",
    ]
)
OF_CALL = st.sampled_from(
    [
        "tool_call.id",
        "tool_call.function.name",
        "tool_call.function.arguments",
        "id",
        "name",
        "arguments",
        "function.name",
        "function.arguments",
        "type",
    ]
)
FLATTENED = st.one_of(
    st.builds("p.{}.message.{}".format, STEP, MEMBER), st.builds("p.{}.{}".format, STEP, MEMBER),
    st.builds("p.{}.message.tool_calls.{}.{}".format, STEP, STEP, OF_CALL), st.builds("p.{}.tool_calls.{}.{}".format, STEP, STEP, OF_CALL),
    st.sampled_from(["p.0.message.", "p.", "p.0", "p.0.", "other"]),
)  # fmt: skip


@QUICK
@example({"p.0.role": 1, "p.0.message.role": ""}, False, 0)
@given(
    st.dictionaries(FLATTENED, TEXT | st.sampled_from(["user", "assistant", "tool"]) | ODD, max_size=8), st.booleans(), st.integers(0, 7)
)  # fmt: skip
def test_flattened_messages_read_the_same(attributes: dict[str, Any], wrapped: bool, roles: int) -> None:
    for place in range(3):  # else few of them have a role, and are plain
        if roles >> place & 1:
            attributes[f"p.{place}.{'message.' if wrapped else ''}role"] = ("user", "tool", "assistant")[place]
    same(attributes, FLAT)


@QUICK
@given(
    st.lists(
        st.fixed_dictionaries(
            {"role": ROLE, "content": TEXT},
            optional={
                "id": TEXT,
                "name": TEXT,
                "reason": REASON,
                "calls": st.lists(st.tuples(TEXT, TEXT, TEXT), max_size=3),
            },
        ),
        max_size=12,
    ),
    st.booleans(),
    st.booleans(),
)
def test_whole_flattened_messages_read_the_same(items: list[dict[str, Any]], wrapped: bool, by_name: bool) -> None:
    attributes: dict[str, Any] = {}
    for place, message in enumerate(items):
        start = f"p.{place}.{'message.' if wrapped else ''}"
        for name, key in (
            ("role", "role"),
            ("content", "content"),
            ("id", "tool_call_id"),
            ("name", "name"),
            ("reason", "finish_reason"),
        ):
            if name in message:
                attributes[start + key] = message[name]
        for number, call in enumerate(message.get("calls", ())):
            inner = f"{start}tool_calls.{number}.{'tool_call.function.' if wrapped else ''}"
            attributes[f"{start}tool_calls.{number}.{'tool_call.' if wrapped else ''}id"] = call[0]
            attributes |= {f"{inner}name": call[1], f"{inner}arguments": call[2]}
    if by_name:
        attributes = dict(sorted(attributes.items()))
    same(attributes, FLAT)


def test_damaged_messages_read_the_same() -> None:
    """Bytes of real messages, changed, cut and doubled."""
    rng = random.Random(11)
    texts = []
    for span in decode.decode_traces(bytes(payloads.requests("llm", count=1, spans=40)[0].renew(1))).spans:
        texts += [value for key, value in span.attributes.items() if key.endswith("put.messages")]
    signs = '{}[]":,\\/ ntu019-e.\x00\x1f\x7fé\ud800\U0001f600'
    sure = 0
    for _ in range(EXAMPLES * 4):
        text = rng.choice(texts)
        start = rng.randrange(len(text))
        text = text if rng.random() < 0.3 else text[:60] + text[start:]
        for _ in range(rng.randint(1, 3)):
            place = rng.randrange(len(text) + 1)
            text = text[:place] + rng.choice(signs) + text[place + rng.randint(0, 2) :]
        sure += same({"k": text})
    assert sure > 5


OF_A_CALL = "p.0.tool_calls.0"


@pytest.mark.parametrize(
    "attributes",
    [
        {"p.0.role": "user", "p.0.message.content": "x"},
        {"p.0.message.role": "user", "p.0.content": "x"},
        {"p.0.role": "assistant", f"{OF_A_CALL}.function.name": "f", f"{OF_A_CALL}.name": "g"},
        {"p.0.role": "assistant", f"{OF_A_CALL}.function.arguments": "{}", f"{OF_A_CALL}.arguments": "[]"},
        {"p.0.role": "assistant", f"{OF_A_CALL}.tool_call.id": "1", f"{OF_A_CALL}.id": "2"},
        {"p.0.role": "assistant", f"{OF_A_CALL}.tool_call.name": "f", f"{OF_A_CALL}.name": "g"},
    ],
)
def test_keys_of_two_forms_are_read_alike(attributes: dict[str, str]) -> None:
    assert same(attributes, FLAT)


@pytest.mark.parametrize(
    ("text", "sure"),
    [
        ('[{"role":"assistant","parts":[{"type":"tool_call","id":"1","name":"","arguments":"{}"}]}]', True),
        ('[{"role":"assistant","parts":[{"type":"tool_call","id":"1","name":"n","arguments":"{"}]}]', False),
        (
            '[{"role":"tool","parts":[{"type":"tool_call_response","id":"1","response":{"value":1,"type":"json"}}]}]',
            True,
        ),
        ('[{"role":"tool","parts":[{"type":"tool_call_response","id":"1","response":{"rows": [1.5, "é"]}}]}]', True),
        ('[{"type":"text","content":"a"},{"text":"b"}]', True),
        ('[{"type":"text","content":"a"},{"role":"user","content":"b"}]', True),
        ('[{"type":"tool_call","id":"1","name":"n","arguments":{}}]', True),
        ('{"role":"user","content":"a"}', True),
        ('{"role":"user","content":"a"}{', False),
        ('[{"role":"assistant","content":"a","refusal":"no"}]', True),
        ('[{"role":"ASSISTANT","content":["", "a"]},{"role":"Ünknown"}]', False),
        ('[{"type":["x"],"role":"user","content":[{"type":{}}]}]', True),
        ('{"role":"a","prompt":"x","completion":{}}', True),
        ('{"model":"m","messages":[{"role":"user","content":"a"}],"tools":[]}', True),
        ('{"messages":[{"role":"user","content":"a"}],"system":"s"}', True),
        ('{"messages":[{"role":"user","content":"a"}],"config":{"system_instruction":"s"}}', True),
        ('{"messages":{"role":"user","content":"a"}}', True),
        ('{"messages":"a"}', True),
    ],
)
def test_what_c_is_sure_of(text: str, sure: bool) -> None:
    assert same({"k": text}) == sure


def test_every_kind_of_part_and_every_role_is_told_to_c() -> None:
    """What is added to the tables of Python is read by C as well."""
    for kind in parts.FLAGS:
        same(
            {"k": json.dumps([{"role": "user", "content": [{"type": kind, "text": "t", "name": "n", "output": "o"}]}])}
        )
    for role, meant in messages.ROLES.items():
        found = wire.messages(json.dumps([{"role": role, "content": "a"}]), None, "user", finish_reason)
        assert found is not None
        assert found[1] == meant

"""The short ways through the conventions lead to the same meaning as the long ones."""

# ruff: noqa: E501 - a table of values reads best unbroken

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks import payloads
from halo_receiver import decode
from halo_receiver.conventions import canonical, flattened, messages
from halo_receiver.conventions.meaning import TABLE
from halo_receiver.conventions.table import Shape
from halo_receiver.span import Scope, Span, SpanEvent
from tests.generator.fleet import fleet

QUICK = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))

SAID = st.sampled_from(["", "hello", "two\nlines", '{"a": 1}', '"quoted"', "[]"])
ODD = SAID | st.none() | st.integers() | st.just({}) | st.just([]) | st.just({"a": [1]}) | st.just(["x"])
ROLE = st.sampled_from(["user", "assistant", "system", "tool", "User", "ai", "developer", "", 7, None])
ARGUMENTS = ODD | st.just('{"q": "x"}')
FUNCTION = st.fixed_dictionaries({}, optional={"name": ODD, "arguments": ARGUMENTS, "input": ARGUMENTS})
CALL = st.fixed_dictionaries(
    {}, optional={"id": ODD, "type": st.just("function"), "function": FUNCTION, "tool_call": st.fixed_dictionaries(
        {"id": ODD, "function": FUNCTION}), "name": ODD, "arguments": ARGUMENTS}
)  # fmt: skip
KIND = st.sampled_from(
    ["text", "tool_call", "tool_call_response", "reasoning", "input_text", "image", "tool_use", "tool_result", None]
)
PART = st.fixed_dictionaries(
    {"type": KIND},
    optional={
        "content": ODD,
        "text": ODD,
        "id": ODD,
        "name": ODD,
        "arguments": ARGUMENTS,
        "response": ODD,
        "result": ODD,
    },
)
MESSAGE = st.fixed_dictionaries(
    {},
    optional={
        "role": ROLE, "content": ODD | st.lists(PART | SAID, max_size=3), "parts": st.lists(PART, max_size=3) | st.none(),
        "tool_calls": st.lists(CALL | SAID, max_size=2) | ODD, "tool_call_id": ODD, "name": ODD, "finish_reason": ODD,
        "type": st.sampled_from(["message", "human", "text"]), "refusal": SAID,
    },
)  # fmt: skip


@QUICK
@given(
    st.lists(MESSAGE | MESSAGE.map(lambda m: {"message": m}) | SAID | PART, max_size=4),
    st.sampled_from(["user", "assistant", "tool"]),
)
def test_messages_of_plain_forms_read_as_all_others(value: list[Any], role: str) -> None:
    fast = messages.read(copy.deepcopy(value), role)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(messages, "_plain", lambda *_: False)
        assert messages.read(value, role) == fast
        assert repr(messages.read(value, role)) == repr(fast)  # the order of keys, too


STEP = st.sampled_from(["0", "1", "2", "10", "message", "role", "content", "tool_calls", "", "x"])
PATH = st.lists(STEP, min_size=1, max_size=5).map(lambda steps: "p." + ".".join(steps))


@QUICK
@given(st.dictionaries(PATH | st.just("other"), ODD, max_size=8))
def test_flattened_keys_build_the_same_structure(attributes: dict[str, Any]) -> None:
    below = {key: value for key, value in copy.deepcopy(attributes).items() if key.startswith("p.")}
    expected = flattened._gather(below, 2) if below else None
    for _ in range(2):
        assert flattened.gather(copy.deepcopy(attributes), "p.") == expected


def test_an_attribute_stays_as_sent_when_others_join_it() -> None:
    """A value that is an object, and keys below it: one structure, and neither is changed by the other."""
    one = {"role": "user"}
    attributes = {"p.0": one, "p.0.content": "hi", "p.1": one, "p.1.0": one}
    assert flattened.gather(attributes, "p.")[0] == {"role": "user", "content": "hi"}  # type: ignore[index]
    assert one == {"role": "user"}


def spans(captures: Path) -> list[Span]:
    sdk = Path(__file__).parents[1] / "data" / "sdk"
    paths = [*captures.glob("*/traces-*.pb"), *(path for path in sdk.glob("*.pb") if ".logs" not in path.name)]
    bodies = [path.read_bytes() for path in sorted(paths)]
    bodies += [bytes(request.renew(1)) for request in payloads.requests("llm", count=1, spans=40)]
    bodies += [request.SerializeToString() for request, _ in fleet(30, seed=5, failing=0.5)]
    return [span for body in bodies for span in decode.decode_traces(body).spans]


KEYS = sorted(
    {source if isinstance(source, str) else source.key
     for convention in TABLE.conventions.values() for sources in convention.fields.values() for source in sources}
    | {kind.key for convention in TABLE.conventions.values() for kind in convention.kinds}
    | {"llm.input_messages.0.message.content", "llm.tools.0.tool.json_schema", "gen_ai.prompt.1.role", "ai.response.text"}
)  # fmt: skip
VALUES = st.sampled_from(
    ["chat", "LLM", "tool", "agent", '{"model": "m", "messages": [{"role": "user", "content": "hi"}]}', "12", 12, 1.5, True,
     '[{"role": "user", "content": "x"}]', "", None, "error", "gpt-4o", '{"total_cost": 2}', ["stop"]]
)  # fmt: skip


def unnarrowed(self: Shape, convention: Any, kind: str | None) -> Any:
    return convention


def test_a_shape_leaves_out_only_what_has_no_value(captures: Path) -> None:
    for span in spans(captures):
        expected = canonical(span)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Shape, "narrowed", unnarrowed)
            assert canonical(span) == expected


@QUICK
@given(
    st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=10),
    st.sampled_from(["", "ai", "strands.telemetry.tracer", "langfuse-sdk", "pydantic-ai", "gcp.vertex.agent"]),
    st.booleans(),
)
def test_any_attributes_mean_the_same_with_and_without_a_shape(values: dict[str, Any], scope: str, event: bool) -> None:
    events = [SpanEvent(1, "gen_ai.choice", {"message": "said", "finish_reason": "stop"})] if event else []
    span = Span("", "", "", "agent run", Scope(name=scope), attributes=values, events=events)
    expected = canonical(span)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Shape, "narrowed", unnarrowed)
        assert canonical(span) == expected

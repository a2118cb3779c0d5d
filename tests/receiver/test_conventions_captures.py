"""What real SDKs sent means what the stub they called had answered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from halo_receiver.conventions import canonical, from_log
from halo_receiver.decode import decode_logs, decode_traces
from halo_receiver.span import Canonical, Span

CHAT = {"input_tokens": 120, "output_tokens": 30, "cached_tokens": 64, "model": "gpt-4o-mini-2024-07-18"}


def read(captures: Path, folder: str) -> list[tuple[Span, Canonical]]:
    decoded = decode_traces((captures / folder / "traces-001.pb").read_bytes())
    assert not decoded.rejected
    assert not decoded.warnings
    return [(span, canonical(span)) for span in decoded.spans]


def of_type(found: list[tuple[Span, Canonical]], kind: str) -> list[Canonical]:
    return [meaning for _, meaning in found if meaning.span_type == kind]


@pytest.mark.parametrize(
    ("folder", "convention", "chats", "tool", "agent"),
    [
        ("openinference-openai", "openinference", 4, "get_weather", "weather-agent"),
        ("otel-genai-openai", "otel_genai", 4, None, None),
        ("vercel-ai-sdk-6-otlpjson", "vercel_ai", 3, "get_weather", "weather-fn"),
        ("pydantic-ai-fmt6", "pydantic_ai", 3, "get_weather", "weather_agent"),
        ("langfuse", "langfuse", 3, "get_weather", "weather-agent"),
    ],
)
def test_a_capture_shows_its_model_tokens_and_tool_calls(
    captures: Path, folder: str, convention: str, chats: int, tool: str | None, agent: str | None
) -> None:
    """Every successful call: 120 tokens in (64 cached), 30 out, answered by the dated model."""
    found = read(captures, folder)
    assert {meaning.convention for _, meaning in found} == {convention}
    calls = [m for m in of_type(found, "llm") if m.model == CHAT["model"]]
    assert len(calls) == chats
    for call in calls:
        assert {key: getattr(call, key) for key in CHAT} == CHAT
        assert call.reasoning_tokens == 12
        assert call.cost_usd == pytest.approx(3.12e-05)
    assert json.loads(calls[0].output_messages or "")[-1]["tool_calls"] == [
        {"id": "call_stub1", "name": "get_weather", "arguments": {"city": "Paris"}}
    ]
    assert calls[0].tools_offered == ["get_weather"]
    assert json.loads(calls[0].tool_definitions or "")[0]["parameters"]["required"] == ["city"]
    assert "What is the weather" in (calls[0].input_text or "")
    if tool:
        assert tool in {m.tool_name for m in of_type(found, "tool")}
    if agent:
        assert agent in {m.agent_name for _, m in found}


def test_leaf_llm_spans_alone_add_up(captures: Path) -> None:
    """Outer spans of the AI SDK repeat the totals of the inner ones; only the inner ones are `llm`."""
    calls = of_type(read(captures, "vercel-ai-sdk-6-otlpjson"), "llm")
    assert sum(call.input_tokens or 0 for call in calls) == 360
    assert sum(call.output_tokens or 0 for call in calls) == 90
    calls = of_type(read(captures, "openinference-openai"), "llm")
    assert (len(calls), sum(c.input_tokens or 0 for c in calls), sum(c.output_tokens or 0 for c in calls)) == (
        5,
        480,
        120,
    )


def test_claude_codes_input_is_the_whole_prompt(captures: Path) -> None:
    """Anthropic counts 56 uncached, 64 read and 10 written tokens: the prompt has 130."""
    found = read(captures, "claude-code")
    calls = of_type(found, "llm")
    assert [(c.input_tokens, c.cached_tokens, c.output_tokens) for c in calls] == [(130, 64, 30)] * 2
    assert [c.finish_reason for c in calls] == ["tool_calls", "stop"]
    assert [c.cost_usd for c in calls] == [pytest.approx(0.0006747)] * 2  # what its own log says of the same call
    assert all(c.cost_estimated for c in calls)
    (tool,) = of_type(found, "tool")
    assert (tool.tool_name, tool.tool_call_id, tool.input_text, tool.output_text) == (
        "Bash",
        "toolu_stub1",
        "echo hi",
        "hi",
    )
    (agent,) = of_type(found, "agent")
    assert agent.input_text == "Run echo hi with Bash, then tell me the weather"


def test_claude_codes_logs_fill_their_span(captures: Path) -> None:
    records = decode_logs((captures / "claude-code" / "logs-001.pb").read_bytes()).logs
    facts = [from_log(record) or {} for record in records]
    assert [f["input_text"] for f in facts if "input_text" in f] == ["Run echo hi with Bash, then tell me the weather"]
    assert "It is 18 degrees and raining in Paris." in [f.get("output_text") for f in facts]
    assert [f["cost_usd"] for f in facts if "cost_usd" in f] == [0.0006747] * 2


def test_errors_have_a_type_a_message_and_a_signature(captures: Path) -> None:
    for folder, kind, message in (
        ("openinference-openai", "BadRequestError", "Error code: 400 - stub: invalid request on purpose"),
        ("otel-genai-openai", "BadRequestError", "Error code: 400 - stub: invalid request on purpose"),
        ("vercel-ai-sdk-6-otlpjson", "AI_APICallError", "stub: invalid request on purpose"),
        ("langfuse", None, "Error code: 400 - stub: invalid request on purpose"),
    ):
        errors = [m for s, m in read(captures, folder) if s.status_code == "ERROR" and m.span_type == "llm"]
        assert [(m.error_type, m.error_message) for m in errors] == [(kind, message)]
        assert errors[0].error_signature
    tools = [m for s, m in read(captures, "pydantic-ai-fmt6") if s.status_code == "ERROR" and m.span_type == "tool"]
    assert [(m.error_type, m.error_message) for m in tools] == [("ValueError", "tool blew up")]


def test_agents_sdk_spans_form_a_tree_of_types(captures: Path) -> None:
    found = read(captures, "otel-genai-openai-agents")
    assert [m.span_type for _, m in found] == ["tool", "agent", "workflow", "agent", "workflow"]
    assert (found[0][1].input_text, found[0][1].output_text) == ('{"city":"Paris"}', '{"temp_c": 18, "sky": "rain"}')
    assert {m.session_id for _, m in found} == {"conv-42", None}


def test_a_collectors_batch_mixes_conventions(captures: Path) -> None:
    """Three SDKs in one request, one span of a scope that no convention knows."""
    found = read(captures, "via-rotel-collector")
    assert len(found) == 33
    conventions = {span.scope.name: meaning.convention for span, meaning in found}
    assert conventions["gen_ai"] == "vercel_ai_7"
    assert conventions["pydantic-ai"] == "pydantic_ai"
    assert conventions["openinference.instrumentation.openai"] == "openinference"
    assert {m.tool_name for m in of_type(found, "tool")} >= {"get_weather"}


def test_langfuse_counts_the_cached_part_apart(captures: Path) -> None:
    (manual,) = [m for s, m in read(captures, "langfuse") if s.name == "manual-gen"]
    assert (manual.input_tokens, manual.cached_tokens, manual.output_tokens) == (14, 4, 5)
    assert (manual.cost_usd, manual.cost_estimated) == (0.003, False)


def test_structured_log_messages_equal_the_spans_json(captures: Path) -> None:
    """One SDK writes its messages twice, as JSON text on the span and as structured values in a log."""
    spans = {s.span_id: m for s, m in read(captures, "otel-genai-openai")}
    records = decode_logs((captures / "otel-genai-openai" / "logs-001.pb").read_bytes()).logs
    for record in records:
        facts = from_log(record) or {}
        meaning = spans[record.span_id]
        for key, value in facts.items():
            assert value == getattr(meaning, key) or key == "error_type"

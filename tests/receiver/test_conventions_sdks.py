"""What further SDKs sent means what the stub they called had answered. See tests/data/sdk/README.md.

Together with test_conventions_captures.py and test_conventions_mcp.py these are all conventions.
"""

# ruff: noqa: E501 - a case reads best on one line

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from halo_receiver import files
from halo_receiver.conventions import canonical, from_log
from halo_receiver.conventions.meaning import TABLE
from halo_receiver.decode import decode_logs, decode_traces
from halo_receiver.span import Canonical, Span
from tests.generator.load import reader_of, store

SDK = Path(__file__).parents[1] / "data" / "sdk"
CALL = [{"id": "call_stub1", "name": "get_weather", "arguments": {"city": "Paris"}}]
ANSWER = "It is 18 degrees and raining in Paris."
WEATHER = '{"temp_c": 18, "sky": "rain"}'

# By file: convention, what else every successful model call says, the tool's arguments, and the agent's name.
CASES: dict[str, tuple[str, dict[str, Any], str | None, str | None]] = {
    "mlflow-skinny-3.17.2": ("mlflow", {"reasoning_tokens": 12}, '{"city": "Paris"}', "weather_agent"),
    "logfire-5.2.0": ("logfire", {"cached_tokens": 64, "reasoning_tokens": 12, "max_output_tokens": 200}, None, None),
    "langsmith-0.15.0": ("langsmith", {"cached_tokens": 64, "reasoning_tokens": 12, "session_id": "sess-42", "user_id": "user-7"}, '{"city":"Paris"}', None),
    "langsmith-0.15.1": ("langsmith", {"cached_tokens": 64, "reasoning_tokens": 12, "session_id": "sess-42", "user_id": "user-7"}, '{"city":"Paris"}', None),
    "lmnr-0.8.2": ("laminar", {"cached_tokens": 64, "reasoning_tokens": 12, "session_id": "sess-42", "user_id": "user-7"}, '{"city":"Paris"}', None),
    "strands-agents-1.62.0": ("strands", {"cached_tokens": 64, "session_id": "sess-42", "user_id": "user-7", "model": "gpt-4o-mini"}, '{"city": "Paris"}', "weather-agent"),
    "traceloop-sdk-0.62.4": ("openllmetry", {"cached_tokens": 64, "reasoning_tokens": 12, "session_id": "sess-42", "user_id": "user-7", "agent_name": "weather_agent"}, '{"args": ["Paris"], "kwargs": {}}', "weather_agent"),
    "opentelemetry-instrumentation-openai-0.40.14": ("openllmetry_legacy", {"cached_tokens": 64, "max_output_tokens": 200}, None, None),
    "opentelemetry-instrumentation-openai-v2-2.1b0": ("otel_genai_legacy", {"max_output_tokens": 200}, None, None),
    "pydantic-ai-slim-1.0.18-format-1": ("pydantic_ai", {"reasoning_tokens": 12, "cost_estimated": False}, '{"city": "Paris"}', "weather_agent"),
    "google-adk-2.13.0": ("google_adk", {"cached_tokens": 64, "reasoning_tokens": 12, "model": "openai/gpt-4o-mini", "output_tokens": 42, "agent_name": "weather_agent"}, '{"city": "Paris"}', "weather_agent"),
}  # fmt: skip
# By file of Codex: the id of its call, tokens out of each request, the model that its turn names.
CODEX = {
    "codex-0.169.0": ("call_1_0", 42, "gpt-4o-mini-2024-07-18"),
    "codex-0.171.0": ("call_stub1", 30, "gpt-4o-mini"),
}
WITHOUT_CONTENT = "opentelemetry-instrumentation-openai-v2-2.1b0"  # it writes messages to logs only
WITHOUT_FAILURE = "google-adk-2.13.0"


def read(name: str) -> list[tuple[Span, Canonical]]:
    decoded = decode_traces((SDK / f"{name}.pb").read_bytes(), encoding="protobuf")
    assert not decoded.rejected
    return [(span, canonical(span)) for span in decoded.spans]


def calls_of(name: str) -> list[Canonical]:
    return [m for _, m in read(name) if m.span_type == "llm" and m.error_message is None]


@pytest.mark.parametrize("name", CASES)
def test_every_span_is_of_its_convention_and_both_calls_say_what_the_stub_answered(name: str) -> None:
    convention, more, _, _ = CASES[name]
    assert {meaning.convention for _, meaning in read(name)} == {convention}
    calls = calls_of(name)
    assert len(calls) == 2
    facts = {"model": "gpt-4o-mini-2024-07-18", "input_tokens": 120, "output_tokens": 30} | more
    for call in calls:
        assert {key: getattr(call, key) for key in facts} == facts
        assert call.cost_usd == pytest.approx(3.12e-05, rel=0.25)  # 64 tokens cached, where that is sent
    assert calls[1].finish_reason == "stop"


@pytest.mark.parametrize("name", sorted(set(CASES) - {WITHOUT_CONTENT}))
def test_messages_and_tools_are_those_of_the_conversation(name: str) -> None:
    first, second = calls_of(name)
    assert json.loads(first.output_messages or "[]")[-1]["tool_calls"] == CALL
    asked = json.loads(first.input_messages or "[]")
    assert [message["role"] for message in asked] == ["system", "user"]
    assert asked[0]["content"].startswith("You are a weather agent.")
    assert asked[1]["content"] == first.input_text == "What is the weather in Paris?"
    assert second.output_text == ANSWER
    answered = json.loads(second.input_messages or "[]")[-1]
    assert answered["role"] == "tool"
    assert json.loads(answered["content"]) == json.loads(WEATHER)
    offered = first.tools_offered or next(m.tools_offered for _, m in read(name) if m.tools_offered)
    assert offered == ["get_weather"]


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case[2]])
def test_the_tool_has_its_name_arguments_and_result(name: str) -> None:
    (tool,) = [m for _, m in read(name) if m.span_type == "tool"]
    assert (tool.tool_name, tool.input_text, tool.output_text) == ("get_weather", CASES[name][2], WEATHER)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case[3]])
def test_the_agent_has_its_name_and_is_no_tool(name: str) -> None:
    agents = [m for _, m in read(name) if m.span_type == "agent"]
    assert {m.agent_name for m in agents} == {CASES[name][3]}
    assert {m.tool_name for m in agents} == {None}


@pytest.mark.parametrize("name", sorted(set(CASES) - {WITHOUT_FAILURE}))
def test_the_failed_call_is_told_whatever_its_status_says(name: str) -> None:
    """The status of LangSmith 0.15.0 is OK when a run failed, that of 0.15.1 is ERROR without a message."""
    failed = [m for _, m in read(name) if m.span_type == "llm" and m.error_message is not None]
    assert len(failed) == 1
    assert "invalid request on purpose" in (failed[0].error_message or "")
    assert failed[0].error_type in ("BadRequestError", "ModelHTTPError", None)
    assert failed[0].error_signature


def test_every_convention_is_tested_with_what_an_sdk_sent() -> None:
    captured = {"openinference", "otel_genai", "vercel_ai", "vercel_ai_7", "pydantic_ai", "claude_code", "langfuse"}
    captured.add("mcp")  # test_conventions_mcp.py
    assert set(TABLE.conventions) == {case[0] for case in CASES.values()} | captured | {"codex", "inference"}


@pytest.mark.parametrize("name", CODEX)
def test_what_a_log_tells_of_a_tool_call_is_shown_with_the_calls_span(name: str, tmp_path: Path) -> None:
    """Codex writes the result under a span within that of the tool; the log names the call."""
    spans = [span for span, _ in read(name)]
    logs = decode_logs((SDK / f"{name}.logs.pb").read_bytes(), encoding="protobuf").logs
    with reader_of([store(spans, tmp_path, logs=logs)]) as reader:
        [tool] = reader.query("SELECT * FROM spans WHERE span_type = 'tool'")
        told = reader.query("SELECT name FROM spans WHERE output_text IS NOT NULL")
        asked = reader.query("SELECT name FROM spans WHERE input_text LIKE 'What is%'")
    assert (tool["name"], tool["tool_name"], tool["tool_call_id"]) == ("exec_command", "exec_command", CODEX[name][0])
    assert tool["agent_name"] == "codex_exec"  # as the turn says; the log says "/root"
    assert tool["input_text"] == '{"cmd": "echo 18 degrees"}'
    assert "Process exited with code 0" in tool["output_text"]
    assert [span["name"] for span in told] == ["exec_command"]
    assert [span["name"] for span in asked] == ["run_hooks_and_record_inputs"]  # of no call: where it was written


@pytest.mark.parametrize("name", CODEX)
def test_a_log_of_a_call_without_a_span_stays_with_the_span_it_was_written_under(name: str, tmp_path: Path) -> None:
    spans = [span for span, meaning in read(name) if meaning.span_type != "tool"]
    logs = decode_logs((SDK / f"{name}.logs.pb").read_bytes(), encoding="protobuf").logs
    with reader_of([store(spans, tmp_path, logs=logs)]) as reader:
        told = reader.query("SELECT name FROM spans WHERE output_text IS NOT NULL")
    assert [span["name"] for span in told] == ["dispatch_tool_call_with_state"]


def test_a_file_of_halo_says_what_its_exporter_was_told() -> None:
    """Written by the trace processor that halo-engine ships for the Agents SDK. A failed call leaves no error there."""
    parts = files.read_files([str(SDK / "halo-engine-0.3.5.jsonl")])
    read = [(span, canonical(span)) for part in parts for span in part.decoded.spans]
    meanings = [meaning for _, meaning in read]
    assert {(m.convention, m.session_id) for m in meanings} == {("inference", "sess-42")}
    assert {span.name: m.span_type for span, m in read} == {
        "generation.gpt-4o-mini": "llm", "function.get_weather": "tool", "agent.weather_agent": "agent",
        "custom.turn": "chain", "custom.task": "chain",
    }  # fmt: skip
    first, second, failed = [m for m in meanings if m.span_type == "llm"]
    for call in (first, second):
        assert (call.model, call.provider, call.max_output_tokens) == ("gpt-4o-mini", "openai", 200)
        counted = (call.input_tokens, call.output_tokens, call.cached_tokens, call.reasoning_tokens)
        assert counted == (120, 42, 64, 12)
    assert json.loads(first.output_messages or "[]")[-1]["tool_calls"] == [{**CALL[0], "id": "call_1_0"}]
    assert (second.output_text, failed.output_text, failed.input_tokens) == (ANSWER, None, None)
    [tool] = [m for m in meanings if m.span_type == "tool"]
    assert (tool.tool_name, tool.input_text, tool.output_text) == ("get_weather", '{"city": "Paris"}', WEATHER)
    assert {m.agent_name for m in meanings if m.span_type == "agent"} == {"weather_agent"}
    assert {tuple(m.tools_offered or ()) for m in meanings if m.span_type == "agent"} == {("get_weather",)}
    assert {m.agent_name for span, m in read if span.name == "custom.turn"} == {"weather_agent"}


def test_claude_code_tells_the_model_that_answered_its_tool_and_a_request_that_failed(tmp_path: Path) -> None:
    """Two runs: a request that Bash answers, and one that the endpoint refuses (56 tokens, 64 read, 10 written)."""
    spans = read("claude-code-2.1.332")
    by_type = {kind: [m for _, m in spans if m.span_type == kind] for kind in ("agent", "llm", "tool")}
    *calls, failed = by_type["llm"]
    for call in calls:
        assert (call.convention, call.model) == ("claude_code", "claude-sonnet-4-5-20250929")
        assert (call.input_tokens, call.cached_tokens, call.output_tokens) == (130, 64, 30)
        assert call.cost_usd == pytest.approx(0.0006747)
    assert [call.finish_reason for call in calls] == ["tool_calls", "stop"]
    assert (failed.error_type, failed.error_message) == ("400", "stub: invalid request on purpose")
    [tool] = by_type["tool"]
    said = (tool.tool_name, tool.tool_call_id, tool.input_text, tool.output_text)
    assert said == ("Bash", "toolu_stub1", "echo 18 degrees", "18 degrees")
    assert [agent.input_text for agent in by_type["agent"]] == ["Say the weather with Bash", "fail on purpose"]
    assert len({m.session_id for _, m in spans}) == 2

    logs = decode_logs((SDK / "claude-code-2.1.332.logs.pb").read_bytes(), encoding="protobuf").logs
    with reader_of([store([span for span, _ in spans], tmp_path, logs=logs)]) as reader:
        answers = reader.query("SELECT output_text FROM spans WHERE span_type = 'agent' ORDER BY start_time")
        costs = reader.query("SELECT sum(cost_usd) AS usd FROM spans WHERE span_type = 'llm'")
    assert [answer["output_text"] for answer in answers] == [ANSWER, None]
    assert costs[0]["usd"] == pytest.approx(2 * 0.0006747)


@pytest.mark.parametrize("name", CODEX)
def test_codex_tells_a_turn_its_calls_and_its_tool_among_hundreds_of_spans(name: str) -> None:
    """Two calls of the stub (120 tokens in, 64 of them cached, 30 out and 12 of reasoning) around one command."""
    spans = read(name)
    assert {meaning.convention for _, meaning in spans} == {"codex"}
    by_type: dict[str | None, list[Canonical]] = {}
    for _, meaning in spans:
        by_type.setdefault(meaning.span_type, []).append(meaning)
    calls, [turn], [tool] = by_type["llm"], by_type["agent"], by_type["tool"]
    assert [(m.input_tokens, m.output_tokens, m.cached_tokens, m.reasoning_tokens) for m in calls] == [
        (120, CODEX[name][1], 64, 12)
    ] * 2
    assert (turn.model, turn.agent_name, turn.input_tokens) == (CODEX[name][2], "codex_exec", 240)
    assert turn.session_id == tool.session_id is not None
    assert (tool.tool_name, tool.tool_call_id) == ("exec_command", CODEX[name][0])


@pytest.mark.parametrize("name", CODEX)
def test_codex_tells_prompts_and_results_in_logs_below_them(name: str) -> None:
    logs = decode_logs((SDK / f"{name}.logs.pb").read_bytes(), encoding="protobuf").logs
    facts = [found for log in logs if log.span_id and (found := from_log(log))]
    [prompt] = [found for found in facts if "input_messages" in found]
    [result] = [found for found in facts if "output_text" in found]
    assert prompt["input_text"] == "What is the weather in Paris?"
    assert result["input_text"] == '{"cmd": "echo 18 degrees"}'
    assert "18 degrees" in result["output_text"]
    spans = {span.span_id for span, _ in read(name)}
    assert {log.span_id for log in logs if log.span_id and from_log(log)} & spans

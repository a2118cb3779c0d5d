"""OpenAIModel: the suite over both APIs, plain and streamed; and what only this one does."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from halo_worker.errors import ModelRefused, ModelUnavailable
from halo_worker.rlm.messages import Message, ToolCall, Usage
from halo_worker.rlm.provider.openai_model import OpenAIModel
from tests.scripted_model import Fault, Say, Script, Scripted
from tests.worker.rlm.provider.model_suite import HELLO, SCHEMA, TOOL, ModelSuite, NewModel


class OpenAISuite(ModelSuite):
    api: Any = "chat"

    @pytest.fixture
    def model(self, scripted_model: Scripted) -> NewModel:
        def new(script: Script, timeout: float = 10.0) -> OpenAIModel:
            server = scripted_model(script)
            one = OpenAIModel(
                "m", base_url=server.base_url, api_key="none", api=self.api, request_timeout_seconds=timeout
            )
            if not self.stream:
                one.endpoint.without.add("stream")
            return one

        return new


class TestChat(OpenAISuite):
    pass


class TestChatStreamed(OpenAISuite):
    stream = True


class TestResponses(OpenAISuite):
    api = "responses"


class TestResponsesStreamed(OpenAISuite):
    api = "responses"
    stream = True


def model(scripted_model: Scripted, script: Script, **given: Any) -> tuple[OpenAIModel, Any]:
    server = scripted_model(script)
    return OpenAIModel("m", base_url=server.base_url, api_key="none", **given), server


async def test_what_is_configured_is_sent(scripted_model: Scripted) -> None:
    given: dict[str, Any] = {
        "headers": {"X-Team": "halo"}, "temperature": 0.5, "reasoning_effort": "low", "parallel_tool_calls": False,
        "max_output_tokens": 100,
    }  # fmt: skip
    one, server = model(scripted_model, [Say("x")], **given)
    await one.ask(HELLO, tools=[TOOL], max_output_tokens=1_000)
    body = server.requests[0].body
    assert server.requests[0].headers["X-Team"] == "halo"
    assert (body["temperature"], body["reasoning_effort"], body["max_tokens"]) == (0.5, "low", 100)
    assert body["parallel_tool_calls"] is False
    one, server = model(scripted_model, [Say("x")], api="responses", **given)
    await one.ask(HELLO, tools=[TOOL], max_output_tokens=50)
    body = server.requests[0].body
    assert (body["reasoning"], body["max_output_tokens"], body["store"]) == ({"effort": "low"}, 50, False)


async def test_nothing_is_sent_that_was_not_asked_for(scripted_model: Scripted) -> None:
    """Endpoints differ in what they refuse: the least is the safest."""
    one, server = model(scripted_model, [Say("x")])
    await one.ask(HELLO)
    assert set(server.requests[0].body) == {"model", "messages", "stream", "stream_options"}


@pytest.mark.parametrize(
    ("fault", "gone", "instead"),
    [
        (Fault(400, "unsupported_parameter", "Unsupported parameter: 'max_tokens' is not supported with this model. "
               "Use 'max_completion_tokens' instead.", param="max_tokens"), "max_tokens", "max_completion_tokens"),
        (Fault(400, "unsupported_value", "Unsupported value: 'temperature' does not support 0.2", param="temperature"),
         "temperature", None),
        (Fault(400, None, "Unrecognized request argument supplied: reasoning_effort"), "reasoning_effort", None),
        (Fault(400, None, "parallel_tool_calls: Extra inputs are not permitted"), "parallel_tool_calls", None),
    ],
)  # fmt: skip
async def test_what_an_endpoint_does_not_take_is_left_out_from_then_on(
    scripted_model: Scripted, fault: Fault, gone: str, instead: str | None
) -> None:
    given: dict[str, Any] = {"temperature": 0.2, "reasoning_effort": "low", "parallel_tool_calls": False}
    one, server = model(scripted_model, [fault, Say("x"), Say("y")], **given)
    asked: dict[str, Any] = {"tools": [TOOL], "schema": SCHEMA, "max_output_tokens": 50}
    with pytest.raises(ModelUnavailable) as caught:
        await one.ask(HELLO, **asked)
    assert caught.value.retry_after == 0
    await one.ask(HELLO, **asked)
    await one.ask(HELLO, **asked)
    assert gone in server.requests[0].body
    for request in server.requests[1:]:
        assert gone not in request.body
        assert instead is None or request.body[instead] == 50


async def test_an_endpoint_without_tools_is_told_of_them_in_words(scripted_model: Scripted) -> None:
    refusal = Fault(400, None, "registry/tiny does not support tools")
    one, server = model(scripted_model, [refusal, Say('```json\n{"name": "look", "arguments": {"at": "x"}}\n```')])
    history = [
        *HELLO,
        Message("assistant", "", (ToolCall("1", "look", "{}"),)),
        Message("tool", "seen", (), "1", "look"),
    ]
    with pytest.raises(ModelUnavailable):
        await one.ask(history, tools=[TOOL])
    await one.ask(history, tools=[TOOL])
    body = server.requests[1].body
    assert "tools" not in body
    assert "- look: Look at a thing." in body["messages"][0]["content"]
    assert {message["role"] for message in body["messages"]} == {"system", "user", "assistant"}
    assert all("tool_calls" not in message for message in body["messages"])


async def test_a_lower_limit_of_output_is_learned(scripted_model: Scripted) -> None:
    too_many = Fault(400, "invalid_value", "max_tokens is too large: 32000. This model supports at most 4096 tokens")
    one, server = model(scripted_model, [too_many, Say("x")])
    for _ in range(2):
        try:
            await one.ask(HELLO, max_output_tokens=32_000)
        except ModelUnavailable:
            continue
    assert server.requests[1].body["max_tokens"] == 4_096


async def test_a_window_that_counts_the_answer_leaves_less_for_it(scripted_model: Scripted) -> None:
    """vLLM refuses prompt + max_tokens beyond its window; the prompt is not what is too long."""
    said = (
        "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens "
        "(1000 in the messages, 8000 in the completion)."
    )
    full = said.replace("9000", "15000").replace("1000", "8000").replace("8000 in the c", "7000 in the c")
    one, server = model(scripted_model, [Fault(400, None, said), Say("x"), Fault(400, None, full)])
    with pytest.raises(ModelUnavailable):
        await one.ask(HELLO, max_output_tokens=8_000)
    await one.ask(HELLO, max_output_tokens=8_000)
    assert 7_000 < server.requests[1].body["max_tokens"] < 8_192
    with pytest.raises(ModelRefused, match="maximum context"):
        await one.ask(HELLO, max_output_tokens=8_000)


async def test_history_is_wire_valid(scripted_model: Scripted) -> None:
    """Content is always there, arguments are always a JSON object, no key is ours."""
    broken = Message("assistant", None, (ToolCall("1", "look", '{"at"'), ToolCall("2", "look", "")))
    history = [*HELLO, broken, Message("tool", None, (), "1", "look"), Message("user", "r", name="look")]
    one, server = model(scripted_model, [Say("x")])
    await one.ask(history, tools=[TOOL])
    messages = server.requests[0].messages
    assert all(isinstance(message["content"], str) for message in messages)
    assert [json.loads(call["function"]["arguments"]) for call in messages[2]["tool_calls"]] == [
        {"not_json": '{"at"'}, {"not_json": ""},
    ]  # fmt: skip
    assert {key for message in messages for key in message} <= {"role", "content", "tool_calls", "tool_call_id"}


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [("3", 3, 3), ("Wed, 21 Oct 2065 07:28:00 GMT", 600, 600), ("-1", 0, 0), ("nonsense", None, None)],
)
async def test_retry_after_in_all_its_forms(
    scripted_model: Scripted, header: str, least: float | None, most: float | None
) -> None:
    one, _ = model(scripted_model, [Fault(429, retry_after=header)])
    with pytest.raises(ModelUnavailable) as caught:
        await one.ask(HELLO)
    after = caught.value.retry_after
    assert after is None if least is None or most is None else least <= (after or 0) <= most


async def test_a_limit_of_the_minute_is_not_the_end_of_the_account(scripted_model: Scripted) -> None:
    """Their words speak of quota and billing too; what tells them apart is that they say when."""
    told = {
        "Rate limit reached. Please try again in 1.5s, or raise it at https://platform.openai.com/account/billing": 1.5,
        "You exceeded your current quota, please check your plan and billing details. Please retry in 32.1s.": 32.1,
        "Rate limit reached, try again in 20ms": 0.02,
        "Rate limit reached: add a payment method at https://platform.openai.com/account/billing": None,
    }
    one, _ = model(scripted_model, [Fault(429, "rate_limit_exceeded", words) for words in told])
    for seconds in told.values():
        with pytest.raises(ModelUnavailable) as caught:
            await one.ask(HELLO)
        assert caught.value.retry_after == seconds


async def test_an_endpoint_that_cannot_stream_tools_is_asked_plainly(scripted_model: Scripted) -> None:
    refusal = Fault(500, None, "Cannot use tools with stream")
    one, server = model(scripted_model, [refusal, Say("plain")])
    heard: list[str] = []
    with pytest.raises(ModelUnavailable):
        await one.ask(HELLO, tools=[TOOL], on_delta=heard.append)
    assert (await one.ask(HELLO, tools=[TOOL], on_delta=heard.append)).content == "plain"
    assert heard == ["plain"]
    assert not server.requests[1].stream


async def test_prices(scripted_model: Scripted) -> None:
    configured, _ = model(scripted_model, [], input_usd_per_million=1.0, output_usd_per_million=10.0)
    assert configured.cost(Usage(1_000_000, 100_000)) == pytest.approx(2.0)
    listed = OpenAIModel("gpt-4o-mini", base_url="http://127.0.0.1:1/v1")
    plain, cached = listed.cost(Usage(1_000_000, 0)), listed.cost(Usage(1_000_000, 0, cached_tokens=1_000_000))
    assert plain == pytest.approx(0.15)
    assert cached is not None
    assert cached < 0.15
    assert OpenAIModel("my-own", base_url="http://127.0.0.1:1/v1").cost(Usage(1)) is None
    assert configured.cost(Usage(1, cost_usd=0.5)) == 0.5  # the provider knows best


async def test_without_a_key_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    one = OpenAIModel("m")
    with pytest.raises(ModelRefused) as caught:
        await one.ask(HELLO)
    assert caught.value.code == "invalid_api_key"


async def test_the_key_of_the_environment_is_used_and_an_endpoint_of_ones_own_needs_none(
    scripted_model: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = scripted_model([Say("x")] * 3)
    monkeypatch.setenv("OPENAI_API_KEY", "from-the-environment")
    await OpenAIModel("m", base_url=server.base_url).ask(HELLO)
    monkeypatch.delenv("OPENAI_API_KEY")
    await OpenAIModel("m", base_url=server.base_url).ask(HELLO)
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    await OpenAIModel("m").ask(HELLO)
    keys = [request.headers["Authorization"] for request in server.requests]
    assert keys == ["Bearer from-the-environment", "Bearer none", "Bearer none"]


def test_making_one_waits_for_no_import() -> None:
    """openai takes about a second to import; a run prepares its window meanwhile."""
    code = (
        "import time, sys; from halo_worker.rlm.provider.openai_model import OpenAIModel; t = time.perf_counter();"
        "OpenAIModel('m', base_url='http://127.0.0.1:1/v1'); print(time.perf_counter() - t)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.5

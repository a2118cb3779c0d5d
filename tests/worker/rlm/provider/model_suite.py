"""What every LanguageModel does. Subclass it, give a fixture `model` that makes one for a script."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from halo_worker.errors import ModelRefused, ModelUnavailable
from halo_worker.rlm.messages import Message, Reply, ToolCall, ToolSpec
from halo_worker.rlm.provider.model import LanguageModel
from tests.scripted_model import Fault, Say

NewModel = Callable[..., LanguageModel]  # of a script, and a timeout in seconds
HELLO = [Message("system", "You are a test."), Message("user", "Say hello.")]
TOOL = ToolSpec("look", "Look at a thing.", {"type": "object", "properties": {"at": {"type": "string"}}})
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}


class ModelSuite:
    """The suite; `stream` says whether the text is listened to."""

    stream = False

    async def ask(self, model: LanguageModel, messages: list[Message] | None = None, **given: Any) -> Reply:
        self.heard: list[str] = []
        return await model.ask(messages or HELLO, on_delta=self.heard.append if self.stream else None, **given)

    async def test_text_usage_and_reason(self, model: NewModel) -> None:
        say = Say("hello world", input_tokens=100, output_tokens=5, cached_tokens=60, reasoning_tokens=7)
        reply = await self.ask(model([say]))
        assert (reply.content, reply.finish_reason, reply.refusal) == ("hello world", "stop", False)
        assert reply.usage.input_tokens == 100
        assert reply.usage.output_tokens == 12  # reasoning included
        assert (reply.usage.cached_tokens, reply.usage.reasoning_tokens) == (60, 7)
        assert "".join(self.heard) == ("hello world" if self.stream else "")

    async def test_tool_calls(self, model: NewModel) -> None:
        one = model([Say("I look.", calls=[("look", {"at": "a"}), ("look", '{"at"')]), Say("done")])
        reply = await self.ask(one, tools=[TOOL])
        assert [(call.name, call.arguments) for call in reply.tool_calls] == [
            ("look", '{"at": "a"}'),
            ("look", '{"at"'),
        ]
        assert reply.finish_reason == "tool_calls"
        assert len({call.id for call in reply.tool_calls}) == 2
        history = [*HELLO, Message("assistant", reply.content, reply.tool_calls)]
        history += [Message("tool", "seen", tool_call_id=call.id, name=call.name) for call in reply.tool_calls]
        assert (await self.ask(one, history, tools=[TOOL])).content == "done"

    async def test_a_schema_is_passed_on(self, model: NewModel) -> None:
        assert (await self.ask(model([Say('{"n": 1}')]), schema=SCHEMA)).content == '{"n": 1}'

    async def test_a_refusal_part(self, model: NewModel) -> None:
        reply = await self.ask(model([Say(refusal="I may not.")]))
        assert reply.refusal
        assert reply.content == "I may not."

    @pytest.mark.parametrize(("said", "reason"), [("length", "length"), ("content_filter", "content_filter")])
    async def test_why_it_ended(self, model: NewModel, said: str, reason: str) -> None:
        reply = await self.ask(model([Say("half", finish_reason=said)]))
        assert (reply.content, reply.finish_reason) == ("half", reason)
        assert reply.refusal == (reason == "content_filter")

    async def test_null_parts_and_missing_usage(self, model: NewModel) -> None:
        reply = await self.ask(model([Say("x", null_parts=True, usage=False)]))
        assert reply.content == "x"
        assert (reply.usage.input_tokens, reply.usage.output_tokens) == (0, 0)

    @pytest.mark.parametrize("kind", ["reset", "truncate", "cut", "malformed"])
    async def test_a_connection_that_breaks_may_pass(self, model: NewModel, kind: Any) -> None:
        if kind == "truncate" and not self.stream:
            kind = "cut"
        with pytest.raises(ModelUnavailable):
            await self.ask(model([Fault(kind=kind)]))

    async def test_nothing_within_the_timeout_may_pass(self, model: NewModel) -> None:
        async with asyncio.timeout(5):
            with pytest.raises(ModelUnavailable, match=r"no answer within 0\.5 s"):
                await self.ask(model([Fault(kind="hang")], timeout=0.5))

    async def test_statuses_that_may_pass(self, model: NewModel) -> None:
        statuses = (408, 409, 429, 500, 502, 503, 504, 529)
        one = model([fault for s in statuses for fault in (Fault(s, retry_after=7), Fault(s, kind="html"))])
        for _ in statuses:
            for retry_after in (7, None):
                with pytest.raises(ModelUnavailable) as caught:
                    await self.ask(one)
                assert caught.value.retry_after == retry_after

    async def test_what_will_not_pass_is_refused_at_once(self, model: NewModel) -> None:
        expected = [
            (Fault(401, "invalid_api_key", "Incorrect API key"), "invalid_api_key"),
            (Fault(401, kind="html"), "invalid_api_key"),
            (Fault(403, None, "not for you"), "permission_denied"),
            (Fault(404, "model_not_found", "no such model"), "model_not_found"),
            (Fault(429, "insufficient_quota", "You exceeded your current quota"), "insufficient_quota"),
            (Fault(402, None, "Insufficient credit balance"), "insufficient_quota"),
            (Fault(400, "context_length_exceeded", "This model's maximum context length is 8192 tokens"),
             "context_length_exceeded"),
            (Fault(400, None, "prompt is too long: 210000 tokens > 200000 maximum"), "context_length_exceeded"),
            (Fault(500, None, "the request exceeds the available context size, try increasing it"),
             "context_length_exceeded"),
            (Fault(400, "content_filter", "The response was filtered"), "content_filter"),
            (Fault(400, "invalid_value", "Invalid value: 'sytem'", param="messages[0].role"), "invalid_value"),
            (Fault(422, None, "something is wrong with it"), "scripted"),
        ]  # fmt: skip
        one = model([fault for fault, _ in expected])
        for fault, code in expected:
            with pytest.raises(ModelRefused) as caught:
                await self.ask(one)
            assert caught.value.code == code, fault

    async def test_estimates_are_never_far_below_what_is_counted(self, model: NewModel) -> None:
        one = model([Say("ok", input_tokens=2_000)] * 2)
        messages = [*HELLO, Message("user", "word " * 1_000, ()), Message("assistant", "", (ToolCall("1", "a", "{}"),))]
        assert one.estimate(messages, []) > 1_200
        await self.ask(one, messages)
        assert 2_000 <= one.estimate(messages, []) < 2_400  # learned

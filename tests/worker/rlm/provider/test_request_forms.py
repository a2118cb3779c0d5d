"""What an endpoint refuses is asked for in another form, whatever words it refuses it in."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web

from halo_worker.errors import ModelRefused, RequestChanged
from halo_worker.rlm.messages import Message, Reply, ToolCall
from halo_worker.rlm.provider.openai_model import OpenAIModel
from tests.scripted_model import Fault, Request, Say, Script, Scripted
from tests.worker.rlm.provider.model_suite import HELLO, SCHEMA, TOOL

HISTORY = [
    *HELLO,
    Message("assistant", "I look.", (ToolCall("1", "look", "{}"),)),
    Message("tool", "seen", tool_call_id="1", name="look"),
    Message("user", "Go on."),
]
ASKED = 16_384
LIMITS = {  # what an endpoint says of 16,384 output tokens: the most it takes, given a prompt of 1,531
    "max_tokens is too large: 16384. This model supports at most 8192 completion tokens, whereas you provided 16384.":
        8_192,
    "max_tokens: 16384 > 4096, which is the maximum allowed number of output tokens for claude-3-haiku-20240307": 4_096,
    "This model's maximum context length is 8192 tokens. However, you requested 17915 tokens": 6_661,
    "This model's maximum context length is 8192 tokens. However, you requested 16384 output tokens and your prompt "
    "contains at least 1531 input tokens, for a total of at least 17915 tokens.": 6_661,
    "input length and `max_tokens` exceed context limit: 1531 + 16384 > 8192, decrease input length or `max_tokens`":
        6_661,
    "Prompt contains 1531 tokens and 16384 draft tokens, too large for model with 8192 maximum context length": 6_661,
    "Request too large on tokens per minute (TPM): Limit 6000, Requested 17915, please reduce your message size": 4_469,
    "Invalid max_tokens value, the valid range of max_tokens is [1, 512]": 512,
    "max_tokens参数非法，取值范围为[1,4096]": 4_096,
    "maxOutputTokens value of 16384 but the supported range is from 1 (inclusive) to 8193 (exclusive)": 8_192,
    "max_tokens must be lower than 8,192": 8_191,
    "The requested generation length exceeds what is allowed here.": 2_000,
    "Please reduce the length of the messages or completion.": 2_000,
}  # fmt: skip


async def asked(scripted_model: Scripted, script: Script, messages: list[Message], **given: Any) -> tuple[Reply, Any]:
    """Ask until it answers, as the client does with a request that changed."""
    server = scripted_model(script)
    one = OpenAIModel("m", base_url=server.base_url, api_key="none")
    for _ in range(12):
        try:
            return await one.ask(messages, **given), server
        except RequestChanged:
            continue
    raise AssertionError("it is asked again and again")


@pytest.mark.parametrize(("words", "most"), LIMITS.items())
async def test_less_output_is_asked_for_whatever_the_words(scripted_model: Scripted, words: str, most: int) -> None:
    def script(request: Request) -> Say | Fault:
        return Fault(400, None, words) if request.body["max_tokens"] > most else Say("x", input_tokens=1_531)

    reply, server = await asked(scripted_model, script, HELLO, max_output_tokens=ASKED)
    assert reply.content == "x"
    assert server.requests[-1].body["max_tokens"] > most / 2


async def test_a_prompt_that_is_too_long_leaves_the_answer_its_room(scripted_model: Scripted) -> None:
    """A refusal that names no number may mean either: less output is tried, and not kept when it does not help."""
    server = scripted_model(lambda _: Fault(400, None, "Please reduce the length of the messages or completion."))
    one = OpenAIModel("m", base_url=server.base_url, api_key="none")
    codes = []
    while not codes:
        try:
            await one.ask(HELLO, max_output_tokens=ASKED)
        except RequestChanged:
            continue
        except ModelRefused as error:
            codes.append(error.code)
    assert codes == ["context_length_exceeded"]
    assert one.max_output_tokens == ASKED


BODIES: list[Any] = [
    {"error": {"message": "System role not supported", "type": "invalid_request_error", "code": None}},
    {"object": "error", "message": "System role not supported", "type": "BadRequestError", "code": 400},
    {"detail": "Only user and assistant roles are supported!"},
    {"detail": [{"loc": ["body", "messages", 0, "role"], "msg": "Input should be 'user', 'assistant' or 'tool'"}]},
    {"error": "Conversation roles must alternate user/assistant/user/assistant/..."},
    {"error": {"message": "Failed to deserialize the JSON body into the target type: messages[0].role: unknown variant "
                          "`system`, expected `user` or `assistant` at line 1 column 40"}},
    {"error": {"message": "Unsupported value: 'messages[0].role' does not support 'system' with this model.",
               "code": "unsupported_value", "param": "messages[0].role"}},
    [{"error": {"code": 400, "message": "Developer instruction is not enabled for models/gemma", "status": "INVALID"}}],
    {"error": {"message": "Provider returned error", "code": 400,
               "metadata": {"raw": '{"message": "System role not supported"}', "provider_name": "x"}}},
    "Value error: system messages are not supported by this chat template",
]  # fmt: skip


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
async def test_a_model_without_a_system_role_gets_it_in_the_first_message(body: Any) -> None:
    """Chat templates of Mistral 7B and Gemma have none; every server says so in a body of its own shape."""
    seen: list[Any] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append((await request.json())["messages"])
        if any(message["role"] == "system" for message in seen[-1]):
            return web.Response(status=400, text=body) if isinstance(body, str) else web.json_response(body, status=400)
        return web.json_response({"choices": [{"message": {"content": "hello"}, "finish_reason": "stop"}]})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        one = OpenAIModel("m", base_url=f"http://127.0.0.1:{runner.addresses[0][1]}/v1", api_key="none")
        one.endpoint.without.add("stream")
        with pytest.raises(RequestChanged):
            await one.ask(HELLO)
        assert (await one.ask(HELLO)).content == "hello"
        assert seen[1] == [{"role": "user", "content": "You are a test.\n\nSay hello."}]
        await one.close()
    finally:
        await runner.cleanup()


async def test_a_template_that_wants_roles_to_alternate_and_no_tools_gets_it(scripted_model: Scripted) -> None:
    def script(request: Request) -> Say | Fault:
        roles = [message["role"] for message in request.messages]
        if roles != ["user", "assistant", "user"]:
            return Fault(400, None, "Conversation roles must alternate user/assistant/user/assistant/...")
        return Say("done")

    reply, server = await asked(scripted_model, script, HISTORY)
    assert reply.content == "done"
    assert "Result of look:\nseen\n\nGo on." in server.requests[-1].texts[-1]
    assert len(server.requests) <= 4


@pytest.mark.parametrize(
    ("words", "forms"),
    [
        ("This response_format type is unavailable now", ["json_schema", "json_object"]),
        ("'messages' must contain the word 'json' to use response_format json_object", ["json_schema", "json_object"]),
        ("response_format: Extra inputs are not permitted", ["json_schema", "json_object", None]),
        ("Failed to generate JSON. Please adjust your prompt.", ["json_schema", "json_object", None]),
        ("Grammar error: Unimplemented keys: ['minItems']", ["json_schema", "json_object"]),
    ],
)
async def test_structured_output_is_asked_for_where_it_is_taken(
    scripted_model: Scripted, words: str, forms: list[str | None]
) -> None:
    def form(request: Request) -> str | None:
        return (request.body.get("response_format") or {}).get("type")

    def script(request: Request) -> Say | Fault:
        return Say('{"n": 1}') if form(request) == forms[-1] else Fault(400, None, words)

    reply, server = await asked(scripted_model, script, HELLO, schema=SCHEMA)
    assert json.loads(reply.content) == {"n": 1}
    assert [form(request) for request in server.requests] == forms
    assert json.dumps(SCHEMA, separators=(",", ":")) in server.requests[-1].texts[0]  # held to nothing, it is told


class Raw:
    """A server that answers with events as they are given, or with a body where it is not asked to stream."""

    def __init__(self, events: list[Any], body: dict[str, Any] | None = None) -> None:
        self.events, self.body, self.streamed = events, body, list[bool]()

    async def answer(self, request: web.Request) -> web.Response:
        self.streamed.append(bool((await request.json()).get("stream")))
        if not self.streamed[-1]:
            return web.json_response(self.body)
        text = "".join(f"data: {one if isinstance(one, str) else json.dumps(one)}\n\n" for one in self.events)
        return web.Response(text=text, content_type="text/event-stream")

    async def ask(self, times: int = 1) -> Reply:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        one = OpenAIModel("m", base_url=f"http://127.0.0.1:{runner.addresses[0][1]}/v1", api_key="none")
        try:
            async with asyncio.timeout(20):
                while True:
                    try:
                        reply = await one.ask(HELLO, tools=[TOOL])
                    except RequestChanged:
                        continue
                    times -= 1
                    if not times:
                        return reply
        finally:
            await one.close()
            await runner.cleanup()


def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}


@pytest.mark.parametrize(
    "events",
    [
        [chunk({"content": "half"}), "[DONE]"],
        [chunk({"content": "half"})],
        [],
        ['{"choices": [{"delta"'],
        ["<html>"],
    ],
    ids=["no reason", "no end", "nothing", "broken JSON", "a page"],
)
async def test_a_stream_that_cannot_be_read_is_asked_once_without_streaming(events: list[Any]) -> None:
    body = {"choices": [{"message": {"content": "whole"}, "finish_reason": "stop"}]}
    server = Raw(events, body)
    assert (await server.ask(times=4)).content == "whole"
    assert server.streamed == [True, False, True, False, False, False]  # twice in a row: it never can


def part(index: int | None = None, **fields: Any) -> dict[str, Any]:
    function = {key: fields.pop(key) for key in ("name", "arguments") if key in fields}
    place = {} if index is None else {"index": index}
    return chunk({"tool_calls": [{**place, **fields, "type": "function", "function": function}]})


A, B = ('{"at": "a"}', '{"at": "b"}')
PARALLEL = {
    "ids, all at index 0": [part(0, id="1", name="look", arguments=A), part(0, id="2", name="look", arguments=B)],
    "ids, no index": [part(id="1", name="look", arguments=A), part(id="2", name="look", arguments=B)],
    "neither, in one part each": [part(name="look", arguments=A), part(name="look", arguments=B)],
    "no ids, all at index 0": [part(0, name="look", arguments=A), part(0, name="look", arguments=B)],
    "in pieces, no index": [
        part(id="1", name="look"), part(arguments=A[:4]), part(arguments=A[4:]),
        part(id="2", name="look"), part(arguments=B[:4]), part(arguments=B[4:]),
    ],
    "in pieces, the id each time": [
        part(0, id="1", name="look", arguments=A[:4]), part(0, id="1", name="look", arguments=A[4:]),
        part(0, id="2", name="look", arguments=B[:4]), part(0, id="2", name="look", arguments=B[4:]),
    ],
    "one id for both": [part(0, id="1", name="look", arguments=A), part(1, id="1", name="look", arguments=B)],
    "an id that changes with every piece": [
        part(0, id="1", name="look", arguments=A[:4]), part(0, id="2", arguments=A[4:]),
        part(1, id="3", name="look", arguments=B[:4]), part(1, id="4", arguments=B[4:]),
    ],
    "taking turns": [
        part(0, id="1", name="look"), part(1, id="2", name="look"), part(0, arguments=A), part(1, arguments=B),
    ],
    "in one chunk": [chunk({"tool_calls": [
        {"id": "1", "function": {"name": "look", "arguments": A}},
        {"id": "2", "function": {"name": "look", "arguments": B}},
    ]})],
}  # fmt: skip


@pytest.mark.parametrize("events", PARALLEL.values(), ids=PARALLEL)
async def test_parallel_calls_are_told_apart(events: list[Any]) -> None:
    reply = await Raw([*events, chunk({}, "tool_calls"), "[DONE]"]).ask()
    assert [(call.name, call.arguments) for call in reply.tool_calls] == [("look", A), ("look", B)]

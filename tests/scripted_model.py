"""A scripted OpenAI-compatible server: real HTTP on loopback, chat completions and responses, plain and SSE.

A script is a list of answers, or a function of the request; an answer is a `Say` or a `Fault`. The server records every
request it got. It lives in a thread, so that synchronous code and child processes can ask it too.

    with ScriptedModel([Say("hello"), Fault(429, retry_after=0), Say(calls=[("final_answer", {"answer": "x"})])]) as it:
        OpenAIModel("scripted", base_url=it.base_url, api_key="none")
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import json
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from aiohttp import web

CHARACTERS_A_TOKEN = 4
Call = tuple[str, Any]  # name, arguments: a value, or the text as it is sent


@dataclass(frozen=True, slots=True)
class Say:
    """What the model answers. Token counts default to a quarter of the characters sent and said."""

    text: str | None = ""
    calls: Sequence[Call] = ()
    finish_reason: str | None = None
    refusal: str | None = None  # a refusal part of its own
    delay: float = 0.0  # seconds before the first byte
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    usage: bool = True  # False: the endpoint reports none
    null_parts: bool = False  # text parts with null in them, as some gateways send
    choices: bool = True  # False: an answer with nothing in it
    chunk: int = 12  # characters an event, when streaming
    pause: float = 0.0  # seconds between two events


FaultKind = Literal["status", "reset", "hang", "truncate", "cut", "malformed", "html"]


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong instead.

    `status` answers with that status and an OpenAI error object; `reset` closes the connection unanswered; `hang` never
    answers; `truncate` ends a stream early in good order and `cut` in the middle of a chunk (both need streaming, and
    otherwise break off the body); `malformed` answers 200 with broken JSON; `html` the status with a proxy's page.
    """

    status: int = 500
    code: str | None = None
    message: str = "scripted fault"
    kind: FaultKind = "status"
    retry_after: float | str | None = None
    param: str | None = None
    type: str | None = None


Answer = Say | Fault


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came."""

    number: int  # from 0
    api: Literal["chat", "responses"]
    body: dict[str, Any]
    headers: Mapping[str, str]  # whatever the case of their names
    size: int  # bytes of the body

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The conversation: `messages` of chat, `input` of responses."""
        items = self.body.get("messages" if self.api == "chat" else "input") or []
        return [{"role": "user", "content": items}] if isinstance(items, str) else list(items)

    @property
    def texts(self) -> list[str]:
        """What each message says, tool results and call arguments included."""
        return [_text_of(message) for message in self.messages]

    @property
    def last(self) -> str:
        """What the last message says."""
        return self.texts[-1] if self.messages else ""

    @property
    def tools(self) -> list[str]:
        """Names of the tools offered."""
        return [tool.get("function", tool).get("name", "") for tool in self.body.get("tools") or []]

    @property
    def stream(self) -> bool:
        """Whether it asked for events."""
        return bool(self.body.get("stream"))


Script = Sequence[Answer] | Callable[[Request], Answer] | Callable[[Request], Awaitable[Answer]]


class ScriptedModel:
    """The server. `base_url` is what a client is given; `requests` what came, in order of arrival."""

    def __init__(self, script: Script = ()) -> None:
        self.script = script
        self.requests: list[Request] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self._ids = itertools.count(1)
        self._listed = itertools.count()
        self._loop = asyncio.new_event_loop()
        self._stopping: asyncio.Event | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="scripted-model", daemon=True)
        self.base_url = ""

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(10):
            raise TimeoutError("the scripted model did not start")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(lambda: self._stopping and self._stopping.set())
        self._thread.join(10)

    @property
    def bytes_received(self) -> int:
        """Bytes of all request bodies."""
        return sum(request.size for request in self.requests)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._run())
        self._loop.close()

    async def _run(self) -> None:
        self._stopping = asyncio.Event()
        app = web.Application(client_max_size=256 * 2**20)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/responses", self._responses)
        runner = web.AppRunner(app, shutdown_timeout=0, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
        await site.start()
        self.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        self._ready.set()
        await self._stopping.wait()
        await runner.cleanup()

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, "chat")

    async def _responses(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, "responses")

    async def _answer(self, http: web.Request, api: Literal["chat", "responses"]) -> web.StreamResponse:
        raw = await http.read()
        request = Request(len(self.requests), api, json.loads(raw), http.headers.copy(), len(raw))
        self.requests.append(request)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            answer = await self._next(request)
            if isinstance(answer, Fault):
                return await self._fail(http, request, answer)
            if answer.delay:
                await asyncio.sleep(answer.delay)
            said = _chat_body if api == "chat" else _responses_body
            body = said(answer, request, next(self._ids))
            if not request.stream:
                return web.json_response(body)
            events = _chat_events(body, answer, request) if api == "chat" else _responses_events(body, answer)
            return await _stream(http, list(events), pause=answer.pause)
        finally:
            self.in_flight -= 1

    async def _next(self, request: Request) -> Answer:
        if callable(self.script):
            answer = self.script(request)
            return await answer if inspect.isawaitable(answer) else answer
        number = next(self._listed)
        if number >= len(self.script):
            return Fault(400, "script_ended", f"the script has {len(self.script)} answers, this is one more")
        return self.script[number]

    async def _fail(self, http: web.Request, request: Request, fault: Fault) -> web.StreamResponse:
        headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
        transport = http.transport
        assert transport is not None
        if fault.kind == "hang":
            await asyncio.Event().wait()
        if fault.kind == "reset":
            transport.abort()
            return web.Response()
        if fault.kind == "malformed":
            return web.Response(text='{"id": "broken", "choices": [{"mess', content_type="application/json")
        if fault.kind == "html":
            page = "<html><h1>Bad gateway</h1></html>"
            return web.Response(status=fault.status, text=page, content_type="text/html", headers=headers)
        if fault.kind in ("truncate", "cut"):
            return await self._break_off(http, request, fault)
        error = {"message": fault.message, "type": fault.type or "scripted", "code": fault.code, "param": fault.param}
        return web.json_response({"error": error}, status=fault.status, headers=headers)

    async def _break_off(self, http: web.Request, request: Request, fault: Fault) -> web.StreamResponse:
        say = Say("half of an answer that never ends", finish_reason="stop")
        body = (_chat_body if request.api == "chat" else _responses_body)(say, request, next(self._ids))
        if not request.stream:
            response = web.StreamResponse(headers={"Content-Type": "application/json"})
            await response.prepare(http)
            await response.write(json.dumps(body).encode()[:40])
        else:
            events = list(_chat_events(body, say, request) if request.api == "chat" else _responses_events(body, say))
            response = await _stream(http, events[: len(events) // 2], end=False)
        if fault.kind == "cut":
            assert http.transport is not None
            http.transport.abort()
        return response


def _usage(say: Say, request: Request) -> tuple[int, int]:
    said = len(say.text or "") + sum(len(_arguments(call)) + len(call[0]) for call in say.calls)
    given = request.size // CHARACTERS_A_TOKEN if say.input_tokens is None else say.input_tokens
    return given, (max(1, said // CHARACTERS_A_TOKEN) if say.output_tokens is None else say.output_tokens)


def _arguments(call: Call) -> str:
    return call[1] if isinstance(call[1], str) else json.dumps(call[1])


def _chat_body(say: Say, request: Request, number: int) -> dict[str, Any]:
    given, said = _usage(say, request)
    message: dict[str, Any] = {"role": "assistant", "content": say.text}
    if say.null_parts:
        message["content"] = [{"type": "text", "text": None}, {"type": "text", "text": say.text}]
    if say.refusal is not None:
        message |= {"refusal": say.refusal, "content": None}
    if say.calls:
        message["tool_calls"] = [
            {
                "id": f"call_{number}_{index}",
                "type": "function",
                "function": {"name": call[0], "arguments": _arguments(call)},
            }
            for index, call in enumerate(say.calls)
        ]
    reason = say.finish_reason or ("tool_calls" if say.calls else "stop")
    body: dict[str, Any] = {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": request.body.get("model", ""),
        "choices": [{"index": 0, "message": message, "finish_reason": reason, "logprobs": None}] if say.choices else [],
    }
    if say.usage:
        body["usage"] = {
            "prompt_tokens": given,
            "completion_tokens": said + say.reasoning_tokens,
            "total_tokens": given + said + say.reasoning_tokens,
            "prompt_tokens_details": {"cached_tokens": say.cached_tokens},
            "completion_tokens_details": {"reasoning_tokens": say.reasoning_tokens},
        }
    return body


def _chat_events(body: dict[str, Any], say: Say, request: Request) -> Iterator[str]:
    base = {key: body[key] for key in ("id", "created", "model")} | {"object": "chat.completion.chunk"}

    def chunk(delta: dict[str, Any], reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return f"data: {json.dumps(base | {'choices': [choice]})}\n\n"

    for choice in body["choices"]:
        message = choice["message"]
        yield chunk({"role": "assistant", "content": None if say.null_parts else ""})
        for start in range(0, len(say.text or ""), say.chunk):
            yield chunk({"content": (say.text or "")[start : start + say.chunk]})
        if say.refusal is not None:
            yield chunk({"refusal": say.refusal})
        for index, call in enumerate(message.get("tool_calls", ())):
            arguments = call["function"]["arguments"]
            half = len(arguments) // 2
            yield chunk({"tool_calls": [call | {"index": index, "function": {**call["function"], "arguments": ""}}]})
            for part in (arguments[:half], arguments[half:]):
                yield chunk({"tool_calls": [{"index": index, "function": {"arguments": part}}]})
        yield chunk({}, choice["finish_reason"])
    if say.usage and (request.body.get("stream_options") or {}).get("include_usage"):
        yield f"data: {json.dumps(base | {'choices': [], 'usage': body['usage']})}\n\n"
    yield "data: [DONE]\n\n"


def _responses_body(say: Say, request: Request, number: int) -> dict[str, Any]:
    given, said = _usage(say, request)
    output: list[dict[str, Any]] = []
    content: list[dict[str, Any]] = []
    if say.null_parts:
        content.append({"type": "output_text", "text": None, "annotations": []})
    if say.refusal is not None:
        content.append({"type": "refusal", "refusal": say.refusal})
    elif say.text:
        content.append({"type": "output_text", "text": say.text, "annotations": []})
    if say.reasoning_tokens:
        output.append({"type": "reasoning", "id": f"rs_{number}", "summary": []})
    if content:
        message = {"type": "message", "id": f"msg_{number}", "role": "assistant", "status": "completed"}
        output.append(message | {"content": content})
    output += [
        {
            "type": "function_call",
            "id": f"fc_{number}_{index}",
            "call_id": f"call_{number}_{index}",
            "name": call[0],
            "arguments": _arguments(call),
            "status": "completed",
        }
        for index, call in enumerate(say.calls)
    ]
    cut = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(say.finish_reason or "")
    body: dict[str, Any] = {
        "id": f"resp_{number}",
        "object": "response",
        "created_at": 1_700_000_000,
        "model": request.body.get("model", ""),
        "status": "incomplete" if cut else "completed",
        "incomplete_details": {"reason": cut} if cut else None,
        "error": None,
        "output": output if say.choices else [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }
    if say.usage:
        body["usage"] = {
            "input_tokens": given,
            "input_tokens_details": {"cached_tokens": say.cached_tokens},
            "output_tokens": said + say.reasoning_tokens,
            "output_tokens_details": {"reasoning_tokens": say.reasoning_tokens},
            "total_tokens": given + said + say.reasoning_tokens,
        }
    return body


def _responses_events(body: dict[str, Any], say: Say) -> Iterator[str]:
    number = itertools.count()

    def event(kind: str, **fields: Any) -> str:
        data = json.dumps({"type": kind, "sequence_number": next(number)} | fields)
        return f"event: {kind}\ndata: {data}\n\n"

    yield event("response.created", response=body | {"status": "in_progress", "output": [], "usage": None})
    for index, item in enumerate(body["output"]):
        yield event("response.output_item.added", output_index=index, item=item | {"content": [], "arguments": ""})
        at = {"item_id": item["id"], "output_index": index}
        for position, part in enumerate(item.get("content", ())):
            text = part.get("text") or ""
            for start in range(0, len(text), say.chunk):
                piece = text[start : start + say.chunk]
                yield event("response.output_text.delta", content_index=position, delta=piece, logprobs=[], **at)
        if item["type"] == "function_call":
            yield event("response.function_call_arguments.delta", delta=item["arguments"], **at)
        yield event("response.output_item.done", output_index=index, item=item)
    yield event("response.incomplete" if body["status"] == "incomplete" else "response.completed", response=body)


async def _stream(http: web.Request, events: list[str], *, end: bool = True, pause: float = 0.0) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    await response.prepare(http)
    for event in events:
        await response.write(event.encode())
        if pause:
            await asyncio.sleep(pause)
    if end:
        await response.write_eof()
    return response


def _text_of(message: dict[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(part.get("text") or "" for part in content)
    calls = message.get("tool_calls") or []
    parts = [content or "", message.get("output") or "", message.get("arguments") or ""]
    return "".join(parts + [call["function"]["arguments"] for call in calls])


@dataclass
class Scripted:
    """What the fixture hands out: start a server for a script; all are stopped at the end of the test."""

    started: list[ScriptedModel] = field(default_factory=list)

    def __call__(self, script: Script = ()) -> ScriptedModel:
        server = ScriptedModel(script).__enter__()
        self.started.append(server)
        return server

    def stop(self) -> None:
        for server in self.started:
            server.__exit__()

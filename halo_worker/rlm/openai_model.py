"""Any OpenAI-compatible endpoint as a LanguageModel, by the openai library (2.x, 3.x): chat completions or responses.

The library brings the connection, the key, the headers and the parsing of events; retries are ours (asking.py). Bodies
are read as plain JSON, so that an endpoint whose shapes have drifted is still understood.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import orjson

from halo_worker.errors import ModelRefused, ModelUnavailable
from halo_worker.rlm import wire
from halo_worker.rlm.model import Message, Reply, ToolSpec, Usage
from halo_worker.rlm.prices import Prices

BYTES_A_TOKEN = 3.3  # English and JSON have 3.5 to 4.5; learned from what the provider counts
TOKENS_A_MESSAGE = 8
RATIO_LEAST, RATIO_MOST = 0.5, 4.0  # of counted to estimated tokens: how far the provider may teach us
MIN_OUTPUT_TOKENS = 256  # asked for, however little room there seems to be
RETRY_AFTER_MOST = 600.0

_CONTEXT = re.compile(
    r"context.{0,20}(length|window|size)|maximum context|too many tokens|(prompt|input) is too long|"
    r"exceeds? the (available|maximum) (context|input)|reduce the length",
    re.IGNORECASE,
)
_QUOTA = re.compile(
    r"insufficient.quota|exceeded your current quota|billing|credit balance|out of credits", re.IGNORECASE
)
_FILTER = re.compile(r"content.?filter|content management policy|safety system", re.IGNORECASE)
_BY_STATUS = {401: "invalid_api_key", 402: "insufficient_quota", 403: "permission_denied", 404: "model_not_found",
              413: "context_length_exceeded"}  # fmt: skip
# What an endpoint may not know, and a request can do without. The last resort of `tools` is to describe them in words.
_OPTIONAL = ("max_completion_tokens", "max_tokens", "max_output_tokens", "parallel_tool_calls", "reasoning_effort",
             "reasoning", "temperature", "stream_options", "response_format", "text", "store", "prompt_cache_key",
             "tools")  # fmt: skip
_NOT_KNOWN = re.compile(
    r"unsupported|not support|unknown|unrecognized|unexpected|not permitted|extra (inputs|fields)|"
    r"does not (accept|take)|invalid (parameter|field|argument)|not allowed|not available",
    re.IGNORECASE,
)


class OpenAIModel:
    """One model of one endpoint. The library is loaded in a thread from the start, since it takes about a second."""

    def __init__(
        self,
        name: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        api: wire.Api = "chat",
        temperature: float | None = None,
        reasoning_effort: str | None = None,
        max_output_tokens: int | None = None,
        parallel_tool_calls: bool = True,
        request_timeout_seconds: float = 120.0,
        input_usd_per_million: float | None = None,
        output_usd_per_million: float | None = None,
    ) -> None:
        self.name = name
        self.max_output_tokens = max_output_tokens
        self._api: wire.Api = api
        self._base_url, self._api_key, self._headers = base_url, api_key, dict(headers or {})
        self._temperature, self._effort = temperature, reasoning_effort
        self._parallel_tool_calls = parallel_tool_calls
        self._timeout = request_timeout_seconds
        self._prices = Prices(name, input_usd_per_million, output_usd_per_million)
        self._without: set[str] = set()  # what this endpoint has refused
        self._ratio = 1.0  # of counted to estimated tokens, the highest lately
        self._context: int | None = None  # tokens of input and output together, once the endpoint has said so
        self._client: Any = None
        self._broken: Exception | None = None
        self._ready = threading.Event()
        self._loading = threading.Thread(target=self._load, name="openai", daemon=True)
        self._loading.start()

    def _load(self) -> None:
        """Import the library, make the client, look up the price."""
        try:
            from openai import AsyncOpenAI

            self._client = AsyncOpenAI(
                base_url=self._base_url,
                # An endpoint of one's own may want no key, the library wants one.
                api_key=self._api_key or ("none" if self._base_url else None),
                default_headers=self._headers or None,
                max_retries=0,
                timeout=self._timeout,
            )
            self._prices.cost(Usage(1, 1))
        except Exception as error:  # noqa: BLE001  raised where it can be told, in ask
            self._broken = error
        finally:
            self._ready.set()

    async def ask(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[ToolSpec] = (),
        schema: dict[str, Any] | None = None,
        max_output_tokens: int | None = None,
        on_delta: Callable[[str], None] | None = None,
    ) -> Reply:
        """Send one request and return the reply; see LanguageModel.ask."""
        if not self._ready.is_set():
            await asyncio.to_thread(self._ready.wait)
        if self._broken is not None:
            raise ModelRefused(f"the openai client cannot be made: {self._broken}", code="invalid_api_key")
        body = self._body(messages, tools, schema, max_output_tokens, stream=on_delta is not None)
        try:
            answer = await (self._plain(body) if on_delta is None else self._streamed(body, on_delta))
            reply = wire.reply(self._api, answer)
        except (ModelRefused, ModelUnavailable):
            raise
        except Exception as error:
            raise self._fault(error, body) from error
        if not reply.content and not reply.tool_calls and reply.finish_reason == "other":
            raise ModelUnavailable("the provider answered with nothing in it", received=0)
        self._learn(messages, tools, reply.usage)
        return reply

    async def _plain(self, body: dict[str, Any]) -> Any:
        async with asyncio.timeout(self._timeout):
            return await self._client.post(self._path, body=body, cast_to=object)

    async def _streamed(self, body: dict[str, Any], on_delta: Callable[[str], None]) -> Any:
        """Read events until the end. The timeout is between two of them, for an answer may take long to say."""
        from openai import AsyncStream

        whole = wire.ChatEvents() if self._api == "chat" else wire.ResponsesEvents()
        try:
            async with asyncio.timeout(self._timeout) as timer:
                stream = await self._client.post(
                    self._path, body=body, cast_to=object, stream=True, stream_cls=AsyncStream[object]
                )
                async with stream:
                    async for event in stream:
                        timer.reschedule(asyncio.get_running_loop().time() + self._timeout)
                        if text := whole.add(event):
                            on_delta(text)
            return whole.end()
        except wire.Failed:
            raise
        except Exception as error:
            if whole.received:
                raise ModelUnavailable(_words(error), received=whole.received) from error
            raise

    @property
    def _path(self) -> str:
        return "/chat/completions" if self._api == "chat" else "/responses"

    def _body(
        self,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec],
        schema: dict[str, Any] | None,
        max_output_tokens: int | None,
        *,
        stream: bool,
    ) -> dict[str, Any]:
        if tools and "tools" in self._without:
            messages, tools = _tools_in_words(messages, tools), ()
        body = {"model": self.name} | wire.request(self._api, messages, tools, schema)
        most = min((one for one in (max_output_tokens, self.max_output_tokens) if one), default=None)
        if self._context is not None:
            room = self._context - self.estimate(messages, tools)
            most = max(min(most or room, room), MIN_OUTPUT_TOKENS)
        if self._api == "responses":
            body |= {"max_output_tokens": most, "reasoning": {"effort": self._effort} if self._effort else None}
        else:
            body |= {self._limit_name(): most, "reasoning_effort": self._effort}
        body["temperature"] = self._temperature
        if tools and not self._parallel_tool_calls:
            body["parallel_tool_calls"] = False
        if self._is_openai and messages:  # calls with one system prompt go where its prefix is cached
            body["prompt_cache_key"] = hashlib.sha256((messages[0].content or "").encode()).hexdigest()[:32]
        if stream:
            body["stream"] = True
            if self._api == "chat":
                body["stream_options"] = {"include_usage": True}
        return {key: value for key, value in body.items() if value is not None and key not in self._without}

    @property
    def _is_openai(self) -> bool:
        return urlsplit(str(self._client.base_url)).hostname == "api.openai.com"

    def _limit_name(self) -> str:
        """OpenAI wants max_completion_tokens, most others know max_tokens; what was refused gives way to the other."""
        names = ["max_tokens", "max_completion_tokens"]
        if self._is_openai:
            names.reverse()
        return next((name for name in names if name not in self._without), names[0])

    def estimate(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> int:
        """Estimate input tokens from bytes, corrected by what this endpoint counted before."""
        return int(self._raw_estimate(messages, tools) * max(self._ratio, RATIO_LEAST)) + 1

    def _raw_estimate(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> float:
        size = sum(
            len((message.content or "").encode("utf-8", "replace"))
            + sum(len(call.arguments) + len(call.name) for call in message.tool_calls)
            for message in messages
        )
        size += sum(len(orjson.dumps(tool.parameters)) + len(tool.description) + len(tool.name) for tool in tools)
        return size / BYTES_A_TOKEN + TOKENS_A_MESSAGE * (len(messages) + len(tools))

    def _learn(self, messages: Sequence[Message], tools: Sequence[ToolSpec], usage: Usage) -> None:
        if usage.input_tokens:
            seen = usage.input_tokens / max(self._raw_estimate(messages, tools), 1.0)
            self._ratio = min(max(seen * 1.05, self._ratio * 0.9, RATIO_LEAST), RATIO_MOST)

    def cost(self, usage: Usage) -> float | None:
        """Return the dollars that usage costs; None where no price is known."""
        return usage.cost_usd if usage.cost_usd is not None else self._prices.cost(usage)

    async def close(self) -> None:
        """Let go of the connections."""
        await asyncio.to_thread(self._ready.wait)
        if self._client is not None:
            await self._client.close()

    def _fault(self, error: Exception, body: dict[str, Any]) -> ModelUnavailable | ModelRefused:
        """Tell what may pass from what will not."""
        status = getattr(error, "status_code", None)
        said = getattr(error, "body", None)
        said = said if isinstance(said, dict) else {}
        code = str(said.get("code") or getattr(error, "code", None) or said.get("type") or "")
        message = str(said.get("message") or _words(error))[:1_000]
        words = f"{code} {said.get('type') or ''} {message}"
        if isinstance(error, TimeoutError) or type(error).__name__ == "APITimeoutError":
            return ModelUnavailable(f"no answer within {self._timeout:g} s", received=0)
        if _QUOTA.search(words) and status in (None, 402, 403, 429):
            return ModelRefused(message, code="insufficient_quota", hint="the account has no credit left")
        if status in (None, 400, 413, 422, 500) and _CONTEXT.search(words):
            if self._fits(words):
                return ModelUnavailable("less room for the answer than asked for: asked for less", retry_after=0.0)
            return ModelRefused(message, code="context_length_exceeded")
        if status in (None, 400, 403, 422) and _FILTER.search(words):
            return ModelRefused(message, code="content_filter")
        if status in (400, 404, 422, 501) and (name := self._optional(said, words, body)):
            self._without.add(name)
            return ModelUnavailable(f"the endpoint does not take {name}: asked again without it", retry_after=0.0)
        if status is None or status in (408, 409, 425, 429) or status >= 500:
            if status is None and code and _permanent(code):
                return ModelRefused(message, code=code)
            asked = status or 200
            return ModelUnavailable(
                f"{asked} {message}" if status else message,
                retry_after=_retry_after(error),
                received=None if status else 0,
            )
        if status == 404 and not re.search("model", words, re.IGNORECASE):
            code = code or "not_found"
        return ModelRefused(
            f"{status} {message}",
            code=_BY_STATUS.get(status) or code or "invalid_request",
            hint=_HINTS.get(status, ""),
        )

    def _fits(self, words: str) -> bool:
        """Whether the prompt alone would fit, where the answer's limit is counted too. Learns the context's size."""
        context = re.search(r"(?:maximum|max)[^.]{0,40}?context[^.]{0,40}? (\d{3,8})", words, re.IGNORECASE)
        prompt = re.search(r"(\d{1,8}) (?:tokens )?(?:in|from|of) (?:the|your|text) ?(?:messages|input|prompt)", words)
        prompt = prompt or re.search(r"prompt contains (?:at least )?(\d{1,8})", words)
        if self._context is not None or context is None or prompt is None:
            return False
        if int(prompt[1]) + MIN_OUTPUT_TOKENS >= int(context[1]):
            return False
        self._context = int(context[1])
        return True

    def _optional(self, said: dict[str, Any], words: str, body: dict[str, Any]) -> str | None:
        """The part of the request that the endpoint does not know, if it is one to do without."""
        named = str(said.get("param") or "").partition(".")[0].partition("[")[0]
        if (most := _lower_limit(words, body)) is not None:
            self.max_output_tokens = most
            return "so many output tokens"
        if named in _OPTIONAL and named in body and (_NOT_KNOWN.search(words) or named not in ("tools", "text")):
            return named
        if not _NOT_KNOWN.search(words):
            return None
        return next((name for name in _OPTIONAL if name in body and re.search(rf"\b{name}\b", words)), None) or (
            "tools" if "tools" in body and re.search(r"\b(tool|function)[ _-]?(use|call|choice)", words, re.I) else None
        )


def _lower_limit(words: str, body: dict[str, Any]) -> int | None:
    """The most output tokens a model has, when it says that more were asked for."""
    asked = next((body[name] for name in _OPTIONAL[:3] if name in body), 0)
    if not any(name in words for name in _OPTIONAL[:3]) or not re.search(r"at most|maximum|too large|exceed", words):
        return None
    numbers = [int(one) for one in re.findall(r"\b\d{3,7}\b", words) if int(one) < asked]
    return max(numbers, default=None)


_HINTS = {
    401: "the key is not accepted: OPENAI_API_KEY, or [model] api_key",
    403: "the key may not use this model",
    404: "no such model, or no such path at this base URL: [model] name, base_url, api",
}


def _permanent(code: str) -> bool:
    return code in ("invalid_api_key", "model_not_found", "invalid_request_error", "invalid_prompt")


def _words(error: BaseException) -> str:
    """An error with its cause, for the library says no more than 'Connection error.'"""
    cause = error.__cause__
    text = str(error) or type(error).__name__
    return f"{text} ({type(cause).__name__}: {cause})" if cause is not None else text


def _retry_after(error: BaseException) -> float | None:
    """What the provider asked for, in seconds: `retry-after-ms`, seconds, or a date."""
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    try:
        if value := headers.get("retry-after-ms"):
            return min(max(float(value) / 1_000, 0.0), RETRY_AFTER_MOST)
        if not (value := headers.get("retry-after")):
            return None
        try:
            seconds = float(value)
        except ValueError:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        return min(max(seconds, 0.0), RETRY_AFTER_MOST)
    except (ValueError, TypeError, OverflowError):
        return None


def _tools_in_words(messages: Sequence[Message], tools: Sequence[ToolSpec]) -> list[Message]:
    """Describe tools in the system message, for an endpoint that takes none, and calls and results as text."""
    described = "\n".join(
        f"- {tool.name}: {tool.description} Arguments: {orjson.dumps(tool.parameters).decode()}" for tool in tools
    )
    note = (
        "\n\nTools. To call one, answer with a fenced block and nothing after it:\n"
        '```json\n{"name": "…", "arguments": {…}}\n```\n' + described
    )
    out = []
    for index, message in enumerate(messages):
        if index == 0 and message.role == "system":
            out.append(Message("system", (message.content or "") + note))
        elif message.role == "tool":
            out.append(Message("user", f"Result of {message.name or 'the call'}:\n{message.content}"))
        elif message.tool_calls:
            calls = "\n".join(
                f'```json\n{{"name": "{call.name}", "arguments": {wire.sendable(call.arguments)}}}\n```'
                for call in message.tool_calls
            )
            out.append(Message("assistant", f"{message.content or ''}\n{calls}".strip()))
        else:
            out.append(message)
    return out

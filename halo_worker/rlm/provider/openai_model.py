"""Any OpenAI-compatible endpoint as a LanguageModel, by the openai library (2.x, 3.x): chat completions or responses.

The library brings the connection, the key, the headers and the parsing of events; retries are ours (`retrying_client`).
Bodies are read as plain JSON, so that an endpoint whose shapes have drifted is still understood. Answers are streamed
also where nobody listens: the timeout is then between two events, and a long answer is not given up.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import orjson

from halo_worker.display import is_loopback
from halo_worker.errors import ModelRefused, ModelUnavailable
from halo_worker.rlm.messages import Message, Reply, ToolSpec, Usage
from halo_worker.rlm.provider import chat_completions, message_forms, openai_format, request_forms, responses_api
from halo_worker.rlm.provider.endpoint_errors import TIMEOUT_SETTING, Endpoint, describe
from halo_worker.rlm.provider.output_limit import MIN_OUTPUT_TOKENS
from halo_worker.rlm.provider.prices import Prices

BYTES_A_TOKEN = 3.3  # English and JSON have 3.5 to 4.5; corrected by what the provider counts
TOKENS_A_MESSAGE = 8
RATIO_LEAST, RATIO_MOST = 0.5, 4.0  # of counted to estimated tokens: bounds of the correction
_TIMEOUT_FACTOR = {"high": 3, "xhigh": 5}


class OpenAIModel:
    """One model of one endpoint. The library is loaded in a thread from the start, since it takes about a second."""

    def __init__(
        self,
        name: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        api: openai_format.Api = "chat",
        temperature: float | None = None,
        reasoning_effort: str | None = None,
        max_output_tokens: int | None = None,
        parallel_tool_calls: bool = True,
        request_timeout_seconds: float = 120.0,
        input_usd_per_million: float | None = None,
        output_usd_per_million: float | None = None,
    ) -> None:
        self.name = name
        self._api: openai_format.Api = api
        self._wire = chat_completions if api == "chat" else responses_api
        self._base_url, self._api_key, self._headers = base_url, api_key, dict(headers or {})
        self._temperature, self._effort = temperature, reasoning_effort
        self._parallel_tool_calls = parallel_tool_calls
        # A reasoning model sends nothing while it reasons.
        self._timeout = request_timeout_seconds * _TIMEOUT_FACTOR.get(reasoning_effort or "", 1)
        self._prices = Prices(name, input_usd_per_million, output_usd_per_million)
        self.endpoint = Endpoint(max_output_tokens=max_output_tokens)
        self._ratio = 1.0  # of counted to estimated tokens, the highest lately
        self._client: Any = None
        self._broken: Exception | None = None
        self._ready = threading.Event()
        self._loading = threading.Thread(target=self._load, name="openai", daemon=True)
        self._loading.start()

    def _load(self) -> None:
        """Import the library, make the client, look up the price."""
        try:
            from openai import AsyncOpenAI, DefaultAsyncHttpxClient, OpenAIError

            def client(key: str | None) -> Any:
                # What listens on this machine is reached without the proxy that the environment names.
                here = is_loopback(self._base_url or "")
                mounts = {f"all://{host}": None for host in ("localhost", "127.0.0.1", "[::1]")}
                return AsyncOpenAI(
                    http_client=DefaultAsyncHttpxClient(mounts=mounts, timeout=self._timeout) if here else None,
                    base_url=self._base_url,
                    api_key=key,
                    default_headers=self._headers or None,
                    max_retries=0,
                    timeout=self._timeout,
                )

            try:
                self._client = client(self._api_key)  # None: the library looks into the environment
            except OpenAIError as error:
                self._client = client("none")  # an endpoint of one's own may want no key
                if self._is_openai:
                    self._broken = error
            self._prices.cost(Usage(1, 1))
        except Exception as error:  # noqa: BLE001  raised by ask, whose caller handles it
            self._broken = error
        finally:
            self._ready.set()

    @property
    def max_output_tokens(self) -> int | None:
        """The limit of one answer, as configured or as the endpoint reports."""
        return self.endpoint.max_output_tokens

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
        streams = self.endpoint.streams
        body = self._body(messages, tools, schema, max_output_tokens, stream=streams)
        try:
            answer = await (self._streamed(body, on_delta) if streams else self._plain(body))
            reply: Reply = self._wire.reply(openai_format.raise_for_error(answer))
        except (ModelRefused, ModelUnavailable):
            raise
        except Exception as error:
            estimate = self.estimate(messages, tools)
            raise self.endpoint.classify(error, body, timeout=self._timeout, estimate=estimate) from error
        if not reply.content and not reply.tool_calls and reply.finish_reason == "other":
            raise ModelUnavailable("the provider answered with nothing in it", received=0)
        self._correct_ratio(messages, tools, reply.usage)
        if on_delta is not None and not streams and reply.content:
            on_delta(reply.content)
        return reply

    async def _plain(self, body: dict[str, Any]) -> Any:
        self.endpoint.plain_next = False
        async with asyncio.timeout(self._timeout):
            return await self._client.post(self._path, body=body, cast_to=object)

    async def _streamed(self, body: dict[str, Any], on_delta: Callable[[str], None] | None) -> Any:
        """Read events until the end. The timeout is between two of them, for a long answer takes long."""
        from openai import AsyncStream

        whole = self._wire.Events()
        try:
            async with asyncio.timeout(self._timeout) as timer:
                stream = await self._client.post(
                    self._path, body=body, cast_to=object, stream=True, stream_cls=AsyncStream[object]
                )
                async with stream:
                    async for event in stream:
                        timer.reschedule(asyncio.get_running_loop().time() + self._timeout)
                        if (text := whole.add(event)) and on_delta is not None:
                            on_delta(text)
            answer = whole.end()
        except openai_format.Failed:
            raise
        except (openai_format.Truncated, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise self.endpoint.could_not_read_stream(whole.received) from error
        except TimeoutError as error:
            if not whole.received:
                raise
            said = f"no further event within {self._timeout:g} s ({TIMEOUT_SETTING})"
            raise ModelUnavailable(said, received=whole.received) from error
        except Exception as error:
            if whole.received:
                raise ModelUnavailable(describe(error), received=whole.received) from error
            raise
        self.endpoint.read_stream()
        return answer

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
        without = self.endpoint.without
        messages = message_forms.adapted(messages, tools, schema, without)
        if "tools" in without:
            tools = ()
        body = {"model": self.name} | self._wire.request(messages, tools)
        if schema is not None and request_forms.JSON_OBJECT not in without:
            body |= self._wire.answer_format(None if request_forms.JSON_SCHEMA in without else schema)
        most = min((one for one in (max_output_tokens, self.max_output_tokens) if one), default=None)
        if self.endpoint.context is not None:
            room = self.endpoint.context - self.estimate(messages, tools)
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
        return {key: value for key, value in body.items() if value is not None and key not in without}

    @property
    def _is_openai(self) -> bool:
        return urlsplit(str(self._client.base_url)).hostname == "api.openai.com"

    def _limit_name(self) -> str:
        """OpenAI wants max_completion_tokens, most others know max_tokens; what was refused gives way to the other."""
        names = ["max_tokens", "max_completion_tokens"]
        if self._is_openai:
            names.reverse()
        return next((name for name in names if name not in self.endpoint.without), names[0])

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

    def _correct_ratio(self, messages: Sequence[Message], tools: Sequence[ToolSpec], usage: Usage) -> None:
        if usage.input_tokens:
            seen = usage.input_tokens / max(self._raw_estimate(messages, tools), 1.0)
            self._ratio = min(max(seen * 1.05, self._ratio * 0.9, RATIO_LEAST), RATIO_MOST)

    def cost(self, usage: Usage) -> float | None:
        """Return the dollars that usage costs; None where no price is known."""
        return usage.cost_usd if usage.cost_usd is not None else self._prices.cost(usage)

    async def close(self) -> None:
        """Close the connections."""
        await asyncio.to_thread(self._ready.wait)
        if self._client is not None:
            await self._client.close()

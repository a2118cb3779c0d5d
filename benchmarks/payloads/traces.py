"""Traces of two workloads, made up: agents' turns in two conventions, and HTTP requests through a service."""

from __future__ import annotations

import json
import random
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from benchmarks.payloads.messages import DEFINITIONS, as_flat, as_parts
from benchmarks.payloads.words import ROUTES, SYLLABLES, TOOLS, WORDS

_START = 1_790_000_000_000_000_000


def key_value(key: str, value: Any) -> KeyValue:
    """Return an attribute."""
    if isinstance(value, bool):
        return KeyValue(key=key, value=AnyValue(bool_value=value))
    if isinstance(value, int):
        return KeyValue(key=key, value=AnyValue(int_value=value))
    if isinstance(value, float):
        return KeyValue(key=key, value=AnyValue(double_value=value))
    if isinstance(value, list):
        result = KeyValue(key=key)
        result.value.array_value.values.extend(AnyValue(string_value=item) for item in value)
        return result
    return KeyValue(key=key, value=AnyValue(string_value=value))


class Writer:
    """Traces of one workload, from one source of randomness."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.words = (*WORDS, *(self._name() for _ in range(4000)))
        self.weights = [1 / (rank + 300) for rank in range(len(self.words))]
        self.now = _START
        self.ids = 0

    def _name(self) -> str:
        return "".join(self.rng.choice(SYLLABLES) for _ in range(self.rng.randint(2, 4)))

    def text(self, words: int) -> str:
        chosen = self.rng.choices(self.words, self.weights, k=words)
        out = []
        for start in range(0, len(chosen), 12):
            sentence = " ".join(chosen[start : start + 12])
            out.append(f"{sentence.capitalize()} {self.rng.randint(1, 9999)}. ")
        return "".join(out).strip()

    def span(self, trace: bytes, parent: bytes, name: str, kind: int, milliseconds: float) -> Span:
        self.ids += 1
        self.now += 1_000_000
        return Span(
            trace_id=trace, span_id=self.ids.to_bytes(8, "big"), parent_span_id=parent, name=name, kind=kind,
            start_time_unix_nano=self.now, end_time_unix_nano=self.now + int(milliseconds * 1e6), flags=257,
        )  # fmt: skip

    def fail(self, span: Span, kind: str, message: str) -> None:
        span.status.code = 2
        span.status.message = message
        event = span.events.add(time_unix_nano=self.now, name="exception")
        frames = "".join(
            f'  File "/srv/app/agents/{self.rng.choice(WORDS)}.py", line {self.rng.randint(1, 900)}, in '
            f"{self.rng.choice(WORDS)}\n    {self.rng.choice(WORDS)}({self.rng.choice(WORDS)})\n"
            for _ in range(12)
        )
        stack = f"Traceback (most recent call last):\n{frames}{kind}: {message}"
        event.attributes.extend(
            [
                key_value("exception.type", kind),
                key_value("exception.message", message),
                key_value("exception.stacktrace", stack),
            ]
        )

    def agent_trace(self, trace: bytes, genai: bool) -> list[Span]:
        """AGENT over turns of LLM and TOOL, each call with the whole conversation so far."""
        rng = self.rng
        agent = self.span(trace, b"", "agent.run", 1, rng.uniform(800, 9000))
        system, question = self.text(300), self.text(70)
        messages: list[dict[str, Any]] = [
            {"role": "system", "content": system},
            {"role": "user", "content": question},
        ]
        spans = [agent]
        session = f"session-{rng.randint(1, 5000)}"
        answer = ""
        for turn in range(4):
            llm = self.span(trace, agent.span_id, "chat gpt-4o", 3, rng.uniform(300, 4000))
            tool, call = rng.choice(TOOLS), f"call_{rng.getrandbits(64):016x}"
            arguments = json.dumps({"query": self.text(6), "limit": rng.randint(1, 50)})
            last = turn == 3
            answer = self.text(160) if last else ""
            said: dict[str, Any] = {"role": "assistant", "content": answer or None}
            if not last:
                said["tool_calls"] = [
                    {"id": call, "type": "function", "function": {"name": tool, "arguments": arguments}}
                ]
            tokens = (rng.randint(300, 6000), rng.randint(20, 900))
            (self._genai if genai else self._openinference)(llm, messages, said, tokens, session)
            llm.events.add(time_unix_nano=self.now, name="first_token").attributes.append(key_value("index", 0))
            spans.append(llm)
            if rng.random() < 0.03:
                self.fail(llm, "RateLimitError", f"Error code: 429 - rate limit reached, retry in {rng.random():.2f}s")
            messages.append(said)
            if not last:
                span = self.span(trace, agent.span_id, f"execute_tool {tool}", 1, rng.uniform(5, 900))
                result = json.dumps({"status": "ok", "rows": [self.text(45) for _ in range(5)], "total": turn})
                self._tool(span, tool, call, arguments, result, session, genai)
                if rng.random() < 0.04:
                    self.fail(span, "TimeoutError", f"upstream timed out after {rng.randint(1, 60)} s")
                messages.append({"role": "tool", "tool_call_id": call, "content": result})
                spans.append(span)
        pairs: list[tuple[str, Any]] = [("session.id", session), ("user.id", f"user-{rng.randint(1, 900)}")]
        if genai:
            pairs += [
                ("gen_ai.operation.name", "invoke_agent"), ("gen_ai.agent.name", "support-agent"),
                ("gen_ai.provider.name", "openai"),
                ("gen_ai.input.messages", json.dumps(as_parts(messages[:2]))),
                ("gen_ai.output.messages", json.dumps(as_parts([{"role": "assistant", "content": answer}]))),
            ]  # fmt: skip
        else:
            pairs += [
                ("openinference.span.kind", "AGENT"), ("agent.name", "support-agent"), ("input.value", question),
                ("output.value", answer), ("input.mime_type", "text/plain"), ("output.mime_type", "text/plain"),
            ]  # fmt: skip
        pairs += [
            ("deployment.environment", "production"),
            ("app.version", "2.14.1"),
            ("thread.id", rng.randint(1, 64)),
        ]
        agent.attributes.extend(key_value(key, value) for key, value in pairs)
        return spans

    def _genai(self, span: Span, messages: list[Any], said: Any, tokens: tuple[int, int], session: str) -> None:
        pairs: list[tuple[str, Any]] = [
            ("gen_ai.operation.name", "chat"), ("gen_ai.provider.name", "openai"), ("gen_ai.request.model", "gpt-4o"),
            ("gen_ai.response.model", "gpt-4o-2024-08-06"), ("gen_ai.request.temperature", 0.2),
            ("gen_ai.request.max_tokens", 4096), ("gen_ai.response.id", f"chatcmpl-{self.rng.getrandbits(64):016x}"),
            ("gen_ai.response.finish_reasons", ["tool_calls" if said.get("tool_calls") else "stop"]),
            ("gen_ai.usage.input_tokens", tokens[0]), ("gen_ai.usage.output_tokens", tokens[1]),
            ("gen_ai.conversation.id", session), ("gen_ai.agent.name", "support-agent"),
            ("gen_ai.tool.definitions", json.dumps(DEFINITIONS)),
            ("gen_ai.input.messages", json.dumps(as_parts(messages))),
            ("gen_ai.output.messages", json.dumps(as_parts([said]))), ("server.address", "api.openai.com"),
            ("server.port", 443), ("deployment.environment", "production"), ("app.version", "2.14.1"),
            ("thread.id", self.rng.randint(1, 64)),
        ]  # fmt: skip
        span.attributes.extend(key_value(key, value) for key, value in pairs)

    def _openinference(self, span: Span, messages: list[Any], said: Any, tokens: tuple[int, int], session: str) -> None:
        request = {"model": "gpt-4o", "messages": messages, "temperature": 0.2, "max_tokens": 4096}
        pairs: list[tuple[str, Any]] = [
            ("openinference.span.kind", "LLM"), ("llm.provider", "openai"), ("llm.system", "openai"),
            ("llm.model_name", "gpt-4o-2024-08-06"), ("input.mime_type", "application/json"),
            ("llm.invocation_parameters", json.dumps({"model": "gpt-4o", "temperature": 0.2, "max_tokens": 4096})),
            ("input.value", json.dumps(request)),
            ("output.value", json.dumps({"choices": [{"index": 0, "finish_reason": "stop", "message": said}]})),
            ("output.mime_type", "application/json"), ("llm.token_count.prompt", tokens[0]),
            ("llm.token_count.completion", tokens[1]), ("llm.token_count.total", sum(tokens)), ("session.id", session),
        ]  # fmt: skip
        for index, message in enumerate(messages):
            prefix = f"llm.input_messages.{index}.message."
            pairs += as_flat(prefix, message)
        pairs += as_flat("llm.output_messages.0.message.", said)
        span.attributes.extend(key_value(key, value) for key, value in pairs)

    def _tool(self, span: Span, tool: str, call: str, arguments: str, result: str, session: str, genai: bool) -> None:
        pairs: list[tuple[str, Any]] = [("session.id", session), ("deployment.environment", "production")]
        if genai:
            pairs += [
                ("gen_ai.operation.name", "execute_tool"), ("gen_ai.tool.name", tool), ("gen_ai.tool.call.id", call),
                ("gen_ai.tool.type", "function"), ("gen_ai.tool.call.arguments", arguments),
                ("gen_ai.tool.call.result", result),
            ]  # fmt: skip
        else:
            pairs += [
                ("openinference.span.kind", "TOOL"), ("tool.name", tool), ("input.value", arguments),
                ("output.value", result), ("input.mime_type", "application/json"), ("tool_call.id", call),
            ]  # fmt: skip
        pairs += [("thread.id", self.rng.randint(1, 64)), ("app.version", "2.14.1"), ("retry.count", 0)]
        span.attributes.extend(key_value(key, value) for key, value in pairs)

    def http_trace(self, trace: bytes) -> list[Span]:
        """A request through a service: server span, clients and internals below it."""
        rng = self.rng
        spans: list[Span] = []
        for index in range(8):
            route = rng.choice(ROUTES)
            parent = spans[0].span_id if spans else b""
            span = self.span(trace, parent, f"GET {route}", 2 if index == 0 else 3, rng.uniform(1, 300))
            failed = rng.random() < 0.02
            pairs: list[tuple[str, Any]] = [
                ("http.request.method", "GET"), ("http.route", route), ("url.path", f"{route}/{rng.randint(1, 10**6)}"),
                ("url.scheme", "https"), ("server.address", "shop.example.com"), ("server.port", 443),
                ("http.response.status_code", 503 if failed else 200), ("network.protocol.version", "1.1"),
                ("client.address", f"10.0.{rng.randint(0, 255)}.{rng.randint(0, 255)}"),
                ("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64)"), ("thread.id", rng.randint(1, 64)),
                ("cache.hit", rng.random() < 0.5), ("request.id", f"{rng.getrandbits(64):016x}"),
            ]  # fmt: skip
            if failed:
                span.status.code = 2
                span.status.message = f"upstream answered 503 after {rng.randint(1, 900)} ms"
            span.attributes.extend(key_value(key, value) for key, value in pairs)
            spans.append(span)
        return spans

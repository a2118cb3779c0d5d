"""How two instrumentations write the same thing: OpenTelemetry's GenAI conventions, and OpenInference.

Sources: semantic-conventions-genai (development), openinference-semantic-conventions 0.1.42.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from opentelemetry.util.types import AttributeValue

Attributes: TypeAlias = Mapping[str, AttributeValue]
Documents: TypeAlias = Sequence[tuple[str, str, float]]  # id, text, score


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call that a model asked for."""

    id: str
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation."""

    role: str
    text: str
    calls: list[Call] = field(default_factory=list)
    call_id: str = ""
    name: str = ""

    @property
    def tokens(self) -> int:
        """About as many as a tokenizer would count."""
        return 4 + len(self.text) // 4 + sum(12 + len(json.dumps(call.arguments)) // 4 for call in self.calls)


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One request to a model and its answer; `output` is empty when it failed."""

    agent: str
    model: str
    provider: str
    system: str
    tools: list[dict[str, Any]]
    messages: list[Message]
    output: list[Message]
    finish: str
    max_tokens: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    session: str
    response_id: str


class Convention(Protocol):
    """Names and attributes of the spans of one instrumentation, and its scope."""

    scope: str
    scope_version: str

    def agent_name(self, name: str) -> str: ...
    def agent(self, name: str, model: str, provider: str, text: str, session: str, user: str) -> Attributes: ...
    def agent_end(self, answer: str, input_tokens: int, output_tokens: int) -> Attributes: ...
    def llm_name(self, call: ModelCall) -> str: ...
    def llm(self, call: ModelCall) -> Attributes: ...
    def tool_name(self, call: Call) -> str: ...
    def tool(self, call: Call, result: str | None, session: str) -> Attributes: ...
    def retriever_name(self, source: str) -> str: ...
    def retriever(self, query: str, documents: Documents, source: str, session: str) -> Attributes: ...
    def embedding(self, text: str, model: str, provider: str) -> Attributes: ...


class GenAI:
    """OpenTelemetry's GenAI conventions, with content captured on spans as JSON strings."""

    scope = "opentelemetry.util.genai.handler"
    scope_version = "1.3b0"

    def agent_name(self, name: str) -> str:
        return f"invoke_agent {name}"

    def agent(self, name: str, model: str, provider: str, text: str, session: str, user: str) -> Attributes:
        return {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.provider.name": provider,
            "gen_ai.agent.name": name,
            "gen_ai.request.model": model,
            "gen_ai.conversation.id": session,
            "user.id": user,
            "gen_ai.input.messages": json.dumps([self._message(Message("user", text))]),
        }

    def agent_end(self, answer: str, input_tokens: int, output_tokens: int) -> Attributes:
        return {
            "gen_ai.output.messages": json.dumps([self._message(Message("assistant", answer))]),
            "gen_ai.usage.input_tokens": input_tokens,
            "gen_ai.usage.output_tokens": output_tokens,
        }

    def llm_name(self, call: ModelCall) -> str:
        return f"chat {call.model}"

    def llm(self, call: ModelCall) -> Attributes:
        attributes: dict[str, AttributeValue] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": call.provider,
            "gen_ai.agent.name": call.agent,
            "gen_ai.request.model": call.model,
            "gen_ai.request.max_tokens": call.max_tokens,
            "gen_ai.request.temperature": 0.2,
            "gen_ai.conversation.id": call.session,
            "gen_ai.system_instructions": json.dumps([{"type": "text", "content": call.system}]),
            "gen_ai.input.messages": json.dumps([self._message(message) for message in call.messages]),
            "server.address": f"api.{call.provider}.example",
        }
        if call.tools:
            attributes["gen_ai.tool.definitions"] = json.dumps(call.tools)
        if call.output:
            attributes |= {
                "gen_ai.response.model": call.model,
                "gen_ai.response.id": call.response_id,
                "gen_ai.response.finish_reasons": [call.finish],
                "gen_ai.output.messages": json.dumps([self._message(m, finish=call.finish) for m in call.output]),
                "gen_ai.usage.input_tokens": call.input_tokens,
                "gen_ai.usage.cache_read.input_tokens": call.cached_tokens,
                "gen_ai.usage.output_tokens": call.output_tokens,
            }
        return attributes

    def tool_name(self, call: Call) -> str:
        return f"execute_tool {call.name}"

    def tool(self, call: Call, result: str | None, session: str) -> Attributes:
        attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": call.name,
            "gen_ai.tool.type": "function",
            "gen_ai.tool.call.id": call.id,
            "gen_ai.tool.call.arguments": json.dumps(call.arguments),
            "gen_ai.conversation.id": session,
        }
        return attributes if result is None else attributes | {"gen_ai.tool.call.result": result}

    def retriever_name(self, source: str) -> str:
        return f"retrieval {source}"

    def retriever(self, query: str, documents: Documents, source: str, session: str) -> Attributes:
        found = [{"id": identifier, "score": score, "content": text} for identifier, text, score in documents]
        return {
            "gen_ai.operation.name": "retrieval",
            "gen_ai.data_source.id": source,
            "gen_ai.retrieval.query.text": query,
            "gen_ai.retrieval.documents": json.dumps(found),
            "gen_ai.conversation.id": session,
        }

    def embedding(self, text: str, model: str, provider: str) -> Attributes:
        return {
            "gen_ai.operation.name": "embeddings",
            "gen_ai.provider.name": provider,
            "gen_ai.request.model": model,
            "gen_ai.usage.input_tokens": len(text) // 4 + 1,
        }

    @staticmethod
    def _message(message: Message, *, finish: str | None = None) -> dict[str, Any]:
        parts: list[dict[str, Any]] = []
        if message.role == "tool":
            parts.append({"type": "tool_call_response", "id": message.call_id, "response": message.text})
        elif message.text:
            parts.append({"type": "text", "content": message.text})
        parts += [{"type": "tool_call", "id": c.id, "name": c.name, "arguments": c.arguments} for c in message.calls]
        whole: dict[str, Any] = {"role": message.role, "parts": parts}
        return whole if finish is None else whole | {"finish_reason": finish}


class OpenInference:
    """OpenInference: one attribute a member, lists flattened with their index."""

    scope = "openinference.instrumentation.agents"
    scope_version = "2.6.0"

    def agent_name(self, name: str) -> str:
        return name

    def agent(self, name: str, model: str, provider: str, text: str, session: str, user: str) -> Attributes:
        kind = {"openinference.span.kind": "AGENT", "agent.name": name, "session.id": session, "user.id": user}
        return kind | {"input.value": text, "input.mime_type": "text/plain"}

    def agent_end(self, answer: str, input_tokens: int, output_tokens: int) -> Attributes:
        return {"output.value": answer, "output.mime_type": "text/plain"}

    def llm_name(self, call: ModelCall) -> str:
        return "ChatCompletion"

    def llm(self, call: ModelCall) -> Attributes:
        attributes: dict[str, AttributeValue] = {
            "openinference.span.kind": "LLM",
            "llm.provider": call.provider,
            "llm.model_name": call.model,
            "llm.invocation_parameters": json.dumps({"model": call.model, "max_tokens": call.max_tokens}),
            "session.id": call.session,
            "agent.name": call.agent,
        }
        attributes |= self._messages("llm.input_messages", [Message("system", call.system), *call.messages])
        for number, tool in enumerate(call.tools):
            function = {key: value for key, value in tool.items() if key != "type"}
            attributes[f"llm.tools.{number}.tool.json_schema"] = json.dumps({"type": "function", "function": function})
        if call.output:
            attributes |= self._messages("llm.output_messages", call.output)
            attributes |= {
                "llm.finish_reason": call.finish,
                "llm.token_count.prompt": call.input_tokens,
                "llm.token_count.prompt_details.cache_read": call.cached_tokens,
                "llm.token_count.completion": call.output_tokens,
                "llm.token_count.total": call.input_tokens + call.output_tokens,
            }
        return attributes

    def tool_name(self, call: Call) -> str:
        return call.name

    def tool(self, call: Call, result: str | None, session: str) -> Attributes:
        attributes = {
            "openinference.span.kind": "TOOL",
            "tool.name": call.name,
            "tool_call.id": call.id,
            "input.value": json.dumps(call.arguments),
            "input.mime_type": "application/json",
            "session.id": session,
        }
        return attributes if result is None else attributes | {"output.value": result}

    def retriever_name(self, source: str) -> str:
        return f"retrieve {source}"

    def retriever(self, query: str, documents: Documents, source: str, session: str) -> Attributes:
        attributes: dict[str, AttributeValue] = {
            "openinference.span.kind": "RETRIEVER",
            "input.value": query,
            "session.id": session,
            "metadata": json.dumps({"index": source, "top_k": 5}),
        }
        for number, (identifier, text, score) in enumerate(documents):
            place = f"retrieval.documents.{number}.document"
            attributes |= {f"{place}.id": identifier, f"{place}.content": text, f"{place}.score": score}
        return attributes | {"output.value": json.dumps([identifier for identifier, _, _ in documents])}

    def embedding(self, text: str, model: str, provider: str) -> Attributes:
        return {
            "openinference.span.kind": "EMBEDDING",
            "embedding.model_name": model,
            "embedding.embeddings.0.embedding.text": text,
            "llm.token_count.prompt": len(text) // 4 + 1,
        }

    @staticmethod
    def _messages(place: str, messages: Sequence[Message]) -> dict[str, AttributeValue]:
        attributes: dict[str, AttributeValue] = {}
        for number, message in enumerate(messages):
            prefix = f"{place}.{number}.message"
            attributes[f"{prefix}.role"] = message.role
            if message.text or not message.calls:
                attributes[f"{prefix}.content"] = message.text
            if message.call_id:
                attributes[f"{prefix}.tool_call_id"] = message.call_id
            for index, call in enumerate(message.calls):
                place_of_call = f"{prefix}.tool_calls.{index}.tool_call"
                attributes[f"{place_of_call}.id"] = call.id
                attributes[f"{place_of_call}.function.name"] = call.name
                attributes[f"{place_of_call}.function.arguments"] = json.dumps(call.arguments)
        return attributes

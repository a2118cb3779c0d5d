"""A span of OpenTelemetry's GenAI conventions, as the examples of detectors are, written as other conventions do."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from halo_receiver.span import Span

Attributes = dict[str, Any]
_FUNCTION_KEYS = ("name", "description", "parameters")


@dataclass(frozen=True, slots=True)
class Said:
    """What a span says, whatever the convention; texts are None where it does not."""

    kind: str
    name: str  # of the tool, agent or model
    asked: list[dict[str, str]]  # role, content
    input: str | None
    output: str | None
    calls: list[dict[str, Any]]  # id, name, arguments
    finish: str | None
    tools: list[dict[str, Any]]  # name, description, parameters
    tokens: dict[str, int]  # input_tokens, output_tokens
    call_id: str

    @property
    def functions(self) -> list[dict[str, Any]]:
        """The tools on offer, in the form of OpenAI's API."""
        return [{"type": "function", "function": tool} for tool in self.tools]

    @property
    def asks(self) -> list[dict[str, Any]]:
        """The calls of a model, in the form of OpenAI's API."""
        return [
            {"id": c["id"], "type": "function", "function": {"name": c["name"], "arguments": _text(c["arguments"])}}
            for c in self.calls
        ]

    @property
    def answer(self) -> dict[str, Any]:
        """The answer of a model, in the form of OpenAI's API."""
        return {"role": "assistant", "content": self.output or ""} | ({"tool_calls": self.asks} if self.calls else {})


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def said(span: Span) -> Said | None:
    """Read a span of the GenAI conventions with messages in JSON; None of plain code."""
    a = span.attributes
    kind = {"chat": "llm", "execute_tool": "tool", "retrieval": "retriever", "invoke_agent": "agent"}.get(
        a.get("gen_ai.operation.name", "")
    )
    if kind is None:
        return None
    (outgoing,) = json.loads(a.get("gen_ai.output.messages", "[{}]"))
    parts = outgoing.get("parts", [])
    texts = [part["content"] for part in parts if part["type"] == "text"]
    asked = [
        {"role": message["role"], "content": message["parts"][0]["content"]}
        for message in json.loads(a.get("gen_ai.input.messages", "[]"))
    ]
    name = next((a[key] for key in ("gen_ai.tool.name", "gen_ai.agent.name", "gen_ai.request.model") if key in a), "")
    return Said(
        kind=kind, name=name, asked=asked,
        input=a.get("gen_ai.tool.call.arguments", a.get("input.value", asked[-1]["content"] if asked else None)),
        output=a.get("gen_ai.tool.call.result", a.get("output.value", texts[0] if texts else None)),
        calls=[part for part in parts if part["type"] == "tool_call"], finish=outgoing.get("finish_reason"),
        tools=[
            {key: tool[key] for key in _FUNCTION_KEYS if key in tool}
            for tool in json.loads(a.get("gen_ai.tool.definitions", "[]"))
        ],
        tokens={key: a[f"gen_ai.usage.{key}"] for key in ("input_tokens", "output_tokens") if f"gen_ai.usage.{key}" in a},
        call_id=a.get("gen_ai.tool.call.id", ""),
    )  # fmt: skip


def _present(attributes: Mapping[str, Any]) -> Attributes:
    return {key: value for key, value in attributes.items() if value not in (None, "", [], {})}


def _openinference(s: Said) -> Attributes:
    a = _present({
        "openinference.span.kind": s.kind.upper(), "llm.model_name": s.name if s.kind == "llm" else "",
        "agent.name": s.name if s.kind == "agent" else "", "tool.name": s.name if s.kind == "tool" else "",
        "tool_call.id": s.call_id, "llm.finish_reason": s.finish,
        "llm.token_count.prompt": s.tokens.get("input_tokens"),
        "llm.token_count.completion": s.tokens.get("output_tokens"),
    })  # fmt: skip
    if s.kind != "llm":
        return a | _present({"input.value": s.input, "output.value": s.output})
    for number, message in enumerate(s.asked):
        a |= {f"llm.input_messages.{number}.message.{key}": value for key, value in message.items()}
    for number, function in enumerate(s.functions):
        a[f"llm.tools.{number}.tool.json_schema"] = json.dumps(function)
    if s.finish:
        out = "llm.output_messages.0.message"
        a |= {f"{out}.role": "assistant"} | ({} if s.output is None else {f"{out}.content": s.output})
        for number, call in enumerate(s.asks):
            place = f"{out}.tool_calls.{number}.tool_call"
            a |= {f"{place}.id": call["id"]} | {f"{place}.function.{k}": v for k, v in call["function"].items()}
    return a


def _langfuse(s: Said) -> Attributes:
    request = {"messages": s.asked, "tools": s.functions} if s.tools else s.asked
    chat = s.kind == "llm"
    return _present({
        "langfuse.observation.type": "generation" if chat else s.kind,
        "langfuse.observation.model.name": s.name if chat else "",
        "langfuse.observation.input": json.dumps(request) if (chat and s.asked) or s.tools else s.input,
        "langfuse.observation.output": (json.dumps(s.answer) if s.finish else "") if chat else s.output,
        "langfuse.observation.metadata.finish_reason": s.finish,
        "langfuse.observation.usage_details": json.dumps(s.tokens) if s.tokens else "",
    })  # fmt: skip


def _vercel(s: Said) -> Attributes:
    if s.kind == "tool":
        return _present({
            "ai.operationId": "ai.toolCall", "ai.toolCall.name": s.name, "ai.toolCall.id": s.call_id,
            "ai.toolCall.args": s.input, "ai.toolCall.result": s.output,
        })  # fmt: skip
    if s.kind == "agent":
        return _present({
            "ai.operationId": "ai.generateText", "ai.telemetry.functionId": s.name,
            "ai.prompt": json.dumps({"prompt": s.input}) if s.input is not None else "", "ai.response.text": s.output,
        })  # fmt: skip
    asks = [{"toolCallType": "function", "toolCallId": c["id"], "toolName": c["name"], "args": _text(c["arguments"])}
            for c in s.calls]  # fmt: skip
    tools = [{"type": "function", "inputSchema": t.get("parameters", {})} | t for t in s.tools]
    said_ = (
        {"ai.response.text": s.output or "", "ai.response.finishReason": s.finish.replace("_", "-")} if s.finish else {}
    )
    return said_ | _present({
        "ai.operationId": "ai.generateText.doGenerate", "ai.model.id": s.name,
        "ai.prompt.messages": json.dumps(s.asked) if s.asked else "", "ai.prompt.tools": [*map(json.dumps, tools)],
        "ai.response.toolCalls": json.dumps(asks) if asks else "",
        "ai.usage.inputTokens": s.tokens.get("input_tokens"), "ai.usage.outputTokens": s.tokens.get("output_tokens"),
    })  # fmt: skip


def _mlflow(s: Said) -> Attributes:
    chat = s.kind == "llm"
    choice = {"model": s.name, "choices": [{"message": s.answer, "finish_reason": s.finish}]} if s.finish else None
    request = {"messages": s.asked, "model": s.name} | ({"tools": s.functions} if s.tools else {})
    values = {
        "mlflow.spanType": "CHAT_MODEL" if chat else s.kind.upper(), "mlflow.spanInputs": request if chat else s.input,
        "mlflow.llm.model": s.name if chat else "", "mlflow.spanOutputs": choice if chat else s.output,
        "mlflow.chat.tokenUsage": s.tokens,
    }  # fmt: skip
    return {key: json.dumps(value) for key, value in _present(values).items()}


def _openllmetry(s: Said) -> Attributes:
    if s.kind != "llm":
        return _present({
            "traceloop.span.kind": s.kind if s.kind != "retriever" else "task", "traceloop.entity.name": s.name,
            "gen_ai.agent.name": s.name if s.kind == "agent" else "", "traceloop.entity.input": s.input,
            "traceloop.entity.output": s.output, "gen_ai.tool.call.id": s.call_id,
        })  # fmt: skip
    a = {"llm.request.type": "chat", "gen_ai.request.model": s.name}
    for number, message in enumerate(s.asked):
        a |= {f"gen_ai.prompt.{number}.{key}": value for key, value in message.items()}
    for number, tool in enumerate(s.tools):
        a |= {f"llm.request.functions.{number}.{key}": _text(value) for key, value in tool.items()}
    if s.finish:
        out = "gen_ai.completion.0"
        a |= _present({f"{out}.role": "assistant", f"{out}.finish_reason": s.finish, f"{out}.content": s.output})
        for number, call in enumerate(s.asks):
            a |= {f"{out}.tool_calls.{number}.{k}": v for k, v in {"id": call["id"], **call["function"]}.items()}
    return a | {
        f"gen_ai.usage.{name}": s.tokens[key]
        for name, key in (("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens"))
        if key in s.tokens
    }


# How a span is written, its scope, and the kinds that have it; by name alone some conventions know tools and agents.
WRITERS: dict[str, tuple[str, Callable[[Said], Attributes], frozenset[str]]] = {
    "openinference": ("openinference.instrumentation.openai", _openinference, frozenset(("retriever",))),
    "langfuse": ("langfuse-sdk", _langfuse, frozenset(("retriever",))),
    "vercel_ai": ("ai", _vercel, frozenset()),
    "mlflow": ("mlflow.openai", _mlflow, frozenset(("retriever",))),
    "openllmetry": ("traceloop.tracer", _openllmetry, frozenset()),
}
BY_NAME = ("langfuse", "mlflow")  # whose tools and agents have no other name than the span's


def rewritten(span: Span, convention: str) -> Span | None:
    """Write a span in another convention; None where that has no such kind. Plain code stays as it is."""
    found = said(span)
    if found is None:
        return span
    scope, write, kinds = WRITERS[convention]
    if found.kind == "retriever" and "retriever" not in kinds:
        return None
    named = convention in BY_NAME and found.kind in ("tool", "agent")
    return replace(
        span, attributes=write(found), name=found.name if named else span.name, scope=replace(span.scope, name=scope)
    )

"""One trace as OTLP, said in one of three conventions: OpenTelemetry GenAI, OpenInference, OpenLLMetry."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

CONVENTIONS = ("genai", "openinference", "openllmetry")
_SCOPES = {
    "genai": "opentelemetry.instrumentation.openai_v2",
    "openinference": "openinference.instrumentation.openai_agents",
    "openllmetry": "opentelemetry.instrumentation.openai.v1",
}
Call = tuple[str, str, dict[str, Any]]  # id, tool, arguments


@dataclass
class Shape:
    """An agent: who it is and which tools it is offered."""

    agent: str
    service: str
    model: str
    system: str
    tools: dict[str, dict[str, Any]]  # name -> properties of its arguments, all required
    convention: str = "genai"

    def definitions(self) -> list[dict[str, Any]]:
        """Return the tools in the form of OpenAI's API."""
        return [
            {
                "type": "function",
                "function": {
                    "name": name,
                    "description": name.replace("_", " "),
                    "parameters": {
                        "type": "object",
                        "properties": properties,
                        "required": list(properties),
                        "additionalProperties": False,
                    },
                },
            }
            for name, properties in self.tools.items()
        ]


@dataclass
class Trace:
    """A trace being written; time moves only by `wait`."""

    shape: Shape
    rng: random.Random
    now: int
    question: str
    spans: list[Span] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    root: Span = field(init=False)

    def __post_init__(self) -> None:
        self.trace_id = self.rng.randbytes(16)
        self.messages = [{"role": "system", "content": self.shape.system}, {"role": "user", "content": self.question}]
        self.root = self._span(f"invoke_agent {self.shape.agent}", b"", self._agent(self.shape.agent))
        self.parent = self.root

    @property
    def id(self) -> str:
        return self.trace_id.hex()

    def wait(self, seconds: float) -> None:
        self.now += int(seconds * 1e9)

    def _span(self, name: str, parent: bytes, attributes: dict[str, Any]) -> Span:
        span = Span(
            trace_id=self.trace_id,
            span_id=self.rng.randbytes(8),
            parent_span_id=parent,
            name=name,
            kind=Span.SPAN_KIND_INTERNAL,
            start_time_unix_nano=self.now,
            attributes=[KeyValue(key=key, value=any_value(value)) for key, value in attributes.items()],
        )
        self.spans.append(span)
        return span

    def _agent(self, name: str) -> dict[str, Any]:
        match self.shape.convention:
            case "genai":
                said = json.dumps([{"role": "user", "parts": [{"type": "text", "content": self.question}]}])
                return {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": name,
                        "gen_ai.input.messages": said}  # fmt: skip
            case "openinference":
                return {"openinference.span.kind": "AGENT", "agent.name": name, "input.value": self.question}
            case _:
                return {"traceloop.span.kind": "agent", "traceloop.entity.name": name,
                        "gen_ai.agent.name": name, "traceloop.entity.input": self.question}  # fmt: skip

    def llm(
        self, text: str = "", calls: list[Call] | None = None, *, finish: str = "", max_tokens: int = 1024,
        seconds: float | None = None, error: tuple[str, str] | None = None, tokens: int | None = None,
    ) -> str:  # fmt: skip
        """Record a model call and return its span id."""
        calls = calls or []
        finish = finish or ("tool_calls" if calls else "stop")
        prompt = tokens or 150 + sum(len(str(m)) for m in self.messages) // 4
        answer = (
            max_tokens if finish == "length" else max(1, (len(text) + len(str(calls))) // 4) if text or calls else 0
        )
        attributes = getattr(self, f"_llm_{self.shape.convention}")(
            text, calls, finish, max_tokens, prompt, answer, error
        )
        span = self._span(f"chat {self.shape.model}", self.parent.span_id, attributes)
        self.wait(seconds or self.rng.uniform(0.6, 2.0))
        self._end(span, error)
        if not error:
            self.messages.append({"role": "assistant", "content": text, "calls": calls})
        return span.span_id.hex()

    def tool(
        self, call: Call, result: Any = None, *, seconds: float | None = None, error: tuple[str, str] | None = None
    ) -> str:
        """Record the run of a tool and return its span id."""
        identifier, name, arguments = call
        said = result if isinstance(result, str) else json.dumps(result)
        match self.shape.convention:
            case "genai":
                attributes = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": name,
                              "gen_ai.tool.call.id": identifier, "gen_ai.tool.call.arguments": json.dumps(arguments)}  # fmt: skip
                key = "gen_ai.tool.call.result"
            case "openinference":
                attributes = {"openinference.span.kind": "TOOL", "tool.name": name, "tool_call.id": identifier,
                              "input.value": json.dumps(arguments), "input.mime_type": "application/json"}  # fmt: skip
                key = "output.value"
            case _:
                attributes = {"traceloop.span.kind": "tool", "traceloop.entity.name": name,
                              "traceloop.entity.input": json.dumps(arguments)}  # fmt: skip
                key = "traceloop.entity.output"
        if error is None:
            attributes[key] = said
        span = self._span(f"execute_tool {name}", self.parent.span_id, attributes)
        self.wait(seconds or self.rng.uniform(0.1, 0.6))
        self._end(span, error)
        self.messages.append({"role": "tool", "content": f"Error: {error[1]}" if error else said, "id": identifier})
        return span.span_id.hex()

    def retrieve(self, query: str, documents: list[str]) -> str:
        """Record a retrieval and return its span id."""
        found = [{"id": str(n), "content": text} for n, text in enumerate(documents)]
        if self.shape.convention == "openinference":
            attributes: dict[str, Any] = {"openinference.span.kind": "RETRIEVER", "input.value": query,
                                          "output.value": json.dumps(found)}  # fmt: skip
        elif self.shape.convention == "genai":
            attributes = {"gen_ai.operation.name": "retrieval", "gen_ai.retrieval.query.text": query,
                          "gen_ai.retrieval.documents": json.dumps(found)}  # fmt: skip
        else:
            call = (f"call_{self.rng.getrandbits(64):x}", "search_documents", {"query": query})
            return self.tool(call, found)
        span = self._span("retrieve", self.parent.span_id, attributes)
        self.wait(0.3)
        self._end(span, None)
        self.messages.append({"role": "user", "content": f"Context: {documents}"})
        return span.span_id.hex()

    def call(self, name: str, **arguments: Any) -> Call:
        """Make a tool call with an id of its own."""
        return f"call_{self.rng.getrandbits(64):016x}", name, arguments

    def use(self, name: str, arguments: dict[str, Any], result: Any = None, **how: Any) -> tuple[str, str]:
        """The model calls a tool and it runs; return (model call, tool span)."""
        call = self.call(name, **arguments)
        return self.llm(calls=[call]), self.tool(call, result, **how)

    def agent(self, name: str) -> Span:
        """Begin the span of another agent under the root; `leave` ends it."""
        self.parent = self._span(f"invoke_agent {name}", self.root.span_id, self._agent(name))
        return self.parent

    def leave(self) -> None:
        """End the inner agent's span."""
        self._end(self.parent, None)
        self.parent = self.root

    def _end(self, span: Span, error: tuple[str, str] | None) -> None:
        span.end_time_unix_nano = self.now
        if error:
            kind, message = error
            span.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR, message=message))
            span.events.add(
                name="exception", time_unix_nano=self.now,
                attributes=[KeyValue(key="exception.type", value=any_value(kind)),
                            KeyValue(key="exception.message", value=any_value(message))],
            )  # fmt: skip

    def finish(self, *, error: tuple[str, str] | None = None, ended: bool = True) -> None:
        """End the root."""
        if ended:
            self._end(self.root, error)

    def request(self) -> ExportTraceServiceRequest:
        """Return the trace as an exporter would send it."""
        resource = Resource(attributes=[
            KeyValue(key="service.name", value=any_value(self.shape.service)),
            KeyValue(key="service.version", value=any_value("1.4.2")),
        ])  # fmt: skip
        scope = InstrumentationScope(name=_SCOPES[self.shape.convention], version="1.0")
        scoped = ScopeSpans(scope=scope, spans=self.spans)
        return ExportTraceServiceRequest(resource_spans=[ResourceSpans(resource=resource, scope_spans=[scoped])])

    def _llm_genai(self, text: str, calls: list[Call], finish: str, limit: int, prompt: int, answer: int, error: Any) -> dict[str, Any]:  # fmt: skip
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.agent.name": self.shape.agent,
            "gen_ai.request.model": self.shape.model, "gen_ai.request.max_tokens": limit,
            "gen_ai.tool.definitions": json.dumps([d["function"] | {"type": "function"} for d in self.shape.definitions()]),
            "gen_ai.input.messages": json.dumps([_parts(m) for m in self.messages]),
        }  # fmt: skip
        if error is None:
            said = _parts({"role": "assistant", "content": text, "calls": calls}) | {"finish_reason": finish}
            attributes |= {"gen_ai.response.finish_reasons": [finish], "gen_ai.output.messages": json.dumps([said]),
                           "gen_ai.usage.input_tokens": prompt, "gen_ai.usage.output_tokens": answer}  # fmt: skip
        return attributes

    def _llm_openinference(self, text: str, calls: list[Call], finish: str, limit: int, prompt: int, answer: int, error: Any) -> dict[str, Any]:  # fmt: skip
        attributes: dict[str, Any] = {
            "openinference.span.kind": "LLM", "llm.model_name": self.shape.model, "agent.name": self.shape.agent,
            "llm.invocation_parameters": json.dumps({"max_tokens": limit}),
        }  # fmt: skip
        for number, definition in enumerate(self.shape.definitions()):
            attributes[f"llm.tools.{number}.tool.json_schema"] = json.dumps(definition)
        said = [] if error else [{"role": "assistant", "content": text, "calls": calls}]
        for kind, messages in (("input", self.messages), ("output", said)):
            for number, message in enumerate(messages):
                place = f"llm.{kind}_messages.{number}.message"
                attributes[f"{place}.role"] = message["role"]
                attributes[f"{place}.content"] = message["content"]
                for index, (identifier, name, arguments) in enumerate(message.get("calls", ())):
                    attributes[f"{place}.tool_calls.{index}.tool_call.id"] = identifier
                    attributes[f"{place}.tool_calls.{index}.tool_call.function.name"] = name
                    attributes[f"{place}.tool_calls.{index}.tool_call.function.arguments"] = json.dumps(arguments)
        if error is None:
            attributes |= {"llm.finish_reason": finish, "llm.token_count.prompt": prompt, "llm.token_count.completion": answer}  # fmt: skip
        return attributes

    def _llm_openllmetry(self, text: str, calls: list[Call], finish: str, limit: int, prompt: int, answer: int, error: Any) -> dict[str, Any]:  # fmt: skip
        attributes: dict[str, Any] = {
            "llm.request.type": "chat", "gen_ai.system": "OpenAI", "gen_ai.request.model": self.shape.model,
            "gen_ai.request.max_tokens": limit,
        }  # fmt: skip
        for number, definition in enumerate(self.shape.definitions()):
            function = definition["function"]
            place = f"llm.request.functions.{number}"
            attributes |= {f"{place}.name": function["name"], f"{place}.parameters": json.dumps(function["parameters"])}
        for number, message in enumerate(self.messages):
            attributes[f"gen_ai.prompt.{number}.role"] = message["role"]
            attributes[f"gen_ai.prompt.{number}.content"] = message["content"]
        if error is None:
            attributes |= {"gen_ai.completion.0.role": "assistant", "gen_ai.completion.0.finish_reason": finish,
                           "gen_ai.usage.prompt_tokens": prompt, "gen_ai.usage.completion_tokens": answer}  # fmt: skip
            if text or not calls:
                attributes["gen_ai.completion.0.content"] = text
            for index, (identifier, name, arguments) in enumerate(calls):
                place = f"gen_ai.completion.0.tool_calls.{index}"
                attributes |= {f"{place}.id": identifier, f"{place}.name": name, f"{place}.arguments": json.dumps(arguments)}  # fmt: skip
        return attributes


def _parts(message: dict[str, Any]) -> dict[str, Any]:
    if message["role"] == "tool":
        return {
            "role": "tool",
            "parts": [{"type": "tool_call_response", "id": message["id"], "response": message["content"]}],
        }
    parts: list[dict[str, Any]] = [{"type": "text", "content": message["content"]}] if message["content"] else []
    parts += [{"type": "tool_call", "id": i, "name": n, "arguments": a} for i, n, a in message.get("calls", ())]
    return {"role": message["role"], "parts": parts}


def any_value(value: Any) -> AnyValue:
    """Write a Python value as OTLP's AnyValue."""
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, list):
        return AnyValue(array_value=ArrayValue(values=[any_value(item) for item in value]))
    return AnyValue(string_value=str(value))

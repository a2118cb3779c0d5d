"""One turn of an agent as its transcript tells it, written as spans of OpenTelemetry's GenAI conventions.

    Turn ──spans──▶ invoke_agent ─┬─ chat            each request to the model, with what was new in it
                                  └─ execute_tool    each call, its arguments, its result or error

Source: OpenTelemetry semantic conventions for generative AI, spans and agent spans.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import orjson

from halo_receiver.decode.repair import Repair
from halo_receiver.span import Attributes, Scope, Span, SpanEvent

Message = dict[str, Any]


def trace_id_of(*parts: str) -> str:
    """Derive a trace id (32 hex digits): the same parts give the same id, so that importing again adds nothing."""
    return blake2b("\0".join(parts).encode("utf-8", "replace"), digest_size=16).hexdigest()


def span_id_of(*parts: str) -> str:
    """Derive a span id (16 hex digits)."""
    return blake2b("\0".join(parts).encode("utf-8", "replace"), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class Agent:
    """Which program wrote the transcript."""

    name: str  # service.name, and gen_ai.agent.name of the main agent
    provider: str
    scope: str
    version: str = ""

    def as_scope(self) -> Scope:
        """Return the resource and scope of its spans."""
        resource = {"service.name": self.name} | ({"service.version": self.version} if self.version else {})
        return Scope(resource, name=self.scope)


@dataclass(frozen=True, slots=True)
class Link:
    """The tool call that started a subagent: its turns hang below it, in the same trace."""

    trace_id: str
    span_id: str
    agent: str
    session_id: str


@dataclass(slots=True)
class ModelCall:
    """One request to the model. Tokens are None where the transcript does not say; input includes what was cached."""

    key: str
    start_ns: int
    inputs: list[Message] = field(default_factory=list)  # what was new since the request before
    output: list[Message] = field(default_factory=list)
    end_ns: int = 0
    model: str | None = None
    finish_reason: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    error: tuple[str, str] | None = None  # type and message


@dataclass(slots=True)
class ToolCall:
    """One call of a tool. Without a result it has not ended."""

    call_id: str
    name: str
    arguments: Any
    start_ns: int
    end_ns: int = 0
    result: str | None = None
    error_type: str | None = None


@dataclass(slots=True)
class Turn:
    """From a prompt to the last thing that was done for it."""

    agent: Agent
    trace_id: str
    span_id: str
    start_ns: int
    session_id: str
    parent_span_id: str = ""
    agent_name: str = ""
    prompt: list[Message] = field(default_factory=list)
    calls: dict[str, ModelCall] = field(default_factory=dict)
    tools: dict[str, ToolCall] = field(default_factory=dict)
    attributes: Attributes = field(default_factory=dict)
    events: list[SpanEvent] = field(default_factory=list)
    end_ns: int = 0

    def tool_span_id(self, call_id: str) -> str:
        """Return the id of the span of one tool call."""
        return span_id_of(self.trace_id, "tool", call_id)

    def ended(self) -> bool:
        """Set the end of the turn, that of the last thing in it; say whether the model was asked at all."""
        ends = [call.end_ns for call in self.calls.values()] + [tool.end_ns for tool in self.tools.values()]
        self.end_ns = max(self.end_ns, *ends, 0)
        return bool(self.calls)

    def last_call(self) -> ModelCall | None:
        """Return the last request to the model."""
        return next(reversed(self.calls.values()), None)


def spans(turn: Turn, repair: Repair) -> Iterator[Span]:
    """Write a turn as spans: the agent's first, then those below it. Texts are bounded by `repair`."""
    scope = turn.agent.as_scope()
    agent = _span(turn, scope, repair, turn.span_id, f"invoke_agent {_agent_name(turn)}", turn.start_ns, turn.end_ns,
                  _agent_attributes(turn), _agent_error(turn))  # fmt: skip
    agent.parent_span_id, agent.events = turn.parent_span_id, turn.events
    yield agent
    for call in turn.calls.values():
        name = f"chat {call.model}" if call.model else "chat"
        span = _span(turn, scope, repair, span_id_of(turn.trace_id, turn.span_id, "chat", call.key), name,
                     call.start_ns, call.end_ns, _call_attributes(turn, call), call.error)  # fmt: skip
        span.kind = "CLIENT"
        yield span
    for tool in turn.tools.values():
        error = (tool.error_type, tool.result or "") if tool.error_type else None
        yield _span(turn, scope, repair, turn.tool_span_id(tool.call_id), f"execute_tool {tool.name}", tool.start_ns,
                    tool.end_ns, _tool_attributes(turn, tool), error)  # fmt: skip


def _span(
    turn: Turn, scope: Scope, repair: Repair, span_id: str, name: str, start_ns: int, end_ns: int,
    attributes: Attributes, error: tuple[str, str] | None,
) -> Span:  # fmt: skip
    """Return a span below the agent's."""
    if error:
        attributes["error.type"] = error[0]
    return Span(
        turn.trace_id, span_id, turn.span_id, repair.string(name), scope,
        kind="INTERNAL",
        start_unix_nano=start_ns,
        end_unix_nano=end_ns,
        status_code="ERROR" if error else "UNSET",
        status_message=repair.string(error[1]) if error else "",
        attributes={
            key: repair.string(value) if isinstance(value, str) else value
            for key, value in attributes.items()
            if value is not None
        },
    )  # fmt: skip


def _agent_name(turn: Turn) -> str:
    return turn.agent_name or turn.agent.name


def _agent_error(turn: Turn) -> tuple[str, str] | None:
    """A turn failed where its last request to the model did: nothing came after it."""
    last = turn.last_call()
    return last.error if last else None


def _agent_attributes(turn: Turn) -> Attributes:
    last = turn.last_call()
    answered = last.output if last and not last.error else []
    return {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": turn.agent.provider,
        "gen_ai.agent.name": _agent_name(turn),
        "gen_ai.conversation.id": turn.session_id or None,
        "gen_ai.input.messages": _json(turn.prompt),
        "gen_ai.output.messages": _json(answered),
        **turn.attributes,
    }


def _call_attributes(turn: Turn, call: ModelCall) -> Attributes:
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": turn.agent.provider,
        "gen_ai.conversation.id": turn.session_id or None,
        "gen_ai.request.model": call.model,
        "gen_ai.response.model": call.model,
        "gen_ai.response.finish_reasons": [call.finish_reason] if call.finish_reason else None,
        "gen_ai.usage.input_tokens": call.input_tokens,
        "gen_ai.usage.output_tokens": call.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": call.cached_tokens,
        "gen_ai.usage.cache_creation.input_tokens": call.cache_write_tokens,
        "gen_ai.usage.reasoning.output_tokens": call.reasoning_tokens,
        "gen_ai.input.messages": _json(call.inputs),
        "gen_ai.output.messages": _json(call.output),
    }


def _tool_attributes(turn: Turn, tool: ToolCall) -> Attributes:
    return {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.provider.name": turn.agent.provider,
        "gen_ai.conversation.id": turn.session_id or None,
        "gen_ai.tool.name": tool.name,
        "gen_ai.tool.call.id": tool.call_id,
        "gen_ai.tool.call.arguments": tool.arguments if isinstance(tool.arguments, str) else _json(tool.arguments),
        "gen_ai.tool.call.result": tool.result,
    }


def _json(value: Any) -> str | None:
    return orjson.dumps(value).decode() if value else None

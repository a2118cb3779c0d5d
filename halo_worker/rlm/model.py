"""What the engine asks of a language model: the protocol, and the words of one conversation.

One call of `ask` is one request to the provider. Retries, budgets and records are the session's business, so that
every attempt is reserved and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Role = Literal["system", "user", "assistant", "tool"]
FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "other"]


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as a model is told of it. `parameters` is a JSON Schema of an object."""

    name: str
    description: str
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """What a model asked for; `arguments` is the text as sent, which need not be JSON."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation. `tool_call_id` and `name` belong to role tool."""

    role: Role
    content: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What one or more calls used. `input_tokens` is the whole prompt, cached part included; `output_tokens` includes
    reasoning. `cost_usd` is None where no price is known."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model answered. `refusal`: it declined, in a part or finish reason of its own."""

    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage = field(default_factory=Usage)
    finish_reason: FinishReason = "stop"
    refusal: bool = False
    model: str = ""


class LanguageModel(Protocol):
    """A provider's model. Every implementation passes tests/worker/rlm/model_suite.py."""

    name: str

    async def ask(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[ToolSpec] = (),
        schema: dict[str, Any] | None = None,
        max_output_tokens: int | None = None,
        on_delta: Callable[[str], None] | None = None,
    ) -> Reply:
        """Send one request and return the reply; with `on_delta` the text is streamed there as it comes.

        `schema` asks for JSON of that shape where the endpoint can be told so; the reply is not validated. Raises
        ModelUnavailable for what may pass, ModelRefused (with the provider's code) for what will not, at once.
        """
        ...

    def estimate(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> int:
        """Estimate the input tokens of a request, never far below what a provider would count."""
        ...

    def cost(self, usage: Usage) -> float | None:
        """Return the dollars that usage costs; None where no price is known."""
        ...

    async def close(self) -> None:
        """Let go of the connections."""
        ...

"""The protocol of a language model.

One call of `ask` is one request to the provider. Retries, budget and records are `retrying_client`'s, so that every
attempt is reserved and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from halo_worker.rlm.messages import Message, Reply, ToolSpec, Usage


class LanguageModel(Protocol):
    """A provider's model. Every implementation passes tests/worker/rlm/provider/model_suite.py."""

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
        """Close the connections."""
        ...

"""Sub-agents of one agent: how deep they nest, how many run at once, and what their parent gets back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from halo_worker.rlm.agent import prompts
from halo_worker.rlm.agent.conversation import Conversation
from halo_worker.rlm.agent.identity import Identity
from halo_worker.rlm.agent.run_context import RunContext
from halo_worker.rlm.agent.task import AgentResult
from halo_worker.rlm.messages import Message
from halo_worker.rlm.tool import ToolError

QUESTION_CHARACTERS = 100_000  # of the question to a sub-agent


class SubAgent(Protocol):
    """What a parent needs of a sub-agent."""

    conversation: Conversation
    turn: int

    @property
    def calls_made(self) -> int:
        """How many tool calls it has made."""
        ...

    async def run(self) -> AgentResult:
        """Work until the end, whatever the model or the provider does."""
        ...

    async def close(self) -> None:
        """End its interpreter."""
        ...


@dataclass(slots=True, eq=False)
class SubAgents:
    """Starts the sub-agents of one agent; `create` makes one with an empty conversation."""

    context: RunContext
    parent: Identity
    create: Callable[[Identity], SubAgent]

    @property
    def allowed(self) -> bool:
        """Whether the agent is not yet as deep as agents may nest."""
        return self.parent.depth < self.context.limits.depth

    async def ask(self, question: str, call_id: str | None) -> dict[str, Any]:
        """Let a sub-agent answer a question; it ends in an answer, whatever it meets. Raises ToolError, Denied.

        `call_id` is the tool call of the parent that asks.
        """
        if len(question) > QUESTION_CHARACTERS:
            raise ToolError(f"the input has {len(question):,} characters, at most {QUESTION_CHARACTERS:,} are taken")
        if not self.allowed:
            raise ToolError(f"sub-agents may not nest deeper than {self.context.limits.depth}")
        depth = self.parent.depth + 1
        gate = self.context.gates[depth]
        await self.context.client.within(gate.acquire())
        try:
            identity = Identity(f"agent-{self.context.children.next()}", "sub", depth, self.parent.id, call_id)
            child = self.create(identity)
            self.context.record_agent(identity)
            child.conversation.add(Message("user", question))
            try:
                result = await child.run()
            finally:
                await child.close()
        finally:
            gate.release()
        return _as_data(identity, child, result)


def _as_data(identity: Identity, child: SubAgent, result: AgentResult) -> dict[str, Any]:
    answer = (result.arguments or {}).get("answer") or result.last_text or ""
    data: dict[str, Any] = {
        "child_agent_id": identity.id,
        "answer": prompts.truncated_for_parent(str(answer)),
        "turns_used": child.turn,
        "tool_calls_made": child.calls_made,
    }
    if result.stopped_by is not None:
        data |= {"stopped_by": result.stopped_by, "note": f"{prompts.SALVAGE_NOTE} {result.reason}"}
    return data

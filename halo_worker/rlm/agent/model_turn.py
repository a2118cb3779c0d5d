"""The request to a model for its next step: what a provider objects to is removed, and it is asked again."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from halo_worker.errors import ModelRefused
from halo_worker.rlm.agent.conversation import Conversation
from halo_worker.rlm.agent.identity import Identity
from halo_worker.rlm.agent.run_context import RunContext
from halo_worker.rlm.messages import Message, Reply, ToolSpec

FINAL_OUTPUT_TOKENS = 8_192  # of the last turn, kept for it
MAX_OVERFLOWS = 4  # elisions in a row, after which a context overflow is raised


@dataclass(slots=True, eq=False)
class ModelTurn:
    """Asks the model of one agent for its next step. `specs` are the tools that the agent has."""

    context: RunContext
    agent: Identity
    system: str
    conversation: Conversation
    specs: tuple[ToolSpec, ...]
    streamed: list[str] = field(default_factory=list)  # what has come of the reply that is being given

    async def ask(self, line: str, specs: Sequence[ToolSpec], *, final: bool = False) -> Reply:
        """Ask for the next step; a context overflow is answered by eliding results and asking again.

        `line` is the status line of the turn, which is not kept. Raises Denied, ModelRefused, ModelUnavailable.
        """
        if elided := self.conversation.fit(self.estimate):
            self._note("elided", results=elided)
        for overflows in itertools.count():
            try:
                return await self._request(line, specs, final=final)
            except ModelRefused as error:
                if error.code == "content_filter" and self.withhold():
                    continue
                if error.code != "context_length_exceeded" or overflows >= MAX_OVERFLOWS:
                    raise
                if not self.conversation.overflowed(self.estimate):
                    raise
                self._note("context overflow: elided")
        raise AssertionError("unreachable")

    async def _request(self, line: str, specs: Sequence[ToolSpec], *, final: bool) -> Reply:
        self.streamed = []
        tell = self.context.on_delta(self.agent, self.context.item_id())

        def on_delta(text: str, tell: Callable[[str], None] = tell) -> None:
            self.streamed.append(text)
            tell(text)

        return await self.context.client.ask(
            self.context.model,
            with_status_line([Message("system", self.system), *self.conversation.messages], line),
            purpose="final" if final else "turn",
            agent_id=self.agent.id,
            tools=specs,
            max_output_tokens=FINAL_OUTPUT_TOKENS if final else None,
            on_delta=on_delta,
            final=final,
        )

    def withhold(self) -> bool:
        """Go on without the newest results, where a filter objects: one text must not end a run over thousands."""
        withheld = self.conversation.withhold()
        if withheld:
            self._note("content filter: withheld", results=withheld)
        return withheld > 0

    def estimate(self, messages: Sequence[Message]) -> int:
        """Estimate the tokens of a request with these messages and the agent's tools."""
        return self.context.model.estimate(messages, self.specs)

    def _note(self, note: str, *, results: int | None = None) -> None:
        self.context.trajectory.write("note", agent_id=self.agent.id, note=note, results=results)


def with_status_line(messages: list[Message], line: str) -> list[Message]:
    """Add the status line at the end; it joins a user's message that stands last: roles take turns."""
    last = messages[-1]
    if last.role == "user":
        return [*messages[:-1], replace(last, content=f"{last.content or ''}\n\n{line}")]
    return [*messages, Message("user", line)]

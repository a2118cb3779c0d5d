"""How an agent asks its model for the next step: what a provider objects to is taken out, and it is asked again."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from halo_worker.errors import ModelRefused
from halo_worker.rlm.messages import Message, Reply, ToolSpec
from halo_worker.rlm.provider.retrying_client import FATAL_CODES

if TYPE_CHECKING:
    from halo_worker.rlm.agent.loop import Agent

FINAL_OUTPUT_TOKENS = 8_192  # of the last turn, kept for it
MAX_OVERFLOWS = 4  # elisions in a row before a context overflow is believed
OF_THE_TEXT = ("context_length_exceeded", "content_filter")


async def ask(agent: Agent, line: str, specs: Sequence[ToolSpec], *, final: bool = False) -> Reply:
    """Ask for the next step; a context overflow is answered by eliding and asking again."""
    if gone := agent.conversation.fit(agent.estimate):
        agent.shared.trajectory.write("note", agent_id=agent.id, note="elided", results=gone)
    for overflows in itertools.count():
        agent.heard = []
        tell = agent.shared.on_delta(agent, agent.shared.item_id())

        def on_delta(text: str, tell: Callable[[str], None] = tell) -> None:
            agent.heard.append(text)
            tell(text)

        try:
            return await agent.shared.client.ask(
                agent.shared.model,
                with_line([Message("system", agent.system), *agent.conversation.messages], line),
                purpose="final" if final else "turn",
                agent_id=agent.id,
                tools=specs,
                max_output_tokens=FINAL_OUTPUT_TOKENS if final else None,
                on_delta=on_delta,
                final=final,
            )
        except ModelRefused as error:
            if error.code == "content_filter" and withheld(agent):
                continue
            if error.code not in (*FATAL_CODES, *OF_THE_TEXT) and agent.conversation.flatten():
                agent.flat = True
                agent.shared.trajectory.write("note", agent_id=agent.id, note="history refused: told as text")
                continue
            if error.code != "context_length_exceeded" or overflows >= MAX_OVERFLOWS:
                raise
            if not agent.conversation.overflowed(agent.estimate):
                raise
            agent.shared.trajectory.write("note", agent_id=agent.id, note="context overflow: elided")
    raise AssertionError("unreachable")


def withheld(agent: Agent) -> bool:
    """Go on without the newest results, where a filter objects: one text must not end a run over thousands."""
    gone = agent.conversation.withhold()
    if gone:
        agent.shared.trajectory.write("note", agent_id=agent.id, note="content filter: withheld", results=gone)
    return gone > 0


def with_line(messages: list[Message], line: str) -> list[Message]:
    """Add the line of the turn at the end; it joins a user's message that stands last: roles take turns."""
    last = messages[-1]
    if last.role == "user":
        return [*messages[:-1], replace(last, content=f"{last.content or ''}\n\n{line}")]
    return [*messages, Message("user", line)]

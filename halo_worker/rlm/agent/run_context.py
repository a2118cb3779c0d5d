"""What all agents of one run share: task, models, ledger, trajectory, events, and one gate for each depth."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from halo_worker.rlm.agent.identity import Identity
from halo_worker.rlm.agent.subcalls import SubCalls
from halo_worker.rlm.agent.task import Event, Task
from halo_worker.rlm.budget import BudgetLimits, Denied, Ledger
from halo_worker.rlm.interpreter.protocol import Limits, OpenInterpreter
from halo_worker.rlm.messages import Message
from halo_worker.rlm.provider.model import LanguageModel
from halo_worker.rlm.provider.retrying_client import RetryingClient
from halo_worker.rlm.tool import Tool, ToolError
from halo_worker.rlm.trajectory import Trajectory
from halo_worker.rlm.truncation import truncate

STATUS_BYTES = 2_000  # of the task's status


@dataclass(slots=True)
class SequenceCounter:
    """Numbers from 1 on; `last` is what a checkpoint keeps."""

    last: int = 0

    def next(self) -> int:
        """Return the next number."""
        self.last += 1
        return self.last


@dataclass(slots=True, eq=False)
class RunContext:
    """The context of one run; the same for all of its agents."""

    task: Task
    model: LanguageModel
    client: RetryingClient
    subcalls: SubCalls
    limits: BudgetLimits
    trajectory: Trajectory
    open_interpreter: OpenInterpreter
    code_limits: Limits
    refusal_retries: int
    context_tokens: int
    on_event: Callable[[Event], None] | None
    gates: dict[int, asyncio.Semaphore] = field(init=False)
    events: SequenceCounter = field(default_factory=SequenceCounter)
    children: SequenceCounter = field(default_factory=SequenceCounter)
    items: SequenceCounter = field(default_factory=SequenceCounter)

    def __post_init__(self) -> None:
        # One gate for each depth: a common one would deadlock when parents hold all of it and wait for children.
        self.gates = {depth: asyncio.Semaphore(self.limits.parallel) for depth in range(1, self.limits.depth + 1)}

    @property
    def ledger(self) -> Ledger:
        """The run's one ledger."""
        return self.client.ledger

    @property
    def subset(self) -> str:
        """A description of the Python subset that the interpreter runs."""
        return str(getattr(self.open_interpreter, "subset", ""))

    def record_agent(self, agent: Identity) -> None:
        """Record that an agent began."""
        self.trajectory.write(
            "agent",
            agent_id=agent.id,
            name=agent.name,
            depth=agent.depth,
            parent_agent_id=agent.parent_id,
            parent_tool_call_id=agent.parent_tool_call_id,
        )

    async def call_tool(self, tool: Tool, given: dict[str, Any], max_bytes: int) -> Any:
        """Call one of the task's tools. Raises ToolError for any fault of it, Denied when the run must end."""
        try:
            value = await self.client.within(tool.call(given, max_bytes))
        except (ToolError, Denied):
            raise
        except Exception as error:
            raise ToolError(f"{tool.name} failed: {type(error).__name__}: {error}") from error
        return value

    def status(self) -> str:
        """Return the task's status for a turn; an empty one when it fails."""
        try:
            return truncate(self.task.status(), STATUS_BYTES)
        except Exception as error:  # noqa: BLE001  ours, not the model's: the run goes on
            self.trajectory.write("note", note="status failed", error=repr(error))
            return ""

    async def check(self, given: dict[str, object]) -> tuple[str, ...]:
        """Return the problems of a final answer; none, and a note in the trajectory, when the check itself fails."""
        try:
            return (await self.task.check(given)).problems
        except Denied:
            return ()
        except Exception as error:  # noqa: BLE001  ours, not the model's: the caller looks again
            self.trajectory.write("note", note="check failed", error=repr(error))
            return ()

    def item_id(self) -> str:
        """Return an id for the item that is about to stream."""
        return f"item-{self.items.next()}"

    def emit(self, agent: Identity, item: Message, *, final: bool = False) -> None:
        """Emit a message as an event."""
        if self.on_event is not None:
            self.on_event(self._event(agent, item=item, item_id=self.item_id(), final=final))

    def on_delta(self, agent: Identity, item_id: str) -> Callable[[str], None]:
        """Return what takes text as it streams.

        Turns stream also when nobody listens: a long answer then meets no timeout.
        """
        on_event = self.on_event
        if on_event is None:
            return lambda _: None
        return lambda text: on_event(self._event(agent, text_delta=text, item_id=item_id))

    def _event(
        self,
        agent: Identity,
        *,
        item: Message | None = None,
        text_delta: str | None = None,
        item_id: str = "",
        final: bool = False,
    ) -> Event:
        return Event(
            self.events.next(), agent.id, agent.parent_id, agent.parent_tool_call_id, agent.name, agent.depth, item,
            text_delta, item_id, final,
        )  # fmt: skip

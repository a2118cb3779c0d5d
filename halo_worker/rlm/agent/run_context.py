"""What all agents of one run share: models, ledger, record, events, gates; and what is asked of the task."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from halo_worker.rlm.agent.subcalls import SubCalls
from halo_worker.rlm.agent.task import Event, Task
from halo_worker.rlm.budget import BudgetLimits, Denied, Ledger
from halo_worker.rlm.interpreter.protocol import Limits, OpenInterpreter
from halo_worker.rlm.messages import Message
from halo_worker.rlm.provider.model import LanguageModel
from halo_worker.rlm.provider.retrying_client import RetryingClient
from halo_worker.rlm.trajectory import Trajectory
from halo_worker.rlm.truncation import truncate

if TYPE_CHECKING:
    from halo_worker.rlm.agent.loop import Agent

STATUS_BYTES = 2_000  # of what the task has to say before a turn


@dataclass(slots=True)
class Counter:
    """Numbers from 1 that can be kept and taken up again."""

    last: int = 0

    def next(self) -> int:
        """Return the next number."""
        self.last += 1
        return self.last


@dataclass(slots=True, eq=False)
class RunContext:
    """One run's common ground."""

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
    tell: Callable[[Event], None] | None
    after_turn: Callable[[Agent], None]
    gates: dict[int, asyncio.Semaphore] = field(init=False)
    events: Counter = field(default_factory=Counter)
    children: Counter = field(default_factory=Counter)
    items: Counter = field(default_factory=Counter)

    def __post_init__(self) -> None:
        # One gate for each depth: a common one would deadlock when parents hold all of it and wait for children.
        self.gates = {depth: asyncio.Semaphore(self.limits.parallel) for depth in range(1, self.limits.depth + 1)}

    @property
    def ledger(self) -> Ledger:
        """The run's one ledger."""
        return self.client.ledger

    @property
    def subset(self) -> str:
        """What the interpreter runs, in words."""
        return str(getattr(self.open_interpreter, "subset", ""))

    def child(self, parent: Agent, depth: int, call_id: str | None) -> Agent:
        """Make a child of an agent."""
        from halo_worker.rlm.agent.loop import Agent

        number = self.children.next()
        child = Agent(
            self, f"agent-{number}", "sub", depth, self.task.child_system, parent_id=parent.id,
            parent_tool_call_id=call_id,
        )  # fmt: skip
        self.began(child)
        return child

    def began(self, agent: Agent) -> None:
        """Note that an agent began."""
        self.trajectory.write(
            "agent",
            agent_id=agent.id,
            name=agent.name,
            depth=agent.depth,
            parent_agent_id=agent.parent_id,
            parent_tool_call_id=agent.parent_tool_call_id,
        )

    def status(self) -> str:
        """What the task has to say before a turn; a status that fails says nothing."""
        try:
            return truncate(self.task.status(), STATUS_BYTES)
        except Exception as error:  # noqa: BLE001  ours, not the model's: the run goes on
            self.trajectory.write("note", note="status failed", error=repr(error))
            return ""

    async def check(self, given: dict[str, object]) -> tuple[str, ...]:
        """What is wrong with a final answer; a check that fails finds nothing, and says so in the record."""
        try:
            return (await self.task.check(given)).problems
        except Denied:
            return ()
        except Exception as error:  # noqa: BLE001  ours, not the model's: the caller looks again
            self.trajectory.write("note", note="check failed", error=repr(error))
            return ()

    def item_id(self) -> str:
        """Name what is about to stream."""
        return f"item-{self.items.next()}"

    def emit(self, agent: Agent, item: Message, *, final: bool = False) -> None:
        """Tell of a message."""
        if self.tell is not None:
            self.tell(self._event(agent, item=item, item_id=self.item_id(), final=final))

    def on_delta(self, agent: Agent, item_id: str) -> Callable[[str], None]:
        """Where text goes as it streams. Turns stream also when nobody listens: a long answer then meets no timeout."""
        tell = self.tell
        if tell is None:
            return lambda _: None
        return lambda text: tell(self._event(agent, text_delta=text, item_id=item_id))

    def _event(
        self,
        agent: Agent,
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

"""What a run works on (Task), what it emits (Event), and how it and its agents end (Outcome, AgentResult)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from halo_worker.rlm.budget import Stop
from halo_worker.rlm.messages import Message
from halo_worker.rlm.tool import Tool


@dataclass(frozen=True, slots=True)
class Check:
    """The result of checking the arguments of a `final_answer`: problems that a model can fix; none: accepted."""

    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Task:
    """What the loop works on.

    `system` and `child_system` are byte-stable for the whole run, so that providers' prefix caches hit. `status` is
    called before each turn and returns, in a line or two, what only now is known (the engine adds budget and turn).
    `check` looks at a root's `final_answer` arguments; a first failure goes back to the model once, after that the
    caller gets them as they are and drops what does not stand.
    """

    system: str
    child_system: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]
    final_answer: dict[str, Any]  # JSON Schema of the arguments of final_answer
    check: Callable[[dict[str, Any]], Awaitable[Check]]
    status: Callable[[], str] = lambda: ""


@dataclass(frozen=True, slots=True)
class Event:
    """One event, in order over all agents: a message of an agent, or a piece of text as it streams.

    `sequence` is strictly increasing. Exactly one message of a run is `final`, when it ends with an answer.
    """

    sequence: int
    agent_id: str
    parent_agent_id: str | None
    parent_tool_call_id: str | None
    agent_name: str
    depth: int
    item: Message | None = None
    text_delta: str | None = None
    item_id: str = ""
    final: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the loop ended. `arguments` are those of `final_answer`; None when no valid one was given, and `salvaged`
    is then the last text of the root agent, if there is any. `stopped_by` None: the model finished by itself."""

    arguments: dict[str, Any] | None = None
    salvaged: str | None = None
    stopped_by: Stop | None = None
    reason: str = ""  # of stopped_by, for the report: the provider's error, the limit that was reached
    turns: int = 0
    problems: tuple[str, ...] = field(default=())  # what `check` still finds wrong with `arguments`


@dataclass(frozen=True, slots=True)
class AgentResult:
    """How an agent ended. `arguments` of an accepted final answer, else `last_text`: the last thing it wrote."""

    arguments: dict[str, Any] | None = None
    last_text: str | None = None
    stopped_by: Stop | None = None
    reason: str = ""
    problems: tuple[str, ...] = ()

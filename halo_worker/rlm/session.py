"""One run of the engine: its models, its ledger, its cache of sub-call results, its record.

Knows nothing of traces: what a window is, which tools there are and what a finding must hold comes from `analysis`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from halo_worker.rlm.budget import BudgetLimits, Ledger, Stop
from halo_worker.rlm.interpreter import OpenInterpreter
from halo_worker.rlm.model import LanguageModel, Message
from halo_worker.rlm.tool import Tool


@dataclass(frozen=True, slots=True)
class SubResult:
    """The outcome of one sub-call: `value` (text, or validated JSON when a schema was given), or a typed error.

    An error is an object and never text in the data: `{"type": "budget" | "refused" | "unavailable" | "invalid" |
    "truncated", "message": …}`.
    """

    value: Any = None
    error: dict[str, str] | None = None
    cached: bool = False


@dataclass(frozen=True, slots=True)
class Check:
    """What came of looking at the arguments of a `final_answer`: problems a model can mend; none: accepted."""

    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Task:
    """What the loop works on.

    `system` and `child_system` are byte-stable for the whole run, so that providers' prefix caches hit. `status` is
    asked before each turn and says, in a line or two, what only now is known (the engine adds budget and turn).
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
    """What happened, in order over all agents: a message of an agent, or a piece of text as it streams.

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
    is then the last thing the root agent said, if anything. `stopped_by` None: the model finished by itself."""

    arguments: dict[str, Any] | None = None
    salvaged: str | None = None
    stopped_by: Stop | None = None
    reason: str = ""  # of stopped_by, in words for the report: the provider's error, the limit that was reached
    turns: int = 0
    problems: tuple[str, ...] = field(default=())  # what `check` still finds wrong with `arguments`


class Session:
    """One run. `query` and `batch` ask the sub model once a prompt, `loop` works a task turn by turn.

    Everything draws from one `ledger`, passes one retry rule and is written to `work_dir/trajectory.jsonl`; `loop`
    leaves `work_dir/checkpoint.json` after every turn, from which `resume` goes on, also after kill -9. Nothing here
    raises for what a model or provider does: the ledger says what stopped the run.
    """

    def __init__(
        self,
        *,
        root: LanguageModel,
        sub: LanguageModel,
        limits: BudgetLimits,
        open_interpreter: OpenInterpreter,
        work_dir: Path,
        cache_dir: Path | None = None,
        max_retries: int = 6,
        refusal_retries: int = 0,
        emit: Callable[[Event], None] = lambda _: None,
        interrupted: Callable[[], bool] = lambda: False,
        resume: bool = False,
    ) -> None:
        self.ledger = Ledger(limits)
        raise NotImplementedError

    async def query(self, prompt: str, *, schema: dict[str, Any] | None = None, system: str | None = None) -> SubResult:
        """Ask the sub model one thing; with `schema` the value is validated JSON, repaired once or twice."""
        raise NotImplementedError

    async def batch(
        self, prompts: Sequence[str], *, schema: dict[str, Any] | None = None, system: str | None = None
    ) -> list[SubResult]:
        """Ask many things, as many at once as the budget's `parallel` allows; results in the order of the prompts."""
        raise NotImplementedError

    async def ask(
        self, messages: Sequence[Message], *, schema: dict[str, Any] | None = None, tools: Sequence[Tool] = ()
    ) -> SubResult:
        """Ask the root model once, outside of the loop: the direct route, and syntheses."""
        raise NotImplementedError

    async def loop(self, task: Task) -> Outcome:
        """Work a task until `final_answer`, or until the budget ends."""
        raise NotImplementedError

    async def close(self) -> None:
        """End interpreters and connections."""
        raise NotImplementedError

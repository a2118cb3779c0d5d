"""One run of the engine: its models, its ledger, its cache of sub-call results, its record.

Knows nothing of traces: what a window is, which tools there are and what a finding must hold comes from `analysis`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from halo_worker.errors import ModelRefused, ModelUnavailable
from halo_worker.rlm import trajectory
from halo_worker.rlm.agent.checkpoint import Checkpoint
from halo_worker.rlm.agent.conversation import CONTEXT_TOKENS
from halo_worker.rlm.agent.identity import Identity
from halo_worker.rlm.agent.loop import Agent
from halo_worker.rlm.agent.run_context import RunContext
from halo_worker.rlm.agent.subcalls import SubCalls, SubResult, ask_validated
from halo_worker.rlm.agent.task import AgentResult, Check, Event, Outcome, Task
from halo_worker.rlm.budget import BudgetLimits, Denied, Ledger
from halo_worker.rlm.interpreter.protocol import Limits, OpenInterpreter
from halo_worker.rlm.json_schema import BadSchema, Validator
from halo_worker.rlm.messages import Message
from halo_worker.rlm.provider.model import LanguageModel
from halo_worker.rlm.provider.response_cache import ResponseCache
from halo_worker.rlm.provider.retrying_client import BACKOFF_SECONDS, RetryingClient
from halo_worker.rlm.tool import Tool
from halo_worker.rlm.trajectory import Trajectory

__all__ = ["Check", "Event", "Outcome", "Session", "SubResult", "Task"]

ROOT_ID = "root"
ASK_OUTPUT_TOKENS = 16_384  # of one question outside of the loop


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
        emit: Callable[[Event], None] | None = None,
        interrupted: Callable[[], bool] = lambda: False,
        resume: bool = False,
        code_limits: Limits | None = None,
        context_tokens: int = CONTEXT_TOKENS,
        backoff_seconds: float = BACKOFF_SECONDS,
        on_prompt: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.ledger = Ledger(limits)
        self._root, self._sub, self._limits = root, sub, limits
        self._open_interpreter = open_interpreter
        self._work_dir = work_dir
        self._resume = resume
        self._refusal_retries, self._context_tokens = refusal_retries, context_tokens
        self._emit = emit
        self._code_limits = code_limits or Limits()
        record = work_dir / trajectory.NAME
        if resume:
            usage, calls, seconds = trajectory.spent(record)
            self.ledger.resume(usage, model_calls=calls, seconds=seconds)
        self._trajectory = Trajectory(record, lambda: self.ledger.seconds)
        self._client = RetryingClient(
            self.ledger,
            self._trajectory,
            max_retries=max_retries,
            backoff_seconds=backoff_seconds,
            interrupted=interrupted,
        )
        self._cache = ResponseCache(cache_dir)
        self._subcalls = SubCalls(sub, self._client, self._cache, limits.parallel, on_prompt)

    async def query(self, prompt: str, *, schema: dict[str, Any] | None = None, system: str | None = None) -> SubResult:
        """Ask the sub model one thing; with `schema` the value is validated JSON, repaired once or twice."""
        return await self._subcalls.query(prompt, schema=schema, system=system)

    async def batch(
        self, prompts: Sequence[str], *, schema: dict[str, Any] | None = None, system: str | None = None
    ) -> list[SubResult]:
        """Ask many things, as many at once as the budget's `parallel` allows; results in the order of the prompts."""
        return await self._subcalls.batch(prompts, schema=schema, system=system)

    async def ask(
        self, messages: Sequence[Message], *, schema: dict[str, Any] | None = None, tools: Sequence[Tool] = ()
    ) -> SubResult:
        """Ask the root model once, outside of the loop: the direct route, and syntheses.

        It may use what is held back from sub-calls. With `tools`, which are not called here, the value of a reply that
        calls some is `{"content": …, "tool_calls": [{"name", "arguments"}]}`, arguments as text.
        """
        if tools:
            return await self._ask_with(messages, tools, schema)
        try:
            validator = Validator(schema) if schema is not None else None
        except BadSchema as error:
            return SubResult(error={"type": "invalid", "message": str(error)})
        return await ask_validated(
            self._client, self._root, messages, validator, purpose="ask", agent_id=ROOT_ID, output=ASK_OUTPUT_TOKENS,
            final=True,
        )  # fmt: skip

    async def _ask_with(
        self, messages: Sequence[Message], tools: Sequence[Tool], schema: dict[str, Any] | None
    ) -> SubResult:
        try:
            reply = await self._client.ask(
                self._root, messages, purpose="ask", agent_id=ROOT_ID, tools=[tool.spec for tool in tools],
                schema=schema, max_output_tokens=ASK_OUTPUT_TOKENS, final=True,
            )  # fmt: skip
        except Denied as denied:
            self.ledger.stop(denied.stop, denied.reason)
            return SubResult(error={"type": "budget", "message": denied.reason})
        except ModelRefused as error:
            return SubResult(error={"type": "refused", "message": f"{error.code}: {error}"})
        except ModelUnavailable as error:
            return SubResult(error={"type": "unavailable", "message": str(error)})
        if reply.refusal:
            return SubResult(error={"type": "refused", "message": reply.content or "the model declined"})
        if not reply.tool_calls:
            return SubResult(reply.content)
        calls = [{"name": call.name, "arguments": call.arguments} for call in reply.tool_calls]
        return SubResult({"content": reply.content, "tool_calls": calls})

    async def loop(self, task: Task) -> Outcome:
        """Work a task until `final_answer`, or until the budget ends."""
        checkpoint = Checkpoint(self._work_dir)
        state = checkpoint.load() if self._resume else None
        context = self._context(task)
        root = Agent(context, Identity(ROOT_ID, "root"), task.system)
        for message in task.messages:
            root.conversation.add(message)
        if state is not None:
            root.restore(state, checkpoint.variables())
            context.events.last, context.children.last = state["sequence"], state["children"]
        root.after_turn = lambda: checkpoint.save(
            root.state() | {"sequence": context.events.last, "children": context.children.last},
            root.tools.code.variables(),
        )
        context.record_agent(root.identity)
        try:
            ended = await root.run()
        finally:
            await root.close()
        _emit_final(context, root, ended)
        self._trajectory.write(
            "end",
            stopped_by=ended.stopped_by,
            reason=ended.reason or None,
            turns=root.turn,
            answered=ended.arguments is not None,
        )
        return Outcome(
            arguments=ended.arguments,
            salvaged=None if ended.arguments is not None else ended.last_text,
            stopped_by=ended.stopped_by,
            reason=ended.reason,
            turns=root.turn,
            problems=ended.problems,
        )

    async def close(self) -> None:
        """End interpreters and connections."""
        for model in {id(self._root): self._root, id(self._sub): self._sub}.values():
            await model.close()
        self._cache.prune()
        self._trajectory.close()

    def _context(self, task: Task) -> RunContext:
        return RunContext(
            task=task,
            model=self._root,
            client=self._client,
            subcalls=self._subcalls,
            limits=self._limits,
            trajectory=self._trajectory,
            open_interpreter=self._open_interpreter,
            code_limits=self._code_limits,
            refusal_retries=self._refusal_retries,
            context_tokens=self._context_tokens,
            on_event=self._emit,
        )


def _emit_final(context: RunContext, root: Agent, ended: AgentResult) -> None:
    if ended.arguments is not None:
        answer = ended.arguments.get("answer")
        text = answer if isinstance(answer, str) else repr(ended.arguments)
        context.emit(root.identity, Message("assistant", text), final=True)

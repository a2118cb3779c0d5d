"""What an agent can call, as tools and from code: the task's tools, code, sub-agents, elided results, final_answer."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from halo_worker.errors import InterpreterGone
from halo_worker.rlm import arguments, prompts
from halo_worker.rlm.actions import CALL_SUBAGENT, FINAL_ANSWER, GET_CONTEXT_ITEM, RUN_CODE
from halo_worker.rlm.budget import Denied
from halo_worker.rlm.fit import clip, text_of
from halo_worker.rlm.host import Host
from halo_worker.rlm.interpreter import Executed, Interpreter
from halo_worker.rlm.model import Message, ToolCall, ToolSpec
from halo_worker.rlm.subcalls import canonical
from halo_worker.rlm.tool import MODEL_BYTES, Tool, ToolError

if TYPE_CHECKING:
    from halo_worker.rlm.agent import Agent

MAX_CALLS_A_TURN = 64
ERROR_BYTES = 4_000  # of what a call that failed is answered with
REPEATED = 3  # from which the same call is remarked upon
NOTE_BYTES = 200  # of MODEL_BYTES, for the mark around a result, and as much for what is appended to it
QUESTION_CHARACTERS = 100_000  # of what a child is given


def _object(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


_TEXT = {"type": "string"}
_SUBAGENT = ToolSpec(CALL_SUBAGENT, prompts.CALL_SUBAGENT, _object(["input"], input=_TEXT))
_ITEM = ToolSpec(GET_CONTEXT_ITEM, prompts.GET_CONTEXT_ITEM, _object(["item_id"], item_id=_TEXT))


class Hands:
    """The functions of one agent."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._shared = agent.shared
        self._tools: dict[str, Tool] = {tool.name: tool for tool in agent.shared.task.tools}
        self._interpreter: Interpreter | None = None
        self._running = asyncio.Lock()
        self._host = Host(agent)
        self.made: Counter[str] = Counter()  # calls by name and arguments
        self.snapshot: bytes | None = None  # to begin with
        self.saved: bytes | None = None  # the variables that were written last
        described = prompts.run_code(self._shared.subset, recursion=self.may_recurse)
        own = [ToolSpec(RUN_CODE, described, _object(["code"], code=_TEXT))]
        if self.may_recurse:
            own.append(_SUBAGENT)
        own.append(_ITEM)
        if agent.root:
            own.append(ToolSpec(FINAL_ANSWER, prompts.FINAL_ANSWER, self._shared.task.final_answer))
        taken = {spec.name for spec in own}
        self._tools = {name: tool for name, tool in self._tools.items() if name not in taken}
        self.specs: tuple[ToolSpec, ...] = (*(tool.spec for tool in self._tools.values()), *own)
        self.names = frozenset(spec.name for spec in self.specs)

    @property
    def may_recurse(self) -> bool:
        """Whether it may have children."""
        return self._agent.depth < self._shared.limits.depth

    def schema(self, name: str) -> Mapping[str, Any]:
        """The schema of a tool's arguments."""
        return next((spec.parameters for spec in self.specs if spec.name == name), {})

    async def call(self, name: str, given: dict[str, Any], max_bytes: int, call_id: str | None) -> Any:
        """Call a tool. Raises ToolError for whatever goes wrong in it, Denied when the run must end."""
        if name == RUN_CODE:
            return await self._run_code(str(given["code"]), call_id)
        if name == CALL_SUBAGENT:
            return await self.subagent(str(given["input"]), call_id)
        if name == GET_CONTEXT_ITEM:
            return self.item(str(given["item_id"]), max_bytes)
        return await self.task_tool(self._tools[name], given, max_bytes)

    async def close(self) -> None:
        """End the interpreter."""
        if self._interpreter is not None:
            await self._interpreter.close()

    def keep(self) -> bytes | None:
        """The interpreter's variables, as they are now."""
        return self.snapshot if self._interpreter is None else self._interpreter.snapshot()

    async def make(self, calls: Sequence[ToolCall]) -> list[str | BaseException]:
        """Make calls side by side; the results, as the model reads them, stand in the order of the calls.

        A call that was not made, since the run must end, has the Denied in its place.
        """
        gate = asyncio.Semaphore(self._shared.limits.parallel)

        async def one(call: ToolCall) -> str:
            async with gate:
                return await self._make(call)

        made = await asyncio.gather(*(one(call) for call in calls[:MAX_CALLS_A_TURN]), return_exceptions=True)
        return [*made, *(prompts.TOO_MANY for _ in calls[MAX_CALLS_A_TURN:])]

    async def _make(self, call: ToolCall) -> str:
        """Make one call, mark its result as data, and record it. Raises Denied."""
        self._agent.calls_made += 1
        began = self._shared.ledger.seconds
        failed = False
        try:
            name = arguments.resolve(call.name, self.names)
            given = arguments.read(name, call.arguments, self.schema(name))
            value = await self.call(name, given, MODEL_BYTES - 2 * NOTE_BYTES, call.id)
            text = prompts.as_data(name, text_of(value), MODEL_BYTES - NOTE_BYTES)
            key = f"{name}{canonical(given).decode()}"
            self.made[key] += 1
            if self.made[key] >= REPEATED:
                text += prompts.repeated(self.made[key])
        except ToolError as error:
            failed = True
            text = text_of({"error": clip(str(error), ERROR_BYTES)})
        except Denied:
            raise
        except Exception as error:  # noqa: BLE001  a bug of ours: the model is told, and the run goes on
            failed = True
            text = text_of({"error": clip(f"{type(error).__name__}: {error}", ERROR_BYTES)})
        self._shared.trajectory.write(
            "tool",
            agent_id=self._agent.id,
            tool_call_id=call.id,
            name=call.name,
            arguments=call.arguments,
            result=text,
            failed=failed or None,
            seconds=round(self._shared.ledger.seconds - began, 4),
        )
        return text

    async def task_tool(self, tool: Tool, given: dict[str, Any], max_bytes: int) -> Any:
        """Call one of the task's tools. Raises ToolError for whatever goes wrong in it, Denied."""
        try:
            value = await self._shared.asking.within(tool.call(given, max_bytes))
        except (ToolError, Denied):
            raise
        except Exception as error:
            raise ToolError(f"{tool.name} failed: {type(error).__name__}: {error}") from error
        return value

    def item(self, item_id: str, max_bytes: int) -> str:
        """Return an elided result. Raises ToolError naming those that there are."""
        text = self._agent.conversation.item(item_id, max_bytes)
        if text is None:
            known = ", ".join(list(self._agent.conversation.items)[-20:]) or "none"
            raise ToolError(f"there is no item {item_id[:80]!r}. Elided so far: {known}")
        return text

    async def _run_code(self, code: str, call_id: str | None) -> dict[str, Any]:
        async with self._running:
            if self._interpreter is None:
                self._interpreter = await self._shared.open_interpreter(
                    self._host.functions(self._tools), self._shared.code_limits
                )
                if self.snapshot is not None:
                    self._interpreter.restore(self.snapshot)
            self._host.call_id = call_id
            try:
                return _shown(await self._shared.asking.within(self._interpreter.execute(code)))
            except InterpreterGone as error:
                raise ToolError(f"{error}. Use the other tools.") from error

    async def subagent(self, question: str, call_id: str | None) -> dict[str, Any]:
        """Let a child work; it ends in an answer, whatever it meets."""
        if len(question) > QUESTION_CHARACTERS:
            raise ToolError(f"the input has {len(question):,} characters, at most {QUESTION_CHARACTERS:,} are taken")
        depth = self._agent.depth + 1
        if depth > self._shared.limits.depth:
            raise ToolError(f"sub-agents may not nest deeper than {self._shared.limits.depth}")
        await self._shared.asking.within(self._shared.gates[depth].acquire())
        try:
            child = self._shared.child(self._agent, depth, call_id)
            child.conversation.add(Message("user", question))
            try:
                ended = await child.run()
            finally:
                await child.hands.close()
        finally:
            self._shared.gates[depth].release()
        answer = (ended.arguments or {}).get("answer") or ended.said or ""
        result: dict[str, Any] = {
            "child_agent_id": child.id,
            "answer": prompts.clipped_for_children(str(answer)),
            "turns_used": child.turn,
            "tool_calls_made": child.calls_made,
        }
        if ended.stopped_by is not None:
            result |= {"stopped_by": ended.stopped_by, "note": f"{prompts.SALVAGE_NOTE} {ended.reason}"}
        return result


def _shown(executed: Executed) -> dict[str, Any]:
    """An execution as the model reads it: what it printed, its last value, and its error."""
    out = executed.stdout
    if executed.output_left_out:
        out += f"\n… [{executed.output_left_out:,} more bytes were printed and are left out: print less]"
    shown: dict[str, Any] = {"exit_code": 0 if executed.failure is None else 1, "stdout": out}
    if executed.value is not None:
        shown["value"] = executed.value
    if executed.message:
        shown["stderr"] = executed.message[-6_000:]
    if executed.failure is not None:
        shown |= {"failure": executed.failure, "timed_out": executed.failure == "time"}
    return shown

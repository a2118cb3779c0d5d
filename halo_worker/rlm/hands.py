"""What an agent can call, as tools and from code: the task's tools, code, sub-agents, elided results, final_answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson

from halo_worker.errors import InterpreterGone
from halo_worker.rlm import arguments, prompts
from halo_worker.rlm.actions import FINAL_ANSWER, RUN_CODE
from halo_worker.rlm.budget import Denied
from halo_worker.rlm.fit import text_of
from halo_worker.rlm.interpreter import Executed, HostFunction, Interpreter
from halo_worker.rlm.model import Message, ToolSpec
from halo_worker.rlm.subcalls import as_data
from halo_worker.rlm.tool import CODE_BYTES, Tool, ToolError

if TYPE_CHECKING:
    from halo_worker.rlm.agent import Agent

MAX_BATCH = 2_000  # prompts of one llm_query_batched
QUESTION_CHARACTERS = 100_000  # of what a child is given
MAX_CHILDREN = 50  # questions of one rlm_query_batched
CALL_SUBAGENT, GET_CONTEXT_ITEM = "call_subagent", "get_context_item"


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
        self._code_call_id: str | None = None  # of the run_code that runs: the parent of children from code
        self.snapshot: bytes | None = None  # to begin with
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
            return await self._subagent(str(given["input"]), call_id)
        if name == GET_CONTEXT_ITEM:
            return self._item(str(given["item_id"]), max_bytes)
        return await self._task_tool(self._tools[name], given, max_bytes)

    async def close(self) -> None:
        """End the interpreter."""
        if self._interpreter is not None:
            await self._interpreter.close()

    def keep(self) -> bytes | None:
        """The interpreter's variables, as they are now."""
        return self.snapshot if self._interpreter is None else self._interpreter.snapshot()

    async def _task_tool(self, tool: Tool, given: dict[str, Any], max_bytes: int) -> Any:
        try:
            value = await self._shared.asking.within(tool.call(given, max_bytes))
        except (ToolError, Denied):
            raise
        except Exception as error:
            raise ToolError(f"{tool.name} failed: {type(error).__name__}: {error}") from error
        return value

    def _item(self, item_id: str, max_bytes: int) -> str:
        text = self._agent.conversation.item(item_id, max_bytes)
        if text is None:
            known = ", ".join(list(self._agent.conversation.items)[-20:]) or "none"
            raise ToolError(f"there is no item {item_id[:80]!r}. Elided so far: {known}")
        return text

    async def _run_code(self, code: str, call_id: str | None) -> dict[str, Any]:
        async with self._running:
            if self._interpreter is None:
                self._interpreter = await self._shared.open_interpreter(self._functions(), self._shared.code_limits)
                if self.snapshot is not None:
                    self._interpreter.restore(self.snapshot)
            self._code_call_id = call_id
            try:
                return _shown(await self._shared.asking.within(self._interpreter.execute(code)))
            except InterpreterGone as error:
                raise ToolError(f"{error}. Use the other tools.") from error

    def _functions(self) -> dict[str, HostFunction]:
        """Every tool by name, the sub-model, and children, as code calls them."""
        functions = {name: self._as_function(tool) for name, tool in self._tools.items()}
        functions |= {
            "llm_query": self._llm_query,
            "llm_query_batched": self._llm_query_batched,
            GET_CONTEXT_ITEM: self._context_item,
        }
        if self.may_recurse:

            async def call_subagent(input: str) -> dict[str, Any]:  # noqa: A002  the name that models know
                return await self._subagent(str(input), self._code_call_id)

            async def rlm_query(question: str) -> str:
                return str((await self._subagent(str(question), self._code_call_id))["answer"])

            async def rlm_query_batched(questions: list[str]) -> list[Any]:
                if not isinstance(questions, list) or len(questions) > MAX_CHILDREN:
                    raise ToolError(f"rlm_query_batched takes a list of at most {MAX_CHILDREN} questions")
                return list(await asyncio.gather(*(rlm_query(question) for question in questions)))

            functions |= {
                CALL_SUBAGENT: call_subagent,
                "rlm_query": rlm_query,
                "rlm_query_batched": rlm_query_batched,
            }
        if self._agent.root:
            functions[FINAL_ANSWER] = self._final_answer
        return functions

    def _as_function(self, tool: Tool) -> HostFunction:
        async def function(*args: Any, **kwargs: Any) -> Any:
            named = arguments.positional(tool.name, args, kwargs, tool.spec.parameters)
            given = arguments.fit(tool.name, plain(named), tool.spec.parameters)
            value = plain(await self._task_tool(tool, given, CODE_BYTES))
            size = len(text_of(value).encode("utf-8", "replace"))
            if size > CODE_BYTES:
                raise ToolError(
                    f"{tool.name} returned {size:,} bytes, {CODE_BYTES:,} are the most: ask for less at once"
                )
            return value

        return function

    async def _llm_query(self, prompt: Any, system: Any = None, schema: Any = None) -> Any:
        if isinstance(system, dict):  # written as llm_query(prompt, schema)
            system, schema = None, system
        result = await self._shared.subcalls.query(
            _prompt(prompt), schema=schema, system=None if system is None else str(system), agent_id=self._agent.id
        )
        if result.error is not None:
            raise ToolError(f"llm_query: {result.error['type']}: {result.error['message']}")
        return result.value

    async def _llm_query_batched(
        self, asked: Any = None, schema: Any = None, system: Any = None, **more: Any
    ) -> list[Any]:
        asked = more.pop("prompts", asked)
        if more:
            raise TypeError(f"llm_query_batched takes prompts, schema and system, not {', '.join(more)}")
        if not isinstance(asked, list | tuple):
            raise ToolError("llm_query_batched takes a list of prompts")
        if len(asked) > MAX_BATCH:
            raise ToolError(
                f"{len(asked):,} prompts at once, at most {MAX_BATCH:,}: put several questions into one prompt"
            )
        if isinstance(schema, str):
            schema, system = None, schema
        results = await self._shared.subcalls.batch(
            [_prompt(one) for one in asked],
            schema=schema,
            system=None if system is None else str(system),
            agent_id=self._agent.id,
        )
        return [as_data(result) for result in results]

    async def _context_item(self, item_id: str) -> str:
        return self._item(str(item_id), CODE_BYTES)

    async def _final_answer(self, *args: Any, **kwargs: Any) -> str:
        if not self._agent.may_finish:
            raise ToolError("call final_answer as a tool: code that stands in text cannot end the run")
        schema = self._shared.task.final_answer
        given = arguments.fit(FINAL_ANSWER, plain(arguments.positional(FINAL_ANSWER, args, kwargs, schema)), schema)
        said = await self._agent.offer(given)
        if self._agent.ended is None:
            raise ToolError(said)
        return said

    async def _subagent(self, question: str, call_id: str | None) -> dict[str, Any]:
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
    if executed.failure is not None:
        shown |= {"failure": executed.failure, "stderr": executed.message[-6_000:]}
        shown["timed_out"] = executed.failure == "time"
    return shown


def _prompt(value: Any) -> str:
    return value if isinstance(value, str) else text_of(value)


def plain(value: Any) -> Any:
    """Return a value as JSON has it: tuples as lists, times and the rest as text."""
    try:
        return orjson.loads(orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS))
    except (TypeError, ValueError, RecursionError) as error:
        raise ToolError(f"the value is not JSON: {error}") from None

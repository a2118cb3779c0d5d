"""What model-written code can call: every tool by name, the sub-model, children; results whole, errors raised."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson

from halo_worker.rlm.agent import tool_arguments
from halo_worker.rlm.agent.builtin_tools import CALL_SUBAGENT, FINAL_ANSWER, GET_CONTEXT_ITEM
from halo_worker.rlm.agent.subcalls import as_data
from halo_worker.rlm.interpreter.protocol import HostFunction
from halo_worker.rlm.tool import CODE_BYTES, Tool, ToolError
from halo_worker.rlm.truncation import text_of

if TYPE_CHECKING:
    from halo_worker.rlm.agent.loop import Agent

MAX_BATCH = 2_000  # prompts of one llm_query_batched
MAX_CHILDREN = 50  # questions of one rlm_query_batched


class HostFunctions:
    """The functions of one agent's interpreter. `call_id`: the run_code that runs, the parent of children from it."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._shared = agent.shared
        self.call_id: str | None = None

    def functions(self, tools: Mapping[str, Tool]) -> dict[str, HostFunction]:
        """Every tool by name, the sub-model, and children, as code calls them."""
        functions = {name: self._as_function(tool) for name, tool in tools.items()}
        functions |= {
            "llm_query": self._llm_query,
            "llm_query_batched": self._llm_query_batched,
            GET_CONTEXT_ITEM: self._context_item,
        }
        if self._agent.hands.may_recurse:

            async def call_subagent(input: str) -> dict[str, Any]:  # noqa: A002  the name that models know
                return await self._agent.hands.subagent(str(input), self.call_id)

            async def rlm_query(question: str) -> str:
                return str((await self._agent.hands.subagent(str(question), self.call_id))["answer"])

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
            named = tool_arguments.positional(tool.name, args, kwargs, tool.spec.parameters)
            given = tool_arguments.fit(tool.name, plain(named), tool.spec.parameters)
            value = plain(await self._agent.hands.task_tool(tool, given, CODE_BYTES))
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
        return self._agent.hands.item(str(item_id), CODE_BYTES)

    async def _final_answer(self, *args: Any, **kwargs: Any) -> str:
        if not self._agent.may_finish:
            raise ToolError("call final_answer as a tool: code that stands in text cannot end the run")
        schema = self._shared.task.final_answer
        named = tool_arguments.positional(FINAL_ANSWER, args, kwargs, schema)
        given = tool_arguments.fit(FINAL_ANSWER, plain(named), schema)
        said = await self._agent.offer(given)
        if self._agent.ended is None:
            raise ToolError(said)
        return said


def _prompt(value: Any) -> str:
    return value if isinstance(value, str) else text_of(value)


def plain(value: Any) -> Any:
    """Return a value as JSON has it: tuples as lists, times and the rest as text."""
    try:
        return orjson.loads(orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS))
    except (TypeError, ValueError, RecursionError) as error:
        raise ToolError(f"the value is not JSON: {error}") from None

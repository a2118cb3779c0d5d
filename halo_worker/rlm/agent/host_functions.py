"""The functions that code of an agent can call: every tool by name, the sub-model, sub-agents, the final answer.

They return whole values and raise errors.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from halo_worker.rlm.agent import tool_arguments
from halo_worker.rlm.agent.builtin_tools import CALL_SUBAGENT, FINAL_ANSWER, GET_CONTEXT_ITEM
from halo_worker.rlm.agent.conversation import Conversation
from halo_worker.rlm.agent.final_answer import FinalAnswer
from halo_worker.rlm.agent.run_context import RunContext
from halo_worker.rlm.agent.subagents import SubAgents
from halo_worker.rlm.agent.subcalls import as_data
from halo_worker.rlm.interpreter.protocol import HostFunction
from halo_worker.rlm.tool import CODE_BYTES, Tool, ToolError, json_value
from halo_worker.rlm.truncation import text_of

MAX_BATCH = 2_000  # prompts of one llm_query_batched
MAX_CHILDREN = 50  # questions of one rlm_query_batched


@dataclass(slots=True, eq=False)
class HostFunctions:
    """The functions of one agent's interpreter. `call_id`: the run_code that runs, the parent of sub-agents from it.

    `subagents` and `final` are None for an agent that may not have, or give, them.
    """

    context: RunContext
    agent_id: str
    conversation: Conversation
    subagents: SubAgents | None
    final: FinalAnswer | None
    call_id: str | None = None

    def functions(self, tools: Mapping[str, Tool]) -> dict[str, HostFunction]:
        """Return every tool by name, the sub-model, sub-agents and final_answer, as code calls them."""
        functions = {name: self._as_function(tool) for name, tool in tools.items()}
        functions |= {
            "llm_query": self._llm_query,
            "llm_query_batched": self._llm_query_batched,
            GET_CONTEXT_ITEM: self._context_item,
        }
        if self.subagents is not None:
            functions |= self._recursion(self.subagents)
        if self.final is not None:
            functions[FINAL_ANSWER] = self._final_answer
        return functions

    def _recursion(self, subagents: SubAgents) -> dict[str, HostFunction]:
        async def call_subagent(input: str) -> dict[str, Any]:  # noqa: A002  the name that models know
            return await subagents.ask(str(input), self.call_id)

        async def rlm_query(question: str) -> str:
            return str((await subagents.ask(str(question), self.call_id))["answer"])

        async def rlm_query_batched(questions: list[str]) -> list[Any]:
            if not isinstance(questions, list) or len(questions) > MAX_CHILDREN:
                raise ToolError(f"rlm_query_batched takes a list of at most {MAX_CHILDREN} questions")
            return list(await asyncio.gather(*(rlm_query(question) for question in questions)))

        return {CALL_SUBAGENT: call_subagent, "rlm_query": rlm_query, "rlm_query_batched": rlm_query_batched}

    def _as_function(self, tool: Tool) -> HostFunction:
        async def function(*args: Any, **kwargs: Any) -> Any:
            named = tool_arguments.name_positional(tool.name, args, kwargs, tool.spec.parameters)
            given = tool_arguments.validate(tool.name, json_value(named), tool.spec.parameters)
            value = json_value(await self.context.call_tool(tool, given, CODE_BYTES))
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
        result = await self.context.subcalls.query(
            _prompt(prompt), schema=schema, system=None if system is None else str(system), agent_id=self.agent_id
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
        results = await self.context.subcalls.batch(
            [_prompt(one) for one in asked],
            schema=schema,
            system=None if system is None else str(system),
            agent_id=self.agent_id,
        )
        return [as_data(result) for result in results]

    async def _context_item(self, item_id: str) -> str:
        return self.conversation.item(str(item_id), CODE_BYTES)

    async def _final_answer(self, *args: Any, **kwargs: Any) -> str:
        assert self.final is not None
        return await self.final.from_code(args, kwargs)


def _prompt(value: Any) -> str:
    return value if isinstance(value, str) else text_of(value)

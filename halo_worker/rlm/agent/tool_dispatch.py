"""How the tool calls of one agent are made: side by side, each result bounded, marked as data and recorded."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from halo_worker.rlm.agent import prompts, tool_arguments
from halo_worker.rlm.agent.builtin_tools import CALL_SUBAGENT, GET_CONTEXT_ITEM, RUN_CODE, builtin_tools
from halo_worker.rlm.agent.code_execution import CodeExecution
from halo_worker.rlm.agent.conversation import Conversation
from halo_worker.rlm.agent.final_answer import FinalAnswer
from halo_worker.rlm.agent.host_functions import HostFunctions
from halo_worker.rlm.agent.run_context import RunContext
from halo_worker.rlm.agent.subagents import SubAgents
from halo_worker.rlm.budget import Denied
from halo_worker.rlm.messages import ToolCall, ToolSpec
from halo_worker.rlm.tool import MODEL_BYTES, ToolError
from halo_worker.rlm.truncation import text_of, truncate

MAX_CALLS_A_TURN = 64
ERROR_BYTES = 4_000  # of the error of a call that failed
REPEATED = 3  # from which a note is added to the result of the same call
NOTE_BYTES = 200  # of MODEL_BYTES, for the mark around a result, and as much for what is appended to it


class ToolDispatch:
    """The tools of one agent. `final` is None for a sub-agent, which answers in text."""

    def __init__(
        self,
        context: RunContext,
        agent_id: str,
        conversation: Conversation,
        subagents: SubAgents,
        final: FinalAnswer | None,
    ) -> None:
        self._context = context
        self._agent_id = agent_id
        self._conversation = conversation
        self._subagents = subagents
        self.calls_made = 0
        self.results: Counter[str] = Counter()  # calls that gave a result, by name and arguments
        own = builtin_tools(
            context.subset,
            recursion=subagents.allowed,
            final_answer=context.task.final_answer if final is not None else None,
        )
        taken = {spec.name for spec in own}
        self._tools = {tool.name: tool for tool in context.task.tools if tool.name not in taken}
        self.specs: tuple[ToolSpec, ...] = (*(tool.spec for tool in self._tools.values()), *own)
        self.names = frozenset(spec.name for spec in self.specs)
        recursion = subagents if subagents.allowed else None
        host = HostFunctions(context, agent_id, conversation, recursion, final)
        self.code = CodeExecution(context, host, self._tools)

    async def make(self, calls: Sequence[ToolCall]) -> list[str | BaseException]:
        """Make calls side by side; the results, as the model reads them, stand in the order of the calls.

        A call that was not made, since the run must end, has the Denied in its place.
        """
        gate = asyncio.Semaphore(self._context.limits.parallel)

        async def one(call: ToolCall) -> str:
            async with gate:
                return await self._make(call)

        made = await asyncio.gather(*(one(call) for call in calls[:MAX_CALLS_A_TURN]), return_exceptions=True)
        return [*made, *(prompts.TOO_MANY for _ in calls[MAX_CALLS_A_TURN:])]

    async def _make(self, call: ToolCall) -> str:
        """Make one call, mark its result as data, and record it. Raises Denied."""
        self.calls_made += 1
        began = self._context.ledger.seconds
        failed = False
        try:
            name = tool_arguments.resolve_name(call.name, self.names)
            given = tool_arguments.parse(name, call.arguments, self._schema(name))
            value = await self._call(name, given, call.id)
            text = prompts.as_data(name, text_of(value), MODEL_BYTES - NOTE_BYTES)
            key = _key(name, given)
            self.results[key] += 1
            if self.results[key] >= REPEATED:
                text += prompts.repeated(self.results[key])
        except ToolError as error:
            failed = True
            text = text_of({"error": truncate(str(error), ERROR_BYTES)})
        except Denied:
            raise
        except Exception as error:  # noqa: BLE001  a bug of ours: the model gets an error, and the run goes on
            failed = True
            text = text_of({"error": truncate(f"{type(error).__name__}: {error}", ERROR_BYTES)})
        self._context.trajectory.write(
            "tool",
            agent_id=self._agent_id,
            tool_call_id=call.id,
            name=call.name,
            arguments=call.arguments,
            result=text,
            failed=failed or None,
            seconds=round(self._context.ledger.seconds - began, 4),
        )
        return text

    async def _call(self, name: str, given: dict[str, Any], call_id: str) -> Any:
        max_bytes = MODEL_BYTES - 2 * NOTE_BYTES
        if name == RUN_CODE:
            return await self.code.run(str(given["code"]), call_id)
        if name == CALL_SUBAGENT:
            return await self._subagents.ask(str(given["input"]), call_id)
        if name == GET_CONTEXT_ITEM:
            return self._conversation.item(str(given["item_id"]), max_bytes)
        return await self._context.call_tool(self._tools[name], given, max_bytes)

    def _schema(self, name: str) -> Mapping[str, Any]:
        return next((spec.parameters for spec in self.specs if spec.name == name), {})


def _key(name: str, given: dict[str, Any]) -> str:
    """Name a call by its tool and arguments, to tell equal ones."""
    options = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
    return name + orjson.dumps(given, option=options, default=str).decode()

"""When a final answer is accepted, and when it goes back to the model: once, with what the task's check found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from halo_worker.rlm.agent import prompts, tool_arguments
from halo_worker.rlm.agent.builtin_tools import FINAL_ANSWER
from halo_worker.rlm.agent.run_context import RunContext
from halo_worker.rlm.agent.task import AgentResult
from halo_worker.rlm.tool import ToolError, json_value
from halo_worker.rlm.truncation import text_of


@dataclass(slots=True, eq=False)
class FinalAnswer:
    """The final answer of one agent. `result` is set once it is accepted."""

    context: RunContext
    agent_id: str
    result: AgentResult | None = None
    returned: bool = False  # whether one went back to the model
    offered: dict[str, Any] | None = None  # the one that went back: it counts where no other comes
    # A model that makes native calls ends the run by one: its text may be a quotation, also of code that would end it.
    allowed_in_code: bool = True

    async def from_call(self, text: str, *, last: bool = False) -> str:
        """Take the arguments of a tool call, as JSON text; return what the model is answered."""
        try:
            given = tool_arguments.parse(FINAL_ANSWER, text, self.context.task.final_answer)
        except ToolError as error:
            return text_of({"error": str(error)})
        return await self._offer(given, last=last)

    async def from_code(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Take the arguments of a call from code. Raises ToolError unless it is accepted."""
        if not self.allowed_in_code:
            raise ToolError("call final_answer as a tool: code that stands in text cannot end the run")
        schema = self.context.task.final_answer
        named = tool_arguments.name_positional(FINAL_ANSWER, args, kwargs, schema)
        given = tool_arguments.validate(FINAL_ANSWER, json_value(named), schema)
        answer = await self._offer(given)
        if self.result is None:
            raise ToolError(answer)
        return answer

    async def _offer(self, given: dict[str, Any], *, last: bool = False) -> str:
        if self.result is not None:
            return prompts.ACCEPTED
        problems = await self.context.check(given)
        if problems and not self.returned and not last:
            self.returned, self.offered = True, given
            self.context.trajectory.write("note", agent_id=self.agent_id, note="repair", problems=list(problems))
            return prompts.rejected(problems)
        self.result = AgentResult(arguments=given, problems=problems)
        return prompts.ACCEPTED

"""The tools that every agent has beside those of its task: code, sub-agents, elided results, the final answer."""

from __future__ import annotations

from typing import Any

from halo_worker.rlm.agent import prompts
from halo_worker.rlm.messages import ToolSpec

RUN_CODE, CALL_SUBAGENT, GET_CONTEXT_ITEM = "run_code", "call_subagent", "get_context_item"
FINAL_ANSWER = "final_answer"


def builtin_tools(subset: str, *, recursion: bool, final_answer: dict[str, Any] | None) -> tuple[ToolSpec, ...]:
    """Return the built-in tools of an agent, in the order in which a model is told of them.

    `subset` says what of Python the interpreter runs; `recursion`: whether it may have sub-agents; `final_answer`: the
    JSON Schema of its arguments, None for an agent that ends by answering in text.
    """
    tools = [ToolSpec(RUN_CODE, prompts.run_code(subset, recursion=recursion), _object(code="string"))]
    if recursion:
        tools.append(ToolSpec(CALL_SUBAGENT, prompts.CALL_SUBAGENT, _object(input="string")))
    tools.append(ToolSpec(GET_CONTEXT_ITEM, prompts.GET_CONTEXT_ITEM, _object(item_id="string")))
    if final_answer is not None:
        tools.append(ToolSpec(FINAL_ANSWER, prompts.FINAL_ANSWER, final_answer))
    return tuple(tools)


def _object(**types: str) -> dict[str, Any]:
    properties = {name: {"type": kind} for name, kind in types.items()}
    return {"type": "object", "properties": properties, "required": list(types), "additionalProperties": False}

"""synthesize_traces: the sub model reads some traces and sums up what they have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from halo_worker.analysis.prompts import SYNTHESIS, marked
from halo_worker.analysis.tools.fit import cut
from halo_worker.analysis.tools.shared import Desk, tool
from halo_worker.analysis.tools.steps import pages
from halo_worker.rlm.agent.session import SubResult
from halo_worker.rlm.tool import Tool, ToolError

MAX_TRACES = 40
TRACE_BYTES = 8_000
ALL_BYTES = 120_000  # of the traces in one prompt

Ask = Callable[[str], Awaitable[SubResult]]


def synthesis_tool(desk: Desk, ask: Ask) -> Tool:
    """Return the tool."""

    async def call(arguments: dict[str, Any], max_bytes: int) -> Any:
        wanted = arguments.get("trace_ids")
        wanted = [wanted] if isinstance(wanted, str) else wanted
        if not isinstance(wanted, list) or not wanted:
            raise ToolError("trace_ids is a list of ids; query_traces returns them")
        ids = [await desk.trace_id(one) for one in wanted[:MAX_TRACES]]
        each = min(TRACE_BYTES, ALL_BYTES // len(ids))
        texts = await asyncio.gather(*(rendered(desk, one, each) for one in ids))
        answer = await ask(
            SYNTHESIS.format(focus=arguments.get("focus") or "what goes wrong in them", data=marked("\n".join(texts)))
        )
        if answer.error is not None:
            raise ToolError(f"the traces were not summed up: {answer.error.get('message', '')[:500]}")
        result = {"summary": cut(str(answer.value), max_bytes // 2), "traces": len(ids)}
        if len(wanted) > len(ids):
            result["left_out"] = f"{len(wanted) - len(ids)} traces: at most {MAX_TRACES} at once"
        return result

    return tool(
        "synthesize_traces",
        "Have the sub model read up to 40 traces and sum up what they share; its words are not evidence.",
        {"trace_ids": {"type": "array", "items": {"type": "string"}}, "focus": {"type": "string"}},
        call,
        required=["trace_ids"],
    )


async def rendered(desk: Desk, trace_id: str, max_bytes: int) -> str:
    """Return a trace as steps for a prompt: all of them, or those that fit."""
    return (await pages(desk, trace_id, max_bytes))[0].text

"""A small task for the engine, and sessions against a scripted server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import genai_prices  # noqa: F401  half a second, and a second for openai: no test's deadline pays for it
import openai  # noqa: F401
import pytest

from halo_worker.rlm.agent.session import Check, Event, Session, Task
from halo_worker.rlm.budget import BudgetLimits
from halo_worker.rlm.interpreter.monty_interpreter import OpenMonty
from halo_worker.rlm.messages import Message, ToolSpec
from halo_worker.rlm.provider.model import LanguageModel
from halo_worker.rlm.provider.openai_model import OpenAIModel
from halo_worker.rlm.tool import Tool, ToolError
from tests.scripted_model import ScriptedModel

ANSWER = {
    "type": "object",
    "properties": {"answer": {"type": "string"}, "findings": {"type": "array", "items": {"type": "object"}}},
    "required": ["answer"],
    "additionalProperties": False,
}


async def numbers(given: dict[str, Any], _: int) -> Any:
    """A tool that lists numbers."""
    if given["limit"] > 1_000_000:
        raise ToolError("limit is at most 1000000")
    return {"numbers": list(range(given["limit"])), "left_out": 0}


async def flood(_: dict[str, Any], __: int) -> Any:
    """A tool that keeps to no limit."""
    return "é" * 200_000


async def broken(_: dict[str, Any], __: int) -> Any:
    """A tool with a bug."""
    raise KeyError("bug")


def tool(name: str, call: Callable[[dict[str, Any], int], Awaitable[Any]], **properties: Any) -> Tool:
    parameters = {"type": "object", "properties": properties, "required": [], "additionalProperties": False}
    return Tool(ToolSpec(name, f"{name}, for a test.", parameters), call)


TOOLS = (
    tool("list_numbers", numbers, limit={"type": "integer"}, names={"type": "array", "items": {"type": "string"}}),
    tool("flood", flood),
    tool("broken", broken),
)


async def accept(_: dict[str, Any]) -> Check:
    return Check()


def task(check: Callable[[dict[str, Any]], Awaitable[Check]] = accept, **changes: Any) -> Task:
    return Task(
        **{
            "system": "You are the root.",
            "child_system": "You are a child.",
            "messages": (Message("user", "How many are there?"),),
            "tools": TOOLS,
            "final_answer": ANSWER,
            "check": check,
            **changes,
        }
    )


NewSession = Callable[..., Session]


@pytest.fixture
async def session(tmp_path: Path) -> AsyncIterator[NewSession]:
    """Open a session on a server or a model; retries wait for nothing."""
    opened: list[Session] = []

    def new(model: ScriptedModel | LanguageModel, *, limits: BudgetLimits | None = None, **changes: Any) -> Session:
        if isinstance(model, ScriptedModel):
            model = OpenAIModel("scripted", base_url=model.base_url, api_key="none", request_timeout_seconds=5)
        given = {
            "root": model,
            "sub": model,
            "limits": limits or BudgetLimits(),
            "open_interpreter": OpenMonty(),
            "work_dir": tmp_path / "work",
            "cache_dir": tmp_path / "cache",
            "backoff_seconds": 0.001,
        }
        one = Session(**(given | changes))
        opened.append(one)
        return one

    yield new
    for one in opened:
        await asyncio.wait_for(one.close(), 10)


@pytest.fixture
def events() -> list[Event]:
    return []

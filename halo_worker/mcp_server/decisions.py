"""The tools that decide about issues: only where the operator allowed it."""

from __future__ import annotations

import getpass
import time
from contextlib import suppress
from typing import Any

from halo_worker.mcp_server import arguments as takes
from halo_worker.mcp_server.store import Store
from halo_worker.report.decisions import Action
from halo_worker.report.headline import titled
from halo_worker.rlm.messages import ToolSpec
from halo_worker.rlm.tool import Tool

_BECAUSE = {"because": {"type": "string", "description": "why it is no failure; readers and the model are told"}}
_TRACES = {"traces": {"type": "array", "items": {"type": "string"}, "description": "only these; default: every hit"}}
_RELEASE = {"release": {"type": "string", "description": "the service.version that has the fix"}}

_TABLE: tuple[tuple[Action, str, dict[str, Any]], ...] = (
    ("note", "Keep a note on an issue.", takes.schema({**takes.ISSUE, **takes.NOTE}, "issue_id", "note")),
    ("resolve", "Say that an issue is fixed, in a release where one is named; the next windows check it.",
     takes.schema({**takes.ISSUE, **_RELEASE, **takes.NOTE}, "issue_id")),
    ("mute", "Measure an issue, and tell nobody of it.", takes.schema({**takes.ISSUE, **takes.NOTE}, "issue_id")),
    ("wrong", "Say that what was found is no failure: all of it, or in some traces.",
     takes.schema({**takes.ISSUE, **_BECAUSE, **_TRACES}, "issue_id", "because")),
)  # fmt: skip
NAMES = tuple(action for action, _, _ in _TABLE)


def decision_tools(store: Store) -> tuple[Tool, ...]:
    """Return the tools; each decision is kept with who made it, as one by MCP."""
    return tuple(_tool(store, *entry) for entry in _TABLE)


def _tool(store: Store, action: Action, description: str, parameters: dict[str, Any]) -> Tool:
    def decide(given: dict[str, Any]) -> Any:
        issue = store.memory().find(given["issue_id"])
        made = store.archive.decisions.append(
            issue.issue_id, action, now_ns=time.time_ns(), note=given.get("because") or given.get("note", ""),
            release=given.get("release"), traces=given.get("traces", ()), by=_who(),
        )  # fmt: skip
        return {"issue_id": issue.issue_id, "title": titled(issue.finding), "decided": made.action, "by": made.by}

    async def answer(given: dict[str, Any], _: int) -> Any:
        return await store.work(lambda: decide(given))

    return Tool(ToolSpec(action, description, parameters), answer)


def _who() -> str:
    name = ""
    with suppress(Exception):  # no such user in the container
        name = getpass.getuser()
    return f"{name} (mcp)".strip()

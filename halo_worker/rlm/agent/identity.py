"""Which agent of a run: its id, its depth, and the agent and tool call that started it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Identity:
    """One agent of a run. Depth 0 is the root, which answers the task; a sub-agent is one deeper than its parent."""

    id: str
    name: str
    depth: int = 0
    parent_id: str | None = None
    parent_tool_call_id: str | None = None

    @property
    def root(self) -> bool:
        """Whether it is the agent that answers the task."""
        return self.depth == 0

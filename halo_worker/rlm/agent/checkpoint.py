"""checkpoint.json: the root agent after each turn, from which a run goes on, also after kill -9.

What was spent is not in it: trajectory.jsonl holds every attempt, also those after the last checkpoint. The
interpreter's variables lie beside it, in checkpoint.variables.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from halo_worker.rlm.messages import Message, ToolCall

if TYPE_CHECKING:
    from halo_worker.rlm.agent.loop import Agent

NAME, VARIABLES = "checkpoint.json", "checkpoint.variables"
VERSION = 1
_PLAIN = ("system", "turn", "calls_made", "repaired", "idle", "declined", "native", "said")


def save(folder: Path, agent: Agent, *, sequence: int, children: int) -> None:
    """Write the root's state aside and rename it, so that there is always a whole one.

    A full disk costs the resume only.
    """
    conversation = agent.conversation
    state = {name: getattr(agent, name) for name in _PLAIN} | {
        "version": VERSION,
        "messages": [asdict(message) for message in conversation.messages],
        "items": conversation.items,
        "tokens": conversation.tokens,
        "made": dict(agent.hands.made),
        "sequence": sequence,
        "children": children,
    }
    variables = agent.hands.keep()
    try:
        if variables is not None and variables is not agent.hands.saved:
            _write(folder / VARIABLES, variables)
            agent.hands.saved = variables
        _write(folder / NAME, orjson.dumps(state))
    except OSError:
        return


def load(folder: Path) -> dict[str, Any] | None:
    """Return the state that was saved last; None when there is none that can be read."""
    try:
        state = orjson.loads((folder / NAME).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None
    return state if isinstance(state, dict) and state.get("version") == VERSION else None


def restore(state: dict[str, Any], folder: Path, agent: Agent) -> None:
    """Put a state into a root agent."""
    for name in _PLAIN:
        setattr(agent, name, state[name])
    agent.conversation.messages = [_message(one) for one in state["messages"]]
    agent.conversation.items = {key: (name, text) for key, (name, text) in state["items"].items()}
    agent.conversation.tokens = state["tokens"]
    agent.hands.made = Counter(state["made"])
    try:
        agent.hands.snapshot = (folder / VARIABLES).read_bytes()
    except OSError:
        agent.hands.snapshot = None


def _message(value: dict[str, Any]) -> Message:
    return Message(**{**value, "tool_calls": tuple(ToolCall(**call) for call in value["tool_calls"])})


def _write(path: Path, content: bytes) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_bytes(content)
    aside.replace(path)

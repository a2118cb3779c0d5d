"""Results cut to a number of bytes, saying what was left out and how to see it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from halo_worker.rlm.messages import ToolSpec
from halo_worker.rlm.tool import Tool

NOTE_BYTES = 400  # kept free for the words about what was left out


def size(value: Any) -> int:
    """Return the bytes of a value as JSON text."""
    return len(orjson.dumps(value))


def fit_items(document: dict[str, Any], key: str, max_bytes: int, *, how: str) -> dict[str, Any]:
    """Keep as many of the items under `key`, from the first, as fit; `how` says how to see the others."""
    items = document[key]
    left = max_bytes - size({**document, key: []}) - NOTE_BYTES
    kept = 0
    for item in items:
        left -= size(item) + 1
        if left < 0:
            break
        kept += 1
    if kept == len(items):
        return document
    note = f"{len(items) - kept} of {len(items)} {key} did not fit into {max_bytes} bytes: {how}"
    return {**document, key: items[:kept], "has_more": True, "left_out": note}


def fit_text(text: str, room: int) -> tuple[str, bool]:
    """Return the lines of a text, from the first, that fit into `room` bytes of JSON, and whether something was cut."""
    if size(text) <= room:
        return text, False
    kept, used = [], 2
    for line in text.split("\n"):
        used += size(line)  # its two quotes stand for the line's end
        if used > room:
            break
        kept.append(line)
    if not kept:  # one line alone is too long
        cut = text[: max(0, room // 6)]
        return cut, True
    return "\n".join(kept), True


def make_tool(
    name: str,
    description: str,
    properties: dict[str, Any],
    required: tuple[str, ...],
    call: Callable[[dict[str, Any], int], Awaitable[Any]],
) -> Tool:
    """Put a tool together."""
    schema = {
        "type": "object", "properties": properties, "required": list(required), "additionalProperties": False,
    }  # fmt: skip
    return Tool(ToolSpec(name, description, schema), call)

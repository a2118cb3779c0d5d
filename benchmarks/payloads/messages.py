"""Messages in the forms of two conventions."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.payloads.words import TOOLS

DEFINITIONS = [
    {
        "type": "function", "name": name, "description": f"{name.replace('_', ' ')} of the shop",
        "parameters": {"type": "object", "properties": {"query": {"type": "string"}, "limit": {"type": "integer"}}},
    }
    for name in TOOLS
]  # fmt: skip


def as_parts(messages: list[Any]) -> list[Any]:
    """Messages in the form of OpenTelemetry's GenAI conventions."""
    out = []
    for message in messages:
        parts: list[Any] = []
        if message["role"] == "tool":
            parts.append({"type": "tool_call_response", "id": message["tool_call_id"], "response": message["content"]})
        elif message["content"]:
            parts.append({"type": "text", "content": message["content"]})
        for call in message.get("tool_calls", ()):
            function = call["function"]
            arguments = json.loads(function["arguments"])
            parts.append({"type": "tool_call", "id": call["id"], "name": function["name"], "arguments": arguments})
        out.append({"role": message["role"], "parts": parts})
    return out


def as_flat(prefix: str, message: Any) -> list[tuple[str, Any]]:
    """Return a message flattened into attributes, as OpenInference does."""
    pairs: list[tuple[str, Any]] = [(f"{prefix}role", message["role"])]
    if message["content"]:
        pairs.append((f"{prefix}content", message["content"]))
    if "tool_call_id" in message:
        pairs.append((f"{prefix}tool_call_id", message["tool_call_id"]))
    for index, call in enumerate(message.get("tool_calls", ())):
        inner = f"{prefix}tool_calls.{index}.tool_call."
        pairs += [
            (f"{inner}id", call["id"]),
            (f"{inner}function.name", call["function"]["name"]),
            (f"{inner}function.arguments", call["function"]["arguments"]),
        ]
    return pairs

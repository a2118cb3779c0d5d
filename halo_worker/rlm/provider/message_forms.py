"""Messages in other forms, for endpoints that refuse the usual one: no system role, calls as text. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import orjson

from halo_worker.rlm.messages import Message, ToolSpec
from halo_worker.rlm.provider import openai_format, request_forms

_TOOLS = (
    "Tools. To call one, answer with a fenced block and nothing after it:\n"
    '```json\n{"name": "…", "arguments": {…}}\n```\n'
)


def result_as_text(name: str, text: str) -> str:
    """A result in a message of role user, for calls that were made in plain text."""
    return f"Result of {name}:\n{text}"


def schema_as_text(schema: dict[str, Any]) -> str:
    """What to answer with, for a model that is not held to a schema."""
    return f"Answer with JSON only, of this JSON Schema:\n{orjson.dumps(schema).decode()}"


def adapted(
    messages: Sequence[Message],
    tools: Sequence[ToolSpec],
    schema: dict[str, Any] | None,
    without: Collection[str],
) -> list[Message]:
    """Return messages in a form that holds nothing of what an endpoint refused (`request_forms`, and `tools`)."""
    adapted_ = list(messages)
    if "tools" in without or request_forms.CALLS in without:
        adapted_ = [_call_as_text(message) for message in adapted_]
    if tools and "tools" in without:
        adapted_ = _instructed(adapted_, _TOOLS + _described(tools))
    if schema is not None and request_forms.JSON_SCHEMA in without:
        told = schema_as_text(schema)
        if not any(told in (message.content or "") for message in adapted_):
            adapted_ = _instructed(adapted_, told)
    if request_forms.SYSTEM in without:
        adapted_ = _without_system(adapted_)
    if request_forms.REPEATED_ROLES in without:
        adapted_ = _alternating(adapted_)
    return adapted_


def _described(tools: Sequence[ToolSpec]) -> str:
    return "\n".join(
        f"- {tool.name}: {tool.description} Arguments: {orjson.dumps(tool.parameters).decode()}" for tool in tools
    )


def _call_as_text(message: Message) -> Message:
    """A call or a result as a message without either."""
    if message.role == "tool":
        name = message.name or "the call"
        return Message("user", result_as_text(name, message.content or ""), name=message.name)
    if not message.tool_calls:
        return message
    calls = "\n".join(
        f'```json\n{{"name": "{call.name}", "arguments": {openai_format.sendable(call.arguments)}}}\n```'
        for call in message.tool_calls
    )
    return Message(message.role, f"{message.content or ''}\n{calls}".strip())


def _instructed(messages: Sequence[Message], text: str) -> list[Message]:
    """Add to the system message; where there is none, to the first one."""
    first, *rest = messages or [Message("user")]
    return [replace(first, content=f"{first.content or ''}\n\n{text}".strip()), *rest]


def _without_system(messages: Sequence[Message]) -> list[Message]:
    """Put the instructions before the first message of the user."""
    told = "\n\n".join(message.content or "" for message in messages if message.role == "system")
    rest = [message for message in messages if message.role != "system"]
    at = next((index for index, message in enumerate(rest) if message.role == "user"), None)
    if not told:
        return rest
    if at is None:
        return [Message("user", told), *rest]
    joined = replace(rest[at], content=f"{told}\n\n{rest[at].content or ''}".strip())
    return [*rest[:at], joined, *rest[at + 1 :]]


def _alternating(messages: Sequence[Message]) -> list[Message]:
    """Join neighbours of one role; calls and their results stay apart."""
    out: list[Message] = []
    for message in messages:
        before = out[-1] if out else None
        plain = message.role != "tool" and not message.tool_calls
        if before is not None and plain and before.role == message.role and not before.tool_calls:
            out[-1] = replace(before, content=f"{before.content or ''}\n\n{message.content or ''}".strip())
        else:
            out.append(message)
    return out

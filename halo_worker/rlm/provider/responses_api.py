"""OpenAI's responses API as JSON: renders requests, parses bodies and events. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from halo_worker.rlm.messages import Message, Reply, ToolCall, ToolSpec, Usage
from halo_worker.rlm.provider.openai_format import (
    REASONS,
    Body,
    Failed,
    Truncated,
    arguments_of,
    as_dict,
    dicts,
    money,
    number,
    sendable,
    strict,
    text_of,
)


def request(messages: Sequence[Message], tools: Sequence[ToolSpec]) -> dict[str, Any]:
    """Return the members of a request that say what is asked."""
    items: list[dict[str, Any]] = []
    for message in messages:
        if message.role == "tool":
            call_id = message.tool_call_id or ""
            items.append({"type": "function_call_output", "call_id": call_id, "output": message.content or ""})
            continue
        if message.content or not message.tool_calls:
            items.append({"role": message.role, "content": message.content or ""})
        items += [
            {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": sendable(call.arguments)}
            for call in message.tool_calls
        ]
    body: dict[str, Any] = {"input": items, "store": False}
    if tools:
        body["tools"] = [
            {
                "type": "function",
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.parameters,
                "strict": False,
            }
            for tool in tools
        ]
    return body


def answer_format(schema: dict[str, Any] | None) -> dict[str, Any]:
    """Return the member that asks for JSON of a schema; without one, for any JSON object."""
    if schema is None:
        return {"text": {"format": {"type": "json_object"}}}
    form = {"type": "json_schema", "name": "answer", "schema": schema, "strict": strict(schema)}
    return {"text": {"format": form}}


def reply(body: Body) -> Reply:
    texts, refusals, calls = [], [], []
    for index, item in enumerate(dicts(body.get("output"))):
        if item.get("type") == "message":
            for part in dicts(item.get("content")):
                if part.get("type") == "refusal":
                    refusals.append(str(part.get("refusal") or ""))
                else:
                    texts.append(text_of([part]))
        elif item.get("type") == "function_call" and item.get("name"):
            call_id = str(item.get("call_id") or item.get("id") or f"call_{index}")
            calls.append(ToolCall(call_id, str(item["name"]), arguments_of(item.get("arguments"))))
    cut = as_dict(body.get("incomplete_details")).get("reason")
    reason = REASONS.get(str(cut or body.get("status") or "").lower(), "other")
    if not body.get("output") and reason == "stop":
        reason = "other"  # complete by its status, and empty
    if calls and reason == "stop":
        reason = "tool_calls"
    return Reply(
        content="".join(texts) or "".join(refusals),
        tool_calls=tuple(calls),
        usage=usage_of(as_dict(body.get("usage"))),
        finish_reason=reason,
        refusal=bool(refusals) or reason == "content_filter",
        model=str(body.get("model") or ""),
    )


class Events:
    """Assembles the events of a responses stream."""

    def __init__(self) -> None:
        self._done: Body | None = None
        self._items: list[Any] = []
        self.received = 0

    def add(self, event: Any) -> str:
        """Take an event; return the text in it. Raises Failed."""
        event = as_dict(event)
        kind = event.get("type")
        if kind == "response.output_item.done":
            self._items.append(event.get("item"))
        elif kind in ("response.completed", "response.incomplete"):
            self._done = as_dict(event.get("response"))
        elif kind == "response.failed":
            raise Failed(as_dict(event.get("response")).get("error") or "the response failed")
        elif kind == "error" or event.get("error"):
            raise Failed(event.get("error") or event)
        delta = event.get("delta")
        if isinstance(delta, str):
            self.received += len(delta)
            return delta if kind == "response.output_text.delta" else ""
        return ""

    def end(self) -> Body:
        """Return the whole. Raises Truncated when it was never completed."""
        if self._done is None:
            raise Truncated(self.received)
        return self._done if self._done.get("output") else self._done | {"output": self._items}


def usage_of(usage: dict[str, Any]) -> Usage:
    """Read usage of the responses API."""
    return Usage(
        input_tokens=number(usage.get("input_tokens"), usage.get("prompt_tokens")),
        output_tokens=number(usage.get("output_tokens"), usage.get("completion_tokens")),
        cached_tokens=number(as_dict(usage.get("input_tokens_details")).get("cached_tokens")),
        reasoning_tokens=number(as_dict(usage.get("output_tokens_details")).get("reasoning_tokens")),
        cost_usd=money(usage.get("cost")),
    )

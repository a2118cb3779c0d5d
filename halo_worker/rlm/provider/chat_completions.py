"""OpenAI's chat completions as JSON: renders requests, parses bodies and chunks. Pure."""

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
    first,
    money,
    number,
    sendable,
    strict,
    text_of,
)


def request(messages: Sequence[Message], tools: Sequence[ToolSpec], schema: dict[str, Any] | None) -> dict[str, Any]:
    body: dict[str, Any] = {"messages": [_message(message) for message in messages]}
    if tools:
        body["tools"] = [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
            }
            for tool in tools
        ]
    if schema is not None:
        form = {"name": "answer", "schema": schema, "strict": strict(schema)}
        body["response_format"] = {"type": "json_schema", "json_schema": form}
    return body


def _message(message: Message) -> dict[str, Any]:
    out: dict[str, Any] = {"role": message.role, "content": message.content or ""}
    if message.role == "tool":
        out["tool_call_id"] = message.tool_call_id or ""
    if message.tool_calls:
        out["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": sendable(call.arguments)},
            }
            for call in message.tool_calls
        ]
    return out


def reply(body: Body) -> Reply:
    choice = first(body.get("choices"))
    message = as_dict(choice.get("message"))
    reason = REASONS.get(str(choice.get("finish_reason") or "").lower(), "other")
    calls = tuple(
        ToolCall(str(call.get("id") or f"call_{index}"), name, arguments_of(function.get("arguments")))
        for index, call in enumerate(dicts(message.get("tool_calls")))
        if (name := str((function := as_dict(call.get("function"))).get("name") or ""))
    )
    if not calls and (old := as_dict(message.get("function_call"))).get("name"):
        calls = (ToolCall("call_0", str(old["name"]), arguments_of(old.get("arguments"))),)
    refusal = message.get("refusal")
    content = text_of(message.get("content"))
    if calls and reason in ("stop", "other"):
        reason = "tool_calls"
    return Reply(
        content=content or (str(refusal) if refusal else ""),
        tool_calls=calls,
        usage=usage_of(as_dict(body.get("usage"))),
        finish_reason=reason,
        refusal=bool(refusal) or reason == "content_filter",
        model=str(body.get("model") or ""),
    )


class Events:
    """Assembles the chunks of a chat stream."""

    def __init__(self) -> None:
        self._body: Body = {}
        self._texts: list[str] = []
        self._refusals: list[str] = []
        self._calls: dict[int, dict[str, Any]] = {}
        self._reason: str | None = None
        self.received = 0

    def add(self, event: Any) -> str:
        """Take a chunk; return the text in it. Raises Failed."""
        event = as_dict(event)
        if event.get("error"):
            raise Failed(event["error"])
        self._body |= {key: event[key] for key in ("model", "usage") if event.get(key)}
        choice = first(event.get("choices"))
        delta = as_dict(choice.get("delta"))
        text = text_of(delta.get("content"))
        self._texts.append(text)
        self.received += len(text) + len(str(delta.get("reasoning_content") or ""))
        if delta.get("refusal"):
            self._refusals.append(str(delta["refusal"]))
        for position, part in enumerate(dicts(delta.get("tool_calls"))):
            self._add_call(part, position)
        self._reason = choice.get("finish_reason") or self._reason
        return text

    def _add_call(self, part: dict[str, Any], position: int) -> None:
        index = part.get("index")
        index = index if isinstance(index, int) else position
        call = self._calls.setdefault(index, {"id": None, "function": {"name": "", "arguments": ""}})
        call["id"] = call["id"] or part.get("id")
        function = as_dict(part.get("function"))
        call["function"]["name"] = call["function"]["name"] or str(function.get("name") or "")
        piece = arguments_of(function.get("arguments")) if function.get("arguments") else ""
        call["function"]["arguments"] += piece
        self.received += len(piece)

    def end(self) -> Body:
        """Return the body of the whole answer. Raises Truncated when no chunk had a finish reason."""
        if self._reason is None:
            raise Truncated(self.received)
        message = {
            "content": "".join(self._texts),
            "refusal": "".join(self._refusals) or None,
            "tool_calls": [self._calls[index] for index in sorted(self._calls)],
        }
        return self._body | {"choices": [{"message": message, "finish_reason": self._reason}]}


def usage_of(usage: dict[str, Any]) -> Usage:
    """Parse usage, as chat completions and compatible endpoints spell it."""
    return Usage(
        input_tokens=number(usage.get("prompt_tokens"), usage.get("input_tokens")),
        output_tokens=number(usage.get("completion_tokens"), usage.get("output_tokens")),
        cached_tokens=number(
            as_dict(usage.get("prompt_tokens_details")).get("cached_tokens"),
            usage.get("prompt_cache_hit_tokens"),
            usage.get("cache_read_input_tokens"),
        ),
        reasoning_tokens=number(as_dict(usage.get("completion_tokens_details")).get("reasoning_tokens")),
        cost_usd=money(usage.get("cost")),
    )

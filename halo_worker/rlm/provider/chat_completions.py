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
    is_object,
    money,
    number,
    sendable,
    strict,
    text_of,
)


def request(messages: Sequence[Message], tools: Sequence[ToolSpec]) -> dict[str, Any]:
    """Return the members of a request that say what is asked."""
    body: dict[str, Any] = {"messages": [_message(message) for message in messages]}
    if tools:
        body["tools"] = [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
            }
            for tool in tools
        ]
    return body


def answer_format(schema: dict[str, Any] | None) -> dict[str, Any]:
    """Return the member that asks for JSON of a schema; without one, for any JSON object."""
    if schema is None:
        return {"response_format": {"type": "json_object"}}
    form = {"name": "answer", "schema": schema, "strict": strict(schema)}
    return {"response_format": {"type": "json_schema", "json_schema": form}}


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
        self._calls: list[dict[str, Any]] = []
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
        for part in dicts(delta.get("tool_calls")):
            self._add_call(part)
        self._reason = choice.get("finish_reason") or self._reason
        return text

    def _add_call(self, part: dict[str, Any]) -> None:
        function = as_dict(part.get("function"))
        name = str(function.get("name") or "")
        piece = arguments_of(function.get("arguments")) if function.get("arguments") else ""
        call = self._call_of(part, name, piece)
        call["id"] = call["id"] or part.get("id")
        call["function"]["name"] = call["function"]["name"] or name
        call["function"]["arguments"] += piece
        self.received += len(piece)

    def _call_of(self, part: dict[str, Any], name: str, piece: str) -> dict[str, Any]:
        """Return the call that a part goes on with, or a new one.

        Some send every call at index 0 (Ollama), or none at all (Gemini): calls are then told apart by id and name.
        """
        index, call_id = part.get("index"), part.get("id")
        at_index = [one for one in self._calls if not isinstance(index, int) or one["index"] == index]
        if not at_index and not call_id and not name:
            at_index = self._calls  # it begins nothing
        call = next((one for one in reversed(at_index) if call_id and one["id"] == call_id), None)
        call = call or (at_index[-1] if at_index else None)
        if call is None or _begins(call, call_id, name, piece):
            call = {"index": index, "id": None, "function": {"name": "", "arguments": ""}}
            self._calls.append(call)
        return call

    def end(self) -> Body:
        """Return the body of the whole answer. Raises Truncated when no chunk had a finish reason."""
        if self._reason is None:
            raise Truncated(self.received)
        message = {
            "content": "".join(self._texts),
            "refusal": "".join(self._refusals) or None,
            "tool_calls": self._calls,
        }
        return self._body | {"choices": [{"message": message, "finish_reason": self._reason}]}


def _begins(call: dict[str, Any], call_id: Any, name: str, piece: str) -> bool:
    """Whether a part begins another call than the one that was sent last at its place."""
    known, arguments = call["function"]["name"], call["function"]["arguments"]
    if call_id and call["id"] and call_id != call["id"]:
        return bool(name) or is_object(arguments)  # a new id without a name is one that changes with every part
    if not known or not name:
        return False
    return name != known or bool(not call_id and piece and is_object(arguments))


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

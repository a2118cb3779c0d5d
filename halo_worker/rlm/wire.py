"""OpenAI's two APIs as JSON: requests out of our messages, replies out of their bodies and events. Pure.

What is read may have drifted: parts that are null, usage that is missing, choices that are empty. None of it raises.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal

from halo_worker.rlm.model import FinishReason, Message, Reply, ToolCall, ToolSpec, Usage

Api = Literal["chat", "responses"]
Body = dict[str, Any]

_REASONS: dict[str, FinishReason] = {
    "stop": "stop", "end_turn": "stop", "completed": "stop", "eos": "stop", "length": "length", "max_tokens": "length",
    "max_output_tokens": "length", "tool_calls": "tool_calls", "function_call": "tool_calls", "tool_use": "tool_calls",
    "content_filter": "content_filter", "safety": "content_filter",
}  # fmt: skip


class Truncated(Exception):  # noqa: N818
    """A stream ended before its end. `received`: characters that came."""

    def __init__(self, received: int) -> None:
        super().__init__("the stream ended before the answer did")
        self.received = received


class Failed(Exception):  # noqa: N818
    """A body or event says that it failed."""

    def __init__(self, error: Any) -> None:
        self.body = error if isinstance(error, dict) else {"message": str(error)}
        super().__init__(str(self.body.get("message") or self.body))


def request(
    api: Api, messages: Sequence[Message], tools: Sequence[ToolSpec], schema: dict[str, Any] | None
) -> dict[str, Any]:
    """Write the conversation as the API wants it. Equal messages give equal bytes, so that prefixes can be cached."""
    return _chat_request(messages, tools, schema) if api == "chat" else _responses_request(messages, tools, schema)


def reply(api: Api, body: Any) -> Reply:
    """Read an answer. Raises Failed when it is one of failure."""
    body = body if isinstance(body, dict) else {}
    if body.get("error"):
        raise Failed(body["error"])
    return _chat_reply(body) if api == "chat" else _responses_reply(body)


def _chat_request(
    messages: Sequence[Message], tools: Sequence[ToolSpec], schema: dict[str, Any] | None
) -> dict[str, Any]:
    body: dict[str, Any] = {"messages": [_chat_message(message) for message in messages]}
    if tools:
        body["tools"] = [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
            }
            for tool in tools
        ]
    if schema is not None:
        form = {"name": "answer", "schema": schema, "strict": _strict(schema)}
        body["response_format"] = {"type": "json_schema", "json_schema": form}
    return body


def _chat_message(message: Message) -> dict[str, Any]:
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


def _responses_request(
    messages: Sequence[Message], tools: Sequence[ToolSpec], schema: dict[str, Any] | None
) -> dict[str, Any]:
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
    if schema is not None:
        form = {"type": "json_schema", "name": "answer", "schema": schema, "strict": _strict(schema)}
        body["text"] = {"format": form}
    return body


def sendable(arguments: str) -> str:
    """Return arguments that every endpoint takes back: some parse them, so what is no JSON object is wrapped in one."""
    try:
        value = json.loads(arguments)
    except (ValueError, RecursionError):
        value = None
    return arguments if isinstance(value, dict) else json.dumps({"not_json": arguments})


def _strict(schema: Any) -> bool:
    """Whether OpenAI's strict mode takes a schema: closed objects in which everything is required."""
    if isinstance(schema, list):
        return all(_strict(one) for one in schema)
    if not isinstance(schema, dict):
        return True
    if "properties" in schema or schema.get("type") == "object":
        names = schema.get("properties") or {}
        if schema.get("additionalProperties") is not False or set(schema.get("required") or ()) != set(names):
            return False
    return all(_strict(one) for one in schema.values())


def _chat_reply(body: Body) -> Reply:
    choice = _first(body.get("choices"))
    message = _dict(choice.get("message"))
    reason = _REASONS.get(str(choice.get("finish_reason") or "").lower(), "other")
    calls = tuple(
        ToolCall(str(call.get("id") or f"call_{index}"), name, _arguments(function.get("arguments")))
        for index, call in enumerate(_dicts(message.get("tool_calls")))
        if (name := str((function := _dict(call.get("function"))).get("name") or ""))
    )
    if not calls and (old := _dict(message.get("function_call"))).get("name"):
        calls = (ToolCall("call_0", str(old["name"]), _arguments(old.get("arguments"))),)
    refusal = message.get("refusal")
    content = text_of(message.get("content"))
    if calls and reason in ("stop", "other"):
        reason = "tool_calls"
    return Reply(
        content=content or (str(refusal) if refusal else ""),
        tool_calls=calls,
        usage=chat_usage(_dict(body.get("usage"))),
        finish_reason=reason,
        refusal=bool(refusal) or reason == "content_filter",
        model=str(body.get("model") or ""),
    )


def _responses_reply(body: Body) -> Reply:
    texts, refusals, calls = [], [], []
    for index, item in enumerate(_dicts(body.get("output"))):
        if item.get("type") == "message":
            for part in _dicts(item.get("content")):
                if part.get("type") == "refusal":
                    refusals.append(str(part.get("refusal") or ""))
                else:
                    texts.append(text_of([part]))
        elif item.get("type") == "function_call" and item.get("name"):
            call_id = str(item.get("call_id") or item.get("id") or f"call_{index}")
            calls.append(ToolCall(call_id, str(item["name"]), _arguments(item.get("arguments"))))
    cut = _dict(body.get("incomplete_details")).get("reason")
    reason = _REASONS.get(str(cut or body.get("status") or "").lower(), "other")
    if not body.get("output") and reason == "stop":
        reason = "other"  # it says that it is complete, and holds nothing
    if calls and reason == "stop":
        reason = "tool_calls"
    return Reply(
        content="".join(texts) or "".join(refusals),
        tool_calls=tuple(calls),
        usage=responses_usage(_dict(body.get("usage"))),
        finish_reason=reason,
        refusal=bool(refusals) or reason == "content_filter",
        model=str(body.get("model") or ""),
    )


class ChatEvents:
    """Chunks of a chat stream, put together."""

    def __init__(self) -> None:
        self._body: Body = {}
        self._texts: list[str] = []
        self._refusals: list[str] = []
        self._calls: dict[int, dict[str, Any]] = {}
        self._reason: str | None = None
        self.received = 0

    def add(self, event: Any) -> str:
        """Take a chunk; return the text in it. Raises Failed."""
        event = _dict(event)
        if event.get("error"):
            raise Failed(event["error"])
        self._body |= {key: event[key] for key in ("model", "usage") if event.get(key)}
        choice = _first(event.get("choices"))
        delta = _dict(choice.get("delta"))
        text = text_of(delta.get("content"))
        self._texts.append(text)
        self.received += len(text) + len(str(delta.get("reasoning_content") or ""))
        if delta.get("refusal"):
            self._refusals.append(str(delta["refusal"]))
        for position, part in enumerate(_dicts(delta.get("tool_calls"))):
            self._add_call(part, position)
        self._reason = choice.get("finish_reason") or self._reason
        return text

    def _add_call(self, part: dict[str, Any], position: int) -> None:
        index = part.get("index")
        index = index if isinstance(index, int) else position
        call = self._calls.setdefault(index, {"id": None, "function": {"name": "", "arguments": ""}})
        call["id"] = call["id"] or part.get("id")
        function = _dict(part.get("function"))
        call["function"]["name"] = call["function"]["name"] or str(function.get("name") or "")
        piece = _arguments(function.get("arguments")) if function.get("arguments") else ""
        call["function"]["arguments"] += piece
        self.received += len(piece)

    def end(self) -> Body:
        """Return the whole as a plain answer. Raises Truncated when no chunk said why it ended."""
        if self._reason is None:
            raise Truncated(self.received)
        message = {
            "content": "".join(self._texts),
            "refusal": "".join(self._refusals) or None,
            "tool_calls": [self._calls[index] for index in sorted(self._calls)],
        }
        return self._body | {"choices": [{"message": message, "finish_reason": self._reason}]}


class ResponsesEvents:
    """Events of a responses stream, put together."""

    def __init__(self) -> None:
        self._done: Body | None = None
        self._items: list[Any] = []
        self.received = 0

    def add(self, event: Any) -> str:
        """Take an event; return the text in it. Raises Failed."""
        event = _dict(event)
        kind = event.get("type")
        if kind == "response.output_item.done":
            self._items.append(event.get("item"))
        elif kind in ("response.completed", "response.incomplete"):
            self._done = _dict(event.get("response"))
        elif kind == "response.failed":
            raise Failed(_dict(event.get("response")).get("error") or "the response failed")
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


def chat_usage(usage: dict[str, Any]) -> Usage:
    """Read chat's usage, and the spellings of those who imitate it."""
    return Usage(
        input_tokens=_number(usage.get("prompt_tokens"), usage.get("input_tokens")),
        output_tokens=_number(usage.get("completion_tokens"), usage.get("output_tokens")),
        cached_tokens=_number(
            _dict(usage.get("prompt_tokens_details")).get("cached_tokens"),
            usage.get("prompt_cache_hit_tokens"),
            usage.get("cache_read_input_tokens"),
        ),
        reasoning_tokens=_number(_dict(usage.get("completion_tokens_details")).get("reasoning_tokens")),
        cost_usd=_money(usage.get("cost")),
    )


def responses_usage(usage: dict[str, Any]) -> Usage:
    """Read usage of the responses API."""
    return Usage(
        input_tokens=_number(usage.get("input_tokens"), usage.get("prompt_tokens")),
        output_tokens=_number(usage.get("output_tokens"), usage.get("completion_tokens")),
        cached_tokens=_number(_dict(usage.get("input_tokens_details")).get("cached_tokens")),
        reasoning_tokens=_number(_dict(usage.get("output_tokens_details")).get("reasoning_tokens")),
        cost_usd=_money(usage.get("cost")),
    )


def text_of(content: Any) -> str:
    """Return the text of a message's content: a string, or parts of which some may be null."""
    if isinstance(content, str):
        return content
    return "".join(str(part.get("text") or "") for part in _dicts(content) if part.get("type") != "reasoning")


def _arguments(value: Any) -> str:
    """Arguments are text; some endpoints send the object itself."""
    if value is None:
        return "{}"
    return value if isinstance(value, str) else json.dumps(value)


def _number(*values: Any) -> int:
    return next((int(one) for one in values if isinstance(one, int | float) and one > 0), 0)


def _money(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 else None


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _first(value: Any) -> dict[str, Any]:
    return next(iter(_dicts(value)), {})

"""Messages of every shape → one list in the form of `Canonical`.

Shapes are told apart by what they hold, not by who sent them: OpenTelemetry parts, OpenAI chat and Responses,
Anthropic blocks, AI SDK parts, Bedrock and Strands blocks, Gemini contents, LangChain messages, OpenInference's
wrapped members, Pydantic AI's events.
"""

from __future__ import annotations

from typing import Any

from halo_receiver.conventions.parts import (
    ATTACHED,
    CALL,
    CALL_OR_RESULT,
    ITEM,
    MADE,
    MEDIA_MEMBERS,
    REASONING,
    RESULT,
    TEXT,
    Gathered,
    Message,
    images_of,
    kind_of,
    listed,
)
from halo_receiver.conventions.values import loads, structured

MAX_MESSAGES = 10_000
_ATTACHED = frozenset(ATTACHED)
ROLES = {
    "human": "user", "humanmessage": "user", "ai": "assistant", "aimessage": "assistant", "model": "assistant",
    "aimessagechunk": "assistant", "systemmessage": "system", "developer": "system", "toolmessage": "tool",
    "function": "tool", "functionmessage": "tool", "gen_ai.choice": "assistant", "gen_ai.user.message": "user",
    "gen_ai.system.message": "system", "gen_ai.assistant.message": "assistant", "gen_ai.tool.message": "tool",
}  # fmt: skip


def read(value: Any, role: str = "user") -> list[Message] | None:
    """Read messages from an attribute value; None when it holds none. A bare text is one message of `role`."""
    if isinstance(value, str):
        parsed = structured(value)
        if parsed is None:
            inner = loads(value) if value[:1] == '"' else None
            text = inner if isinstance(inner, str) else value
            return [{"role": role, "content": text}] if text else None
        value = parsed
    messages: list[Message] = []
    _read(value, role, messages, 0)
    return messages or None


def _read(value: Any, role: str, out: list[Message], depth: int) -> None:
    if depth > 6 or len(out) >= MAX_MESSAGES:
        return
    if isinstance(value, list):
        if value and all(isinstance(item, dict) and "role" not in item and _is_part(item) for item in value):
            _message({"role": role, "content": value}, role, out)
            return
        for item in value[:MAX_MESSAGES]:
            if type(item) is dict and len(out) < MAX_MESSAGES and depth < 6 and _plain(item, out):
                continue
            if isinstance(item, (dict, list)):
                _read(item, role, out, depth + 1)
    elif isinstance(value, dict):
        _read_object(value, role, out, depth)


def _is_part(item: dict[str, Any]) -> bool:
    if "message" in item or ("content" in item and item.get("type") in (None, "message")):
        return False
    return kind_of(item) in TEXT or (
        "type" not in item and any(key in item for key in ("text", "toolUse", "toolResult", *MEDIA_MEMBERS))
    )


def _read_object(value: dict[str, Any], role: str, out: list[Message], depth: int) -> None:
    system = value.get("system") or value.get("system_instruction") or value.get("instructions")
    config = value.get("config")
    if system is None and isinstance(config, dict):
        system = config.get("system_instruction")
    for key in ("messages", "contents", "input", "choices", "candidates", "generations", "output", "prompt"):
        inner = value.get(key)
        if isinstance(inner, (list, dict)) or (key in ("prompt", "input") and isinstance(inner, str) and inner):
            if key in ("input", "output", "prompt") and "role" in value:
                continue  # an item of its own
            if key == "output" and "type" in value:
                continue  # a function_call_output
            answer = key in ("choices", "candidates", "generations", "output")
            if system and not answer:
                _message({"role": "system", "content": system}, "system", out)
            if isinstance(inner, str):
                out.append({"role": role, "content": inner})
            else:
                _read(inner, "assistant" if answer else role, out, depth + 1)
            return
    wrapped = value.get("message") or value.get("kwargs") or value.get("data")
    if isinstance(wrapped, dict):
        said = value.get("role")
        said = said if isinstance(said, str) and said else _langchain_role(value) or role
        before = len(out)
        _message(wrapped, said, out)
        reason = value.get("finish_reason") or value.get("finishReason")
        if isinstance(reason, str) and len(out) > before:
            out[-1].setdefault("finish_reason", reason)
    elif isinstance(value.get("prompt"), dict) or isinstance(value.get("completion"), dict):  # OpenInference
        inner = value.get("prompt") or value.get("completion")
        _message({"content": inner.get("text") if isinstance(inner, dict) else None}, role, out)
    elif "role" in value or "content" in value or "parts" in value or kind_of(value) in ITEM:
        _message(value, _langchain_role(value) or role, out)
    elif made := images_of(value):
        _message({"images": made}, "assistant", out)
    elif "event.name" in value or "tool_calls" in value or (_is_part(value) and role == "assistant"):
        _message(value, role, out)


def _langchain_role(value: dict[str, Any]) -> str | None:
    name = value.get("id")
    if isinstance(name, list) and name and isinstance(name[-1], str):
        return ROLES.get(name[-1].lower())
    kind = value.get("type") or value.get("event.name")
    return ROLES.get(kind.lower()) if isinstance(kind, str) else None


def _role(value: Any, default: str) -> str:
    if not isinstance(value, str) or not value:
        value = default
    lowered: str = value.lower()
    return ROLES.get(lowered, lowered)


def _message(item: dict[str, Any], default: str, out: list[Message]) -> None:
    """Append what one message says: itself, preceded by a tool message for each tool result it carries."""
    kind = kind_of(item)
    role = _role(item.get("role") or _langchain_role(item), default)
    inner = item.get("kwargs") or item.get("data")
    if isinstance(inner, dict) and "content" not in item:  # LangChain's, serialized
        item = {**item, **inner}
    if kind in CALL or kind in RESULT or kind in REASONING:
        gathered = Gathered()
        gathered.part(item)
    else:
        gathered = Gathered()
        content = item.get("parts")
        for key in ("content", "contents"):
            if content is None:
                content = item.get(key)
        if content is None and "text" in item:
            content = item["text"]
        gathered.content(content)
        for call in listed(item.get("tool_calls") or item.get("toolCalls")):
            if isinstance(call, dict):
                gathered.call(call.get("tool_call") if isinstance(call.get("tool_call"), dict) else call)
        if isinstance(item.get("function_call"), dict):
            gathered.call(item["function_call"])
        for key in ("reasoning_content", "reasoning", "thinking"):
            if isinstance(item.get(key), str) and item[key]:
                gathered.reasoning.append(item[key])
        if isinstance(item.get("refusal"), str) and item["refusal"]:
            gathered.texts.append(item["refusal"])
        for key in ATTACHED if not _ATTACHED.isdisjoint(item) else ():
            for part in listed(item.get(key)):
                gathered.attached(part, key)
        if kind in MADE and (item.get("result") or item.get("outputs")):
            gathered.media.append({"type": kind})
    out.extend(gathered.results)
    message: Message = {"role": role, "content": "\n".join(gathered.texts) if gathered.texts else None}
    if gathered.reasoning:
        message["reasoning"] = "\n".join(gathered.reasoning)
    if gathered.calls:
        message["tool_calls"] = gathered.calls
        message["role"] = "assistant"
    if gathered.media:
        message["media"] = gathered.media
    if role == "tool":
        identifier = item.get("tool_call_id") or item.get("toolCallId") or item.get("id")
        if isinstance(identifier, str):
            message["tool_call_id"] = identifier
    if isinstance(item.get("name"), str) and item["name"] and kind not in CALL_OR_RESULT:
        message["name"] = item["name"]
    reason = item.get("finish_reason") or item.get("stop_reason") or item.get("finishReason")
    if isinstance(reason, str) and reason:
        message["finish_reason"] = reason
    if gathered.results and len(message) == 2 and message["content"] is None:
        return  # only results: they are the messages
    out.append(message)


# Most messages are of a few plain forms, which need none of the questions above: a third of their cost, same result.
_PLAIN_ROLES = {"user": "user", "assistant": "assistant", "system": "system", "tool": "tool"}
_PLAIN_KEYS = {"role", "content", "parts", "tool_calls", "tool_call_id", "name", "finish_reason"}
_TEXT_KEYS, _CALL_KEYS, _RESPONSE_KEYS = (
    {"type", "content", "text"}, {"type", "id", "name", "arguments"}, {"type", "id", "response"}
)  # fmt: skip


def _plain(item: dict[str, Any], out: list[Message]) -> bool:
    """Append a message of OpenAI's, OpenTelemetry's or OpenInference's usual form; False if it is none."""
    if len(item) == 1 and type(wrapped := item.get("message")) is dict:
        item = wrapped
    role = item.get("role")
    role = _PLAIN_ROLES.get(role) if type(role) is str else None
    if role is None or not item.keys() <= _PLAIN_KEYS:
        return False
    content = item.get("parts")
    if content is None:
        content = item.get("content")
    calls: list[dict[str, Any]] = []
    results: list[Message] = []
    if type(content) is list:
        texts: list[str] = []
        for part in content:
            if type(part) is not dict or not _plain_part(part, texts, calls, results):
                return False
        content = "\n".join(texts) if texts else None
    elif content is not None and type(content) is not str:
        return False
    sent = item.get("tool_calls")
    if sent:
        if type(sent) is not list:
            return False
        gathered = Gathered()
        for call in sent:
            if type(call) is not dict:
                return False
            inner = call.get("tool_call")
            gathered.call(inner if isinstance(inner, dict) else call)
        calls += gathered.calls
    message: Message = {"role": "assistant" if calls else role, "content": content or None}
    if calls:
        message["tool_calls"] = calls
    if role == "tool" and isinstance(identifier := item.get("tool_call_id"), str) and identifier:
        message["tool_call_id"] = identifier
    elif role == "tool" and "tool_call_id" in item:
        return False
    if isinstance(name := item.get("name"), str) and name:
        message["name"] = name
    if isinstance(reason := item.get("finish_reason"), str) and reason:
        message["finish_reason"] = reason
    out.extend(results)
    if not (results and len(message) == 2 and message["content"] is None):
        out.append(message)
    return True


def _plain_part(part: dict[str, Any], texts: list[str], calls: list[dict[str, Any]], results: list[Message]) -> bool:
    kind = kind_of(part)
    if kind == "text" and part.keys() <= _TEXT_KEYS:
        said = part.get("text", part.get("content"))
        if type(said) is not str:
            return False
        if said:
            texts.append(said)
        return True
    if kind == "tool_call" and part.keys() == _CALL_KEYS:
        identifier, name, arguments = part["id"], part["name"], part["arguments"]
        if type(identifier) is not str or type(name) is not str or type(arguments) is not dict:
            return False
        calls.append({"id": identifier, "name": name, "arguments": arguments})
        return True
    if kind == "tool_call_response" and part.keys() == _RESPONSE_KEYS and type(part["response"]) is str:
        if type(part["id"]) is not str or not part["id"]:
            return False
        results.append({"role": "tool", "content": part["response"], "tool_call_id": part["id"]})
        return True
    return False


def last_text(messages: list[Message] | None, roles: tuple[str, ...]) -> str | None:
    """Give the content of the last message of one of `roles` that has any."""
    for message in reversed(messages or ()):
        if message["role"] in roles and message["content"]:
            return str(message["content"])
    return None


def all_text(messages: list[Message] | None) -> str | None:
    """Give what the assistant says in an answer's messages, one after the other."""
    texts = [m["content"] for m in messages or () if m["content"] and m["role"] == "assistant"]
    return "\n".join(texts) if texts else None

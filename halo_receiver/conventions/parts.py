"""The parts of one message, sorted by what they are: words, reasoning, calls, results, media.

Which shape is which is told in the sets below; a new one goes there.
"""

from __future__ import annotations

from typing import Any

from halo_receiver.conventions.values import dumps, structured

Message = dict[str, Any]

TEXT = {"text", "input_text", "output_text", "refusal", "summary_text", "plain_text", "output"}
REASONING = {"reasoning", "thinking", "redacted_thinking", "reasoning_text"}
CALL = {"tool_call", "tool-call", "tool_use", "function_call", "server_tool_call", "server_tool_use", "mcp_call"}
# Parts that are neither words nor calls: by their type, else by the member that holds them.
MEDIA_MEMBERS = ("inlineData", "inline_data", "fileData", "file_data", "image", "audio", "video", "document", "file",
                  "blob")  # fmt: skip
_MARKS = {"step-start", "step-finish", "cache_point", "cache-point", "cachePoint"}  # typed, and say nothing
MADE = {"image_generation_call", "code_interpreter_call"}  # items of an answer that hold what a provider's tool made
ATTACHED = ("images", "audio", "files", "attachments", "media")  # members of a message beside its content
RESULT = {"tool_call_response", "tool-result", "tool_result", "function_call_output", "server_tool_call_response",
           "tool-error", "web_search_tool_result"}  # fmt: skip
CALL_OR_RESULT = CALL | RESULT
ITEM = CALL | RESULT | MADE  # typed items that are messages of their own


_FLAGS = ((TEXT, 1), (REASONING, 2), (CALL, 4), (RESULT, 8), (_MARKS, 16), (MADE, 32), ({"image"}, 64))
# What the wire scanner is told of each kind of part: the flags of wire/parts.h.
FLAGS = {
    kind: sum(flag for kinds, flag in _FLAGS if kind in kinds)
    for kind in sorted(set[str]().union(*(kinds for kinds, _ in _FLAGS)))
}


def kind_of(item: dict[str, Any]) -> str:
    """Return the type of a part or a message, empty where it has none that is a text."""
    kind = item.get("type")
    return kind if isinstance(kind, str) else ""


def images_of(value: dict[str, Any]) -> list[Any] | None:
    """Return what an image API answers with: `{"data": [{"b64_json": …}]}`, or Logfire's `{"images": […]}`."""
    for key in ("images", "data"):
        made = value.get(key)
        if (
            isinstance(made, list)
            and made
            and all(isinstance(i, dict) and ("b64_json" in i or "url" in i) for i in made)
        ):
            return made
    return None


def listed(value: Any) -> list[Any]:
    value = structured(value) if isinstance(value, str) else value
    return value if isinstance(value, list) else [value] if isinstance(value, dict) else []


class Gathered:
    """The parts of one message, sorted by what they are."""

    __slots__ = ("calls", "media", "reasoning", "results", "texts")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.reasoning: list[str] = []
        self.calls: list[dict[str, Any]] = []
        self.results: list[Message] = []
        self.media: list[dict[str, Any]] = []

    def content(self, content: Any) -> None:
        if isinstance(content, str):
            if content:
                self.texts.append(content)
        elif isinstance(content, list):
            for part in content:
                if isinstance(part, dict):
                    self.part(part.get("message_content") if isinstance(part.get("message_content"), dict) else part)
                elif isinstance(part, str):
                    self.texts.append(part)
        elif isinstance(content, dict):
            if isinstance(content.get("parts"), list):  # Gemini: content {parts, role}
                self.content(content["parts"])
            elif content:
                self.part(content)
        elif content is not None:
            self.texts.append(dumps(content))

    def part(self, part: Any) -> None:
        if not isinstance(part, dict):
            return
        kind = kind_of(part)
        if kind in CALL:
            self.call(part)
        elif kind in RESULT:
            self.result(part)
        elif kind in REASONING or "reasoningContent" in part:
            self._reasoning(part)
        elif isinstance(part.get("toolUse"), dict):
            self.call(part["toolUse"])
        elif isinstance(part.get("toolResult"), dict):
            self.result(part["toolResult"])
        elif isinstance(call := part.get("functionCall") or part.get("function_call"), dict):
            self.call(call)
        elif isinstance(answer := part.get("functionResponse") or part.get("function_response"), dict):
            self.result(answer)
        elif isinstance(said := part.get("text", part.get("content") if kind in TEXT else None), str):
            if said:
                self.texts.append(said)
        elif isinstance(part.get("refusal"), str):
            self.texts.append(part["refusal"])
        elif isinstance(part.get("kwargs"), dict):
            self.content(part["kwargs"].get("content"))
        elif kind in _MARKS:
            return
        elif kind or any(key in part for key in MEDIA_MEMBERS) or "media_type" in part:
            self._media(part, kind)
        elif isinstance(part.get("content"), (str, list)):
            self.content(part["content"])
        elif isinstance(part.get("json"), (dict, list)):  # Bedrock tool results
            self.texts.append(dumps(part["json"]))
        elif part:
            self.texts.append(dumps(part))

    def _reasoning(self, part: dict[str, Any]) -> None:
        inner = part.get("reasoningContent")
        if isinstance(inner, dict):
            text = inner.get("reasoningText")
            part = text if isinstance(text, dict) else inner
        for key in ("content", "text", "thinking", "reasoning", "summary"):
            said = part.get(key)
            if isinstance(said, str) and said:
                self.reasoning.append(said)
                return
            if isinstance(said, list):
                self.reasoning.extend(
                    item["text"] for item in said if isinstance(item, dict) and isinstance(item.get("text"), str)
                )

    def attached(self, part: Any, key: str) -> None:
        """Add what lies beside the content of a message; of audio, what is said in it."""
        if isinstance(part, dict):
            self._media(part, kind_of(part) or key.removesuffix("s"))
            if key == "audio" and isinstance(part.get("transcript"), str) and part["transcript"]:
                self.texts.append(part["transcript"])

    def _media(self, part: dict[str, Any], kind: str) -> None:
        inner = next((part[k] for k in (*MEDIA_MEMBERS, "source") if isinstance(part.get(k), dict)), part)
        mime = next(
            (inner[k] for k in ("mime_type", "mimeType", "mediaType", "media_type") if isinstance(inner.get(k), str)),
            None,
        )
        self.media.append({"type": kind or "blob", "mime_type": mime} if mime else {"type": kind or "blob"})

    def call(self, call: Any) -> None:
        if not isinstance(call, dict):
            return
        inner = call.get("function")
        function: dict[str, Any] = inner if isinstance(inner, dict) else call
        arguments = next(
            (
                source[k]
                for source in (function, call)
                for k in ("arguments", "input", "args")
                if source.get(k) is not None
            ),
            None,
        )
        if isinstance(arguments, str):
            parsed = structured(arguments)
            arguments = arguments if parsed is None else parsed
        identifier = next(
            (
                call[k]
                for k in ("call_id", "id", "toolCallId", "toolUseId", "tool_call_id")
                if isinstance(call.get(k), str)
            ),
            None,
        )
        name = function.get("name") or call.get("toolName") or call.get("tool_name")
        self.calls.append({"id": identifier, "name": name if isinstance(name, str) else None, "arguments": arguments})

    def result(self, part: dict[str, Any]) -> None:
        value = next(
            (part[k] for k in ("response", "result", "output", "content", "error") if part.get(k) is not None), None
        )
        if isinstance(value, dict) and set(value) == {"type", "value"}:  # AI SDK: {"type": "json", "value": …}
            value = value["value"]
        message: Message = {"role": "tool", "content": _result_text(value)}
        identifier = next(
            (part[k] for k in ("tool_call_id", "call_id", "toolCallId", "tool_use_id", "toolUseId", "id")
             if isinstance(part.get(k), str)),
            None,
        )  # fmt: skip
        if identifier:
            message["tool_call_id"] = identifier
        name = part.get("name") or part.get("toolName")
        if isinstance(name, str):
            message["name"] = name
        self.results.append(message)


def _result_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(item, dict) and _is_block(item) for item in value):
        inner = Gathered()
        inner.content(value)
        return "\n".join(inner.texts) if inner.texts else None
    return dumps(value)


def _is_block(item: dict[str, Any]) -> bool:
    kind = kind_of(item)
    return kind in TEXT or kind == "image" or set(item) <= {"text", "json"}

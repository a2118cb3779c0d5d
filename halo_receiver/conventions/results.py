"""What a tool returned → its text, and whether it says itself that it failed."""

from __future__ import annotations

from typing import Any

from halo_receiver.conventions import messages
from halo_receiver.conventions.values import structured, text

_PARTS = ('[{"text"', '[{"type":"text"', '[{"type": "text"')
_MAX_HEAD = 2_000  # characters in which a result of MCP names its content


def read(value: Any) -> tuple[str | None, bool]:
    """Return (text, failed) of a result; of results in parts (MCP, Strands), the text in them.

    `failed`: it is a result of MCP whose `isError` is true. The status of its span may be OK all the same: to the
    protocol, a call whose tool failed was answered.
    """
    parts, failed = _parts(value)
    words = _words(parts) if parts else None
    return (text(value) if words is None else words), failed


def _parts(value: Any) -> tuple[list[Any] | None, bool]:
    if isinstance(value, str):
        if value.startswith(_PARTS):
            found = structured(value)
            return (found, False) if isinstance(found, list) else (None, False)
        if value[:1] != "{" or value.find('"content"', 0, _MAX_HEAD) < 0:
            return None, False
        value = structured(value)
    if isinstance(value, list):
        return value, False
    if not isinstance(value, dict):
        return None, False
    content, failed = value.get("content"), value.get("isError", value.get("is_error"))
    if not isinstance(content, list) or not isinstance(failed, bool):
        return None, False
    return content, failed


def _words(parts: list[Any]) -> str | None:
    """The text of parts that are text and nothing else; None where one is an image or the like."""
    if all(isinstance(part, dict) and part.get("type") == "text" for part in parts):
        said = [part.get("text", part.get("content")) for part in parts]
        return "\n".join(said) if all(isinstance(item, str) for item in said) else None
    if any(not isinstance(part, dict) or "text" not in part for part in parts[:1]):
        return None
    found = messages.read(parts, "tool")
    return "\n".join(message["content"] for message in found or () if message["content"]) or None

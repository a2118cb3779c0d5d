"""Values of transcripts: whatever type a line gives them, something of the type that is wanted."""

from __future__ import annotations

from typing import Any

from halo_receiver.decode.flat import nanoseconds
from halo_receiver.decode.repair import MAX_ATTRIBUTE_BYTES, Repair

_UNREADABLE = ("signature", "encrypted_content")  # of reasoning: kilobytes that nobody can read


def dict_of(value: Any) -> dict[str, Any]:
    """Return an object, or an empty one."""
    return value if isinstance(value, dict) else {}


def integer(value: Any) -> int | None:
    """Return a count, or None."""
    return value if type(value) is int and value >= 0 else None


def time_of(value: Any) -> int:
    """Return a time as unix nanoseconds, 0 where there is none."""
    return nanoseconds(value, Repair(MAX_ATTRIBUTE_BYTES))


def text_of(content: Any) -> str:
    """Return the text of a message's content: a string, or the texts of its blocks."""
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        content = [content]
    texts = [block.get("text") for block in content if isinstance(block, dict)] if isinstance(content, list) else []
    return "\n".join(text for text in texts if isinstance(text, str))


def message_without_media(role: str, content: Any) -> dict[str, Any]:
    """Return a message whose content is a list of blocks, without the bytes of images and encrypted reasoning."""
    blocks = content if isinstance(content, list) else [{"type": "text", "text": text_of(content)}]
    return {"role": role, "content": [_slim(block) for block in blocks if isinstance(block, dict)]}


def _slim(block: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in block.items() if key not in _UNREADABLE}
    source = kept.get("source")
    if isinstance(source, dict) and "data" in source:
        kept["source"] = {key: value for key, value in source.items() if key != "data"}
    if isinstance(kept.get("content"), list):
        kept["content"] = [_slim(inner) for inner in kept["content"] if isinstance(inner, dict)]
    return kept

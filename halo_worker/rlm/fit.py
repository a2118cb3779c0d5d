"""One byte budget for every result: values as JSON text that fits, and says what it left out."""

from __future__ import annotations

from typing import Any

import orjson


def text_of(value: Any) -> str:
    """Return a value as a model reads it: text as it is, everything else as compact JSON. Never raises."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    try:
        return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except (TypeError, orjson.JSONEncodeError, RecursionError):
        return repr(value).encode("utf-8", "replace").decode()


def clip(text: str, limit: int) -> str:
    """Return at most `limit` bytes of a text, its beginning and its end, saying between them what was left out."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= limit:
        return text
    note = f"\n… [{len(raw) - limit:,} of {len(raw):,} bytes left out here] …\n"
    room = max(limit - len(note.encode()) - 8, 0)
    head, tail = raw[: room * 3 // 4], raw[len(raw) - room // 4 :] if room // 4 else b""
    return (head.decode("utf-8", "ignore") + note + tail.decode("utf-8", "ignore"))[:limit]

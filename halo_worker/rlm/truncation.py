"""Values as JSON text within a limit in bytes; what is truncated says how much was left out."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import orjson


def text_of(value: Any) -> str:
    """Return a value as a model reads it: text as it is, everything else as compact JSON. Never raises."""
    if isinstance(value, str):
        return valid_utf8(value)
    try:
        return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except (TypeError, orjson.JSONEncodeError, RecursionError):
        with suppress(RecursionError):
            return valid_utf8(repr(value))
        return "<nested too deeply to show>"


def nested(value: Any, most: int) -> bool:
    """Whether a JSON value is nested deeper than `most`; never recurses deeper than that."""
    if most < 0:
        return True
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return any(nested(one, most - 1) for one in inner)


def valid_utf8(text: str) -> str:
    """Return text that is valid UTF-8: half of a surrogate pair, as some models send, is written as '?'."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def truncate(text: str, limit: int) -> str:
    """Return at most `limit` bytes of a text, its beginning and its end, saying between them what was left out."""
    text = valid_utf8(text)
    raw = text.encode()
    if len(raw) <= limit:
        return text
    note = f"\n… [{len(raw) - limit:,} of {len(raw):,} bytes left out here] …\n"
    room = max(limit - len(note.encode()) - 8, 0)
    head, tail = raw[: room * 3 // 4], raw[len(raw) - room // 4 :] if room // 4 else b""
    return (head.decode("utf-8", "ignore") + note + tail.decode("utf-8", "ignore"))[:limit]


def truncate_json(text: str, limit: int) -> str:
    """Return JSON text with its strings and lists truncated until it fits; what is not JSON is truncated as text."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return truncate(text, limit)
    for characters, items in ((120, 6), (80, 4), (60, 3), (40, 2), (40, 1)):
        short = text_of(_truncated(value, characters, items))
        if len(short.encode()) <= limit:
            return short
    return truncate(text, limit)


def _truncated(value: Any, characters: int, items: int) -> Any:
    if isinstance(value, str):
        return value if len(value) <= characters else f"{value[:characters]}…"
    if isinstance(value, list):
        kept = [_truncated(one, characters, items) for one in value[:items]]
        return [*kept, f"… {len(value) - items} more"] if len(value) > items else kept
    if isinstance(value, dict):
        return {key: _truncated(one, characters, items) for key, one in value.items()}
    return value

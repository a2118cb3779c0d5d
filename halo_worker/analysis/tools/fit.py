"""One byte budget for every result, and words for what was left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import orjson

from halo_worker.rlm.tool import MODEL_BYTES

CUT = "…[cut:"  # begins the mark of a shortened text
# What one result may take of a model's context, for every later turn sends it again; code is given all it asks for.
LIST_BYTES = 4_500
VIEW_BYTES = 12_000
ROWS_BYTES = 6_000
NOTE_BYTES = 400  # kept free for the words about what was left out


def for_model(max_bytes: int, most: int) -> int:
    """Return the budget of a result: `most` where it enters a model's context, all of it where it becomes a variable."""
    return min(max_bytes, most) if max_bytes <= MODEL_BYTES else max_bytes


def size(value: Any) -> int:
    """Return the bytes of a value as JSON text."""
    return len(orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS))


def cut(text: str | None, characters: int, length: int | None = None) -> str | None:
    """Shorten a text, saying so; `length` is what it has in whole, where `text` is only its beginning."""
    if text is None:
        return None
    whole = length if length is not None else len(text)
    if whole <= characters:
        return text
    return f"{text[:characters]}{CUT} {whole - characters} more]"


def cut_values(value: Any, characters: int) -> Any:
    """Shorten every text inside a JSON value."""
    if isinstance(value, str):
        return cut(value, characters)
    if isinstance(value, list):
        return [cut_values(item, characters) for item in value]
    if isinstance(value, dict):
        return {name: cut_values(item, characters) for name, item in value.items()}
    return value


def compact(row: dict[str, Any]) -> dict[str, Any]:
    """Leave out what says nothing: nulls, empty lists and texts."""
    return {name: value for name, value in row.items() if value not in (None, "", [], {})}


def take(rows: Sequence[Any], max_bytes: int) -> list[Any]:
    """Return as many of the first rows as fit."""
    taken, used = [], 2
    for row in rows:
        used += size(row) + 1
        if used > max_bytes:
            break
        taken.append(row)
    return taken


def fitted(
    head: dict[str, Any], name: str, rows: Sequence[Any], max_bytes: int, advice: Callable[[int], str]
) -> dict[str, Any]:
    """Put as many rows under `name` as the budget allows; `advice` says of the number left out how to see them."""
    shown = take(rows, max_bytes - size(head) - NOTE_BYTES)
    result = {**head, name: shown}
    if len(shown) < len(rows):
        result["left_out"] = advice(len(rows) - len(shown))
    return result

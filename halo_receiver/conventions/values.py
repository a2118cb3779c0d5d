"""Small readers of attribute values: text, numbers, JSON in its many coats."""

from __future__ import annotations

import ast
import base64
from typing import Any

import orjson

_MAX_REPR = 64 * 1024
_SCALAR_STARTS = frozenset('"-0123456789tfn \t\n\r')  # of JSON
_INT64 = 2**63


def _unusual(value: Any) -> Any:
    return base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else str(value)


def dumps(value: Any) -> str:
    """Write compact JSON text. Never raises on attribute values: bytes as base64, huge integers as text."""
    try:
        return orjson.dumps(value, _unusual, orjson.OPT_NON_STR_KEYS).decode()
    except (orjson.JSONEncodeError, RecursionError):
        return orjson.dumps(_plain(value, 0)).decode()


def _plain(value: Any, depth: int) -> Any:
    if depth > 60:
        return None
    if isinstance(value, dict):
        return {str(key).encode("utf-8", "replace").decode(): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, int) and not -_INT64 <= value < _INT64:
        return str(value)
    return value if value is None or isinstance(value, (bool, int, float)) else _unusual(value)


def loads(text: str | bytes) -> Any:
    """Parse JSON text; None when it is none."""
    try:
        return orjson.loads(text)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        return None


def structured(value: Any) -> Any:
    """Give the list or dict that a value is, or that its JSON text holds; None for anything else."""
    if isinstance(value, (list, dict)):
        return value
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        return loads(value)
    return None


def python_repr(value: Any) -> Any:
    """Read a Python literal such as LangSmith's token details; None when it is none."""
    if not isinstance(value, str) or len(value) > _MAX_REPR:
        return value if isinstance(value, dict) else None
    if '"' not in value and "\\" not in value:  # then its quotes are the only difference to JSON, of most
        found = structured(value.replace("'", '"'))
        if found is not None:
            return found
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def unwrapped(value: Any) -> Any:
    """Take the JSON coat off a JSON-encoded scalar (`"\\"text\\""`, `"12"`); objects and lists stay text."""
    if isinstance(value, str) and value[:1] in _SCALAR_STARTS:
        inner = loads(value)
        if inner is not None and not isinstance(inner, (dict, list)):
            return inner
    return value


def text(value: Any) -> str | None:
    """Give a value as text: strings as they are (without the quotes of a JSON string), the rest as JSON."""
    if value is None:
        return None
    if isinstance(value, str):
        if value[:1] == '"' and value[-1:] == '"' and len(value) > 1:
            inner = loads(value)
            return inner if isinstance(inner, str) else value
        return value
    return dumps(value)


def name(value: Any) -> str | None:
    """Give an identifier or name as text; None when it is empty or structured."""
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return str(value)


def integer(value: Any) -> int | None:
    """Give a count as a non-negative int64; None when it is none."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, (int, float)) and 0 <= value < _INT64:  # false for NaN, too
        return int(value)
    return None


def number(value: Any) -> float | None:
    """Give a finite, non-negative number; None when it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        result = float(value)
    except (ValueError, OverflowError):
        return None
    return result if 0 <= result < 1e18 else None


def member(value: Any, path: tuple[str, ...]) -> Any:
    """Follow a path of keys and list positions into a structure; None where it ends early."""
    for step in path:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value

"""The fields of OTLP/JSON: strings, integers, ids, enums and attributes, tolerant of wrong types.

A field of a wrong type counts as absent, and is counted by `Repair`.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from halo_receiver.decode import repair as r
from halo_receiver.decode.json_text import BEYOND, integer_of
from halo_receiver.decode.repair import Repair


def text(value: Any, repair: Repair) -> str:
    """A string, made storable; empty for what is none."""
    if isinstance(value, str):
        return repair.string(value)
    if value is not None:
        repair.count(r.WRONG_TYPE)
    return ""


def integer(value: Any, repair: Repair) -> int:
    """An int64 as a JSON number or string; 0 for what is neither."""
    if type(value) is int:
        return value
    if value is None:
        return 0
    try:
        if isinstance(value, float):
            return int(min(max(value, -BEYOND), BEYOND))
        return integer_of(value if isinstance(value, str) else "")
    except ValueError:
        repair.count(r.WRONG_TYPE)
        return 0


def count(value: Any, repair: Repair) -> int:
    """A uint32; what is beyond its range is brought to the nearest end."""
    return min(max(integer(value, repair), 0), 2**32 - 1)


def attributes_of(pairs: Any, repair: Repair) -> dict[str, Any]:
    """Turn a list of KeyValue into a dict."""
    result: dict[str, Any] = {}
    if not isinstance(pairs, list):
        if pairs is not None:
            repair.count(r.WRONG_TYPE)
        return result
    for pair in pairs:
        if isinstance(pair, dict):
            repair.keep(result, text(pair.get("key"), repair), any_value(pair.get("value"), repair, 0))
        else:
            repair.count(r.WRONG_TYPE)
    return result


def any_value(value: Any, repair: Repair, depth: int) -> Any:
    """An AnyValue as a Python value: None, str, int, float, bool, bytes, list or dict."""
    if not isinstance(value, dict):
        if value is not None:
            repair.count(r.WRONG_TYPE)
        return None
    for name, content in value.items():
        if name == "stringValue" and isinstance(content, str):
            return repair.string(content)
        if name == "intValue":
            return max(min(integer(content, repair), r.INT64_MAX), -r.INT64_MAX - 1)
        if name == "doubleValue":
            return _double(content, repair)
        if name == "boolValue":
            return content is True or content == "true"
        if name == "bytesValue":
            return _blob(content, repair)
        if name in ("arrayValue", "kvlistValue"):
            items = content.get("values") if isinstance(content, dict) else None
            if depth >= r.MAX_DEPTH:
                repair.count(r.TOO_DEEP)
                return None
            items = items if isinstance(items, list) else []
            if name == "arrayValue":
                return [any_value(item, repair, depth + 1) for item in items]
            result: dict[str, Any] = {}
            for pair in items:
                if isinstance(pair, dict):
                    key = text(pair.get("key"), repair)
                    repair.keep(result, key, any_value(pair.get("value"), repair, depth + 1))
            return result
    return None


def _double(content: Any, repair: Repair) -> float | None:
    try:
        return float(content)  # "NaN", "Infinity" and "-Infinity" are protobuf's names, and Python's
    except (TypeError, ValueError, OverflowError):
        repair.count(r.WRONG_TYPE)
        return None


def _blob(content: Any, repair: Repair) -> bytes:
    if isinstance(content, str):
        try:
            padded = content.replace("-", "+").replace("_", "/") + "=" * (-len(content) % 4)
            return repair.blob(base64.b64decode(padded, validate=True))
        except (binascii.Error, ValueError):
            pass
    repair.count(r.WRONG_TYPE)
    return b""


def hex_id(value: Any, length: int) -> str | None:
    """A hex id in lowercase; an empty string when absent or all zeros; None when it is no id of that length."""
    if value is None or value == "":
        return ""
    if not isinstance(value, str) or len(value) != length:
        return None
    value = value.lower()
    if value.strip("0123456789abcdef"):
        return None
    return value if value.strip("0") else ""


def enum_name(value: Any, names: tuple[str, ...], prefix: str, repair: Repair, unknown: str) -> str:
    """The name of an enum's value, given by number or by name; the first, and counted as `unknown`, for others."""
    if value is None:
        return names[0]
    if isinstance(value, str) and (name := value.upper().removeprefix(prefix)) in names:
        return name
    if isinstance(value, str) and value.isdecimal():
        value = integer_of(value)
    if type(value) is int and 0 <= value < len(names):
        return names[value]
    repair.count(unknown)
    return names[0]

"""Times as people write them: lengths, and moments."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d|w)")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def seconds_of(text: str) -> float:
    """Read a length of time such as '90s', '30m', '24h', '7d' or '1h30m'. Raises ValueError that says what is valid."""
    compact = text.strip().lower()
    parts = _SPAN.findall(compact)
    if not parts or _SPAN.sub("", compact).strip():
        raise ValueError(f"{text!r} is not a length of time: write '90s', '30m', '24h' or '7d'")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def moment(text: str) -> int:
    """Read an ISO-8601 time, naive meaning UTC, as unix nanoseconds. Raises ValueError that says what is valid."""
    try:
        value = datetime.fromisoformat(text.strip())
    except ValueError:
        length = f"; '--last {text.strip()}' is that much up to now" if _SPAN.fullmatch(text.strip().lower()) else ""
        raise ValueError(
            f"{text!r} is not a time: write ISO-8601, such as 2026-11-24 or 2026-11-24T06:00Z{length}"
        ) from None
    value = value if value.tzinfo else value.replace(tzinfo=UTC)
    return int(value.timestamp()) * 1_000_000_000 + value.microsecond * 1000


def human_duration(nanoseconds: int | None) -> str:
    """Write a length of time in the unit a person would use."""
    if nanoseconds is None:
        return "-"
    for unit, size in (("h", 3_600_000_000_000), ("m", 60_000_000_000), ("s", 1_000_000_000), ("ms", 1_000_000)):
        if nanoseconds >= size:
            return f"{nanoseconds / size:.1f}{unit}"
    return f"{nanoseconds / 1000:.0f}µs"

"""The wire scanner: OTLP protobuf read in place by C, where it could be built; `_wire.c` says what it promises.

Nothing depends on it. Where it is missing, and for each request of which it is not sure, the reference decoder works.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

from halo_receiver.wire import json_ends

Looked: TypeAlias = tuple[int, int, list[tuple[int, bytes, bytes]], list[tuple[bytes, int, int]]]
Said: TypeAlias = tuple[str, str, str | None, str | None, str | None, str | None, str | None] | tuple[()]

VERSION = 10  # of what Python and C expect of each other here: raise it on both sides when that changes

_wire: Any
try:
    from halo_receiver.wire import _wire
except ImportError:  # installed without a compiler
    _wire = None
_stale = _wire is not None and getattr(_wire, "VERSION", None) != VERSION  # left in a checkout by an earlier build
if _stale:
    _wire = None


def available() -> bool:
    """Say whether requests are scanned by C."""
    return _wire is not None


def description() -> str:
    """Name the decoder in use, for logs and `halo doctor`."""
    if available():
        return "wire scanner (C)"
    if _stale:
        return "Python alone, at a fifth of the speed: the wire scanner is of an earlier build; install halo again"
    return "Python alone: there was no C compiler when halo was installed; all works, at a fifth of the speed"


def crc32(data: bytes) -> int:
    """Return zlib's CRC-32 of some bytes: ten times faster where the processor helps."""
    value: int = _wire.crc32(data) if _wire is not None else zlib.crc32(data)
    return value


def check(body: bytes, *, logs: bool, max_fields: int = 0) -> Looked | Literal[False] | None:
    """Look at a request without building its messages: (items, rejected, named, services).

    `rejected` spans have no usable ids; the first three are named as (place from 1, trace_id, span_id). A service is
    (name, items, rejected), once for each resource. None when the scanner is missing or not sure: ask the parser then.
    False when it takes more than `max_fields` (1,000 take about 10 µs); without, other threads run meanwhile.
    Raises OverflowError when it holds more messages than `check.MAX_MESSAGES`.
    """
    found: Looked | Literal[False] | None = _wire.check(body, logs, max_fields) if _wire is not None else None
    return found


def learn(kinds: dict[str, int], roles: dict[str, str]) -> None:
    """Tell which kinds of parts there are (flags of parts.h), and which role another name means."""
    if _wire is not None:
        _wire.learn(kinds, roles)


def messages(where: Any, how: str | bool | None, role: str, reason_of: Callable[[str], str | None]) -> Said | None:
    """Read messages as conventions.messages does; `role` is that of a text without one.

    `where` is a text, JSON or not (how False or True: only its entries that are no choices, or are); attributes into
    whose keys below the prefix `how` a list was flattened; the named texts of one object; or a list of (text, role,
    finish reason or None, id of a tool's call or None), one for each span event.
    An empty tuple when there are none. None when the scanner is missing or not sure: ask conventions.messages then.
    """
    found: Said | None = _wire.messages(where, how, role, reason_of) if _wire is not None else None
    return found


def member(text: str, paths: tuple[tuple[str, ...], ...]) -> Any:
    """Find the first member of JSON text to which a path leads, without parsing the rest; None when there is none.

    What is neither text nor boolean is its JSON, in bytes. False when the scanner is missing or not sure: parse then.
    """
    return _wire.member(text, paths) if _wire is not None else False


def first() -> Callable[[Any, tuple[Any, ...]], Any] | None:
    """Return conventions.sources.first in C, or None: it is called a dozen times for a span."""
    found: Callable[[Any, tuple[Any, ...]], Any] | None = getattr(_wire, "first", None)
    return found


def rows() -> Callable[[bytes, int, int, Callable[[str], bytes | None]], tuple[int, int, int, bytes]] | None:
    """Return what encodes rows of another store as a request, or None: `rows.h` says of which form."""
    found: Any = getattr(_wire, "rows", None)
    return found  # type: ignore[no-any-return]


def scanner(**options: Any) -> Any:
    """Return a new `_wire.Scanner`, or None when there is none."""
    return _wire.Scanner(**options) if _wire is not None else None


# How JSON is cut, without the scanner too.
json_end: Callable[[bytes, int], tuple[int, int, int]] = getattr(_wire, "json_end", json_ends.json_end)
json_items: Callable[[bytes, int], tuple[int, bytes, int, int]] = getattr(_wire, "json_items", json_ends.json_items)

LAYOUT: tuple[tuple[str, str], ...] = tuple(_wire.LAYOUT) if _wire is not None else ()

"""The JSON of a request as Python objects; of a large one only what is looked at, for the whole is ten times its size.

A large request's outline, where its resources, scopes and items lie, is found by the ends of values alone
(wire.json_end). Iterating over its lists then parses some items at a time, which are freed with their last user.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from halo_receiver import wire
from halo_receiver.decode.json_text import HINT, current_names, object_of, value_of
from halo_receiver.decode.message_count_limit import MAX_GROUPS, MAX_MESSAGES, TooManyMessages
from halo_receiver.decode.repair import Undecodable

WHOLE_BYTES = 2 * 2**20  # of a request that is parsed as a whole …
WHOLE_VALUES = 100_000  # … if it has no more objects, lists and commas than this
PART_BYTES = 2**20  # of items that are parsed at a time
MAX_ITEM_VALUES = 1_000_000  # in what cannot be parsed in parts, a span or a resource: about 300 MiB

# The lists that matter, from the outside to the inside, and what is parsed of the objects around each.
LISTS = {
    "resourceSpans": ("resourceSpans", "scopeSpans", "spans"),
    "resourceLogs": ("resourceLogs", "scopeLogs", "logRecords"),
}
_ABOUT: tuple[frozenset[str], ...] = (
    frozenset(),
    frozenset({"resource", "schemaUrl"}),
    frozenset({"scope", "schemaUrl"}),
)
_NAMES = (
    frozenset({"resourceSpans", "resourceLogs", "resourceMetrics", "resource_spans", "resource_logs"}),
    *_ABOUT[1:],
)
_SPACE = re.compile(rb"[ \t\r\n]*")


def read(body: bytes, wanted: str) -> dict[str, Any]:
    """Return a request; its list `wanted` and the lists in it are lists or Lazy.

    Raises Undecodable when the body is no JSON object, also while a Lazy is iterated over, and TooManyMessages
    when it holds more than MAX_MESSAGES.
    """
    body = current_names(body)
    if len(body) <= WHOLE_BYTES and sum(map(body.count, (b"{", b"[", b","))) <= WHOLE_VALUES:
        return object_of(body)
    return _Outline(body.removeprefix(b"\xef\xbb\xbf"), LISTS[wanted]).request()


class Lazy:
    """A list whose elements are made while it is iterated over."""

    def __init__(self, make: Callable[[], Iterator[Any]]) -> None:
        self._make = make

    def __iter__(self) -> Iterator[Any]:
        return self._make()


@dataclass(slots=True)
class _Object:
    """Where the members of an object lie, and what its list holds: objects, or begin and end of each item."""

    members: dict[str, tuple[int, int]] = field(default_factory=dict)
    inner: list[_Object] | array[int] | None = None


class _Outline:
    """Finds the outline, in one pass over the body, and parses what lies in it."""

    def __init__(self, body: bytes, lists: tuple[str, ...]) -> None:
        self._body = body
        self._lists = lists
        self._openings = self._groups = 0

    def request(self) -> dict[str, Any]:
        start = self._space(0)
        if self._body[start : start + 1] != b"{":
            return object_of(self._slice(start, self._end(start)))  # which says what it is instead
        found, end = self._object(start, 0)
        if self._space(end) < len(self._body):
            raise self._broken(end, "something follows the request")
        return dict.fromkeys(found.members) | self._made(found, 0)

    def _object(self, at: int, depth: int) -> tuple[_Object, int]:
        found = _Object()
        at = self._space(at + 1)
        while (next_ := self._body[at : at + 1]) == b'"':
            end = self._end(at)
            name = value_of(self._slice(at, end))
            at = self._space(end)
            if self._body[at : at + 1] != b":":
                raise self._broken(at, "':' is missing")
            begin = self._space(at + 1)
            if name == self._lists[depth] and self._body[begin : begin + 1] == b"[":
                further = depth + 1 < len(self._lists)
                found.inner, end = self._objects(begin, depth + 1) if further else self._items(begin)
            else:
                end = self._end(begin, parsed=name in _ABOUT[depth])
                found.inner = None if name == self._lists[depth] else found.inner  # the last of a name counts
            if name in _NAMES[depth]:
                found.members[name] = begin, end
            at, next_ = self._after(end, b"}")
        if next_ != b"}":
            raise self._broken(at, "a name is missing")
        return found, at + 1

    def _items(self, at: int) -> tuple[array[int], int]:
        try:
            end, places, openings, most = wire.json_items(self._body, at)
        except ValueError:
            raise self._broken(at, "the list is broken that begins") from None
        self._count(openings, most)
        return array("Q", places), end

    def _objects(self, at: int, depth: int) -> tuple[list[_Object], int]:
        objects: list[_Object] = []
        at = self._space(at + 1)
        while (next_ := self._body[at : at + 1]) != b"]":
            if next_ == b"{":
                self._groups += 1
                if self._groups > MAX_GROUPS:
                    raise TooManyMessages(MAX_GROUPS, "resources and scopes")
                found, end = self._object(at, depth)
                objects.append(found)
            else:
                end = self._end(at)
            at, _ = self._after(end, b"]")
        return objects, at + 1

    def _made(self, found: _Object, depth: int) -> dict[str, Any]:
        """Parse what is said about a list; the list itself waits."""
        made: dict[str, Any] = {
            name: value_of(self._slice(begin, end))
            for name, (begin, end) in found.members.items()
            if name in _ABOUT[depth]
        }
        inner = found.inner
        if inner is not None:
            made[self._lists[depth]] = Lazy(lambda: self._elements(inner, depth + 1))
        return made

    def _elements(self, inner: list[_Object] | array[int], depth: int) -> Iterator[Any]:
        if not isinstance(inner, array):
            for found in inner:
                yield self._made(found, depth)
            return
        start = 0
        for index in range(0, len(inner), 2):
            if inner[index + 1] - inner[start] >= PART_BYTES or index + 2 == len(inner):
                yield from value_of(b"[" + self._slice(inner[start], inner[index + 1]) + b"]")
                start = index + 2

    def _slice(self, begin: int, end: int) -> bytes:
        return self._body[begin:end]

    def _space(self, at: int) -> int:
        match = _SPACE.match(self._body, at)
        return match.end() if match else at

    def _end(self, at: int, *, parsed: bool = False) -> int:
        try:
            end, openings, commas = wire.json_end(self._body, at)
        except ValueError:
            raise self._broken(at, "a value has no end") from None
        self._count(openings, openings + commas if parsed else 0)
        return end

    def _count(self, openings: int, in_one: int) -> None:
        self._openings += openings
        if self._openings > MAX_MESSAGES:
            raise TooManyMessages(MAX_MESSAGES)
        if in_one > MAX_ITEM_VALUES:
            raise TooManyMessages(MAX_ITEM_VALUES, "objects, lists and members in one span, log record or resource")

    def _after(self, end: int, closing: bytes) -> tuple[int, bytes]:
        """Step over what separates elements; return where the next thing is, and its first byte."""
        at = self._space(end)
        next_ = self._body[at : at + 1]
        if next_ == b",":
            at = self._space(at + 1)
            next_ = self._body[at : at + 1]
            if next_ == closing:
                raise self._broken(at, "a value is missing")
        elif next_ != closing:
            raise self._broken(at, f"',' or '{closing.decode()}' is missing")
        return at, next_

    def _broken(self, at: int, why: str) -> Undecodable:
        return Undecodable(f"the body is not JSON: {why} at byte {at} of {len(self._body)}", hint=HINT)

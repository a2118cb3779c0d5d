"""How many messages one request may hold; in protobuf they are counted without building them.

An empty one has two bytes, and fifty once it is built: 64 MiB of them would take gigabytes and minutes.
"""

from __future__ import annotations

from typing import Any

from halo_receiver.decode.repair import Undecodable

MAX_GROUPS = 100_000  # resources, and scopes, in one request
MAX_MESSAGES = 5_000_000  # of all kinds, attributes included; 64 MiB of small spans hold four million
MAX_NESTING = 100  # as the parser's


class TooManyMessages(Undecodable):
    """A request holds more messages than are decoded: in memory they would take fifty times its size."""

    def __init__(self, limit: int, what: str = "spans, events, links, attributes and values together") -> None:
        super().__init__(f"the request holds more than {limit} {what}", hint="send smaller batches")


Shape = dict[int, Any]  # the fields that are messages, by number, with their own shapes

_shapes: dict[str, Shape] = {}


def exceeds(body: bytes, descriptor: Any, limit: int) -> bool:
    """Return whether a message of `descriptor` holds more than `limit` messages. Damage is left to the parser."""
    rest: list[tuple[int, int, Shape]] = []
    at, end, shape = 0, len(body), _shape(descriptor)
    number = 0
    try:
        while True:
            while at >= end:
                if not rest:
                    return False
                at, end, shape = rest.pop()
            tag, size = body[at], body[at + 1] if at + 1 < end else 0
            at += 2
            if tag >= 0x80 or size >= 0x80 or tag & 7 != 2:  # rare where messages are many: those are small
                tag, at = _varint(body, at - 2)
                size = 0
                if tag & 7 == 2:
                    size, at = _varint(body, at)
            wire = tag & 7
            if tag < 8:
                return False
            if wire == 2:
                inner = shape.get(tag >> 3)
                if inner is None:
                    at += size
                    continue
                number += 1
                if number > limit:
                    return True
                if size:
                    rest.append((at + size, end, shape))
                    if len(rest) > MAX_NESTING:
                        return False
                    end, shape = min(at + size, end), inner
            elif wire == 0:
                _, at = _varint(body, at)
            elif wire in (1, 5):
                at += 8 if wire == 1 else 4
            else:
                return False
    except IndexError:
        return False


def _varint(body: bytes, at: int) -> tuple[int, int]:
    byte = body[at]
    if byte < 0x80:
        return byte, at + 1
    value, shift = byte & 0x7F, 7
    while True:
        at += 1
        byte = body[at]
        value |= (byte & 0x7F) << shift
        if byte < 0x80 or shift > 63:
            return value, at + 1
        shift += 7


def _shape(descriptor: Any) -> Shape:
    name = descriptor.full_name
    if name not in _shapes:
        shape = _shapes[name] = {}  # before its fields: values hold values
        for field in descriptor.fields:
            if field.message_type is not None:
                shape[field.number] = _shape(field.message_type)
    return _shapes[name]

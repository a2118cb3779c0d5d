"""Where a protobuf body is damaged: the parser says only that it is."""

from __future__ import annotations

from typing import Any

_MESSAGE = 11  # FieldDescriptor.TYPE_MESSAGE


class _DamagedError(Exception):
    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(reason)
        self.offset, self.reason = offset, reason


def locate_damage(body: bytes, descriptor: Any) -> str:
    """Return at which byte, in which field, and why `body` is no message of `descriptor`."""
    if body[:1] in b"{[" and body:
        return "it starts like JSON"
    try:
        _walk(body, 0, len(body), descriptor, 0)
    except _DamagedError as damage:
        return f"{damage.reason} at byte {damage.offset} of {len(body)}"
    return "its fields are nested too deeply or have wrong types"


def _varint(body: bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    for offset in range(at, min(at + 10, end)):
        byte = body[offset]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, offset + 1
        shift += 7
    raise _DamagedError(at, "a number has no end")


def _walk(body: bytes, at: int, end: int, descriptor: Any, depth: int) -> None:
    if depth > 100:
        raise _DamagedError(at, "messages are nested more than 100 deep")
    while at < end:
        start = at
        tag, at = _varint(body, at, end)
        number, wire = tag >> 3, tag & 7
        field = descriptor.fields_by_number.get(number) if descriptor is not None else None
        where = f"{descriptor.name}.{field.name}" if field is not None else f"field {number}"
        if number == 0 or wire in (3, 4, 6, 7):
            raise _DamagedError(start, f"no field can start with tag {tag}")
        if wire == 0:
            _, at = _varint(body, at, end)
            continue
        length = 8 if wire == 1 else 4
        if wire == 2:
            length, at = _varint(body, at, end)
        if at + length > end:
            raise _DamagedError(start, f"{where} claims {length} bytes and {end - at} are left")
        if wire == 2 and field is not None and field.type == _MESSAGE:
            _walk(body, at, at + length, field.message_type, depth + 1)
        at += length

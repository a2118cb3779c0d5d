"""Where JSON values end, found without a look at what is in them: json_end.h in Python, for where it is not built.

What lies between two ends is JSON only if a parser says so.
"""

from __future__ import annotations

import re
from array import array

_BROKEN = "it has no end"
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["{}\[\],]', re.DOTALL)
_SCALAR = re.compile(rb"[^ \t\r\n,\]}]++")
_SPACE = re.compile(rb"[ \t\r\n]*+")


def json_end(body: bytes, at: int) -> tuple[int, int, int]:
    """Find where the value at a place ends: (end, its objects and lists, its commas). ValueError when it has no end."""
    first = body[at : at + 1]
    if first not in (b"{", b"["):
        match = (_TOKEN if first == b'"' else _SCALAR).match(body, at)
        if match is None or match[0] == b'"':
            raise ValueError(_BROKEN)
        return match.end(), 0, 0
    depth = openings = commas = 0
    for token in _TOKEN.finditer(body, at):
        mark = token[0][:1]
        if token[0] == b'"':  # of a string without an end
            break
        if mark == b",":
            commas += 1
        elif mark in b"{[":
            depth, openings = depth + 1, openings + 1
        elif mark in b"}]":
            depth -= 1
            if not depth:
                return token.end(), openings, commas
    raise ValueError(_BROKEN)


def json_items(body: bytes, at: int) -> tuple[int, bytes, int, int]:
    """Find the items of the list at a place: (end, begin and end of each as uint64, objects and lists in all of them,
    the most objects, lists and commas in one). ValueError when it is broken."""
    places = array("Q")
    all_openings = most = 0
    if body[at : at + 1] != b"[":
        raise ValueError(_BROKEN)
    at = _after_space(body, at + 1)
    if body[at : at + 1] == b"]":
        return at + 1, b"", 0, 0
    while True:
        end, openings, commas = json_end(body, at)
        places.extend((at, end))
        all_openings, most = all_openings + openings, max(most, openings + commas)
        at = _after_space(body, end)
        if body[at : at + 1] == b"]":
            return at + 1, places.tobytes(), all_openings, most
        if body[at : at + 1] != b",":
            raise ValueError(_BROKEN)
        at = _after_space(body, at + 1)


def _after_space(body: bytes, at: int) -> int:
    match = _SPACE.match(body, at)
    return match.end() if match else at

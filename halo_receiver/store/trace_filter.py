"""A Bloom filter of the trace ids in a segment, so that a question for one trace opens only what it needs.

Ten bits a trace and four places, the 32-bit words of the id's MD5: 1.2 % of the segments without a trace are opened in
vain. MD5 spreads ids that are counters, or begin with a time, as evenly as random ones.
"""

from __future__ import annotations

import base64
import hashlib
import re
import struct
from collections.abc import Iterable

BITS_PER_TRACE = 10
MAX_BYTES = 4 * 2**20  # of one filter; a segment with more traces is opened in vain more often
_WORDS = struct.Struct(">4I")
_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")


def _words(trace_id: str) -> tuple[int, ...]:
    return _WORDS.unpack(hashlib.md5(trace_id.encode("utf-8", "replace"), usedforsecurity=False).digest())


def build(trace_ids: Iterable[str], count: int) -> str:
    """Return the filter of `count` ids as text; empty for none."""
    if not count:
        return ""
    size = min(MAX_BYTES, max(8, (count * BITS_PER_TRACE + 7) // 8))
    bits, filled = size * 8, bytearray(size)
    for trace_id in trace_ids:
        for word in _words(trace_id):
            place = word % bits
            filled[place >> 3] |= 1 << (place & 7)
    return base64.b64encode(filled).decode("ascii")


def is_filter(text: str) -> bool:
    """Say whether a text can be a filter: whole bytes in base64."""
    return len(text) % 4 == 0 and _BASE64.fullmatch(text) is not None


def may_hold(text: str, trace_id: str) -> bool:
    """Say whether a filter's segment may hold a trace; False is certain."""
    if not text:
        return False
    filled = base64.b64decode(text)
    bits = len(filled) * 8
    places = (word % bits for word in _words(trace_id))
    return all(filled[place >> 3] & 1 << (place & 7) for place in places)

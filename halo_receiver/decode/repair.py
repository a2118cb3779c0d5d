"""What is repaired in a request instead of refused, and how each repair is counted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

from halo_receiver.errors import InputError
from halo_receiver.span import Decoded, LogRecord, Rejection, Span

MAX_ATTRIBUTE_BYTES = 1024 * 1024
MAX_DEPTH = 64  # AnyValue in AnyValue; deeper values become a marker. upb stops at about 33 levels by itself.
INT64_MAX = 2**63 - 1

# The names under which repairs are counted; metrics and `halo doctor` show them.
BAD_UTF8 = "text was not UTF-8: replaced"
DUPLICATE_KEY = "duplicate attribute key: last kept"
CLAMPED_TIME = "time beyond int64: clamped"
OVERSIZE = "attribute value over the limit: cut"
END_BEFORE_START = "span ends before it starts"
UNKNOWN_KIND = "unknown span kind: UNSPECIFIED"
UNKNOWN_STATUS = "unknown status code: UNSET"
BAD_PARENT = "parent_span_id of a wrong length: dropped"
BAD_LINK = "link with ids of a wrong length: kept"
BAD_LOG_ID = "log record with a malformed id: dropped the id"
STRING_INDEX = "reference into a string table: empty"
TOO_DEEP = "attribute value nested too deeply: cut"
WRONG_TYPE = "field of a wrong type: ignored"

Item: TypeAlias = Span | LogRecord | Rejection

_MARK = "… [cut by halo: {} bytes]"


class Undecodable(InputError):  # noqa: N818 - reads as the sentence it is raised for
    """A body as a whole cannot be parsed: nothing of it can be kept."""


def id_problem(value: str, length: int, name: str) -> str | None:
    """Say what is wrong with a hex id of that length, if anything."""
    if len(value) != length:
        return f"{name} has {len(value) // 2} bytes, {length // 2} are required" if value else f"{name} is missing"
    return f"{name} is all zeros" if not value.strip("0") else None


class Repair:
    """The limits of one decoding, the repairs, and the spans, rejections and warnings that come of it."""

    __slots__ = ("decoded", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.decoded = Decoded()

    def gather(self, items: Iterable[Item]) -> Decoded:
        """Collect decoded items by kind, and return them with the warnings."""
        for item in items:
            kept: Any = self.decoded.spans
            if not isinstance(item, Span):
                kept = self.decoded.logs if isinstance(item, LogRecord) else self.decoded.rejected
            kept.append(item)
        return self.decoded

    def count(self, what: str) -> None:
        """Count one repair in the warnings."""
        warnings = self.decoded.warnings
        warnings[what] = warnings.get(what, 0) + 1

    def text(self, raw: bytes) -> str:
        """Decode a string field: invalid UTF-8 becomes U+FFFD, what is too long is truncated and says so."""
        if len(raw) > self.limit:
            return self._truncate(raw)
        try:
            return raw.decode()
        except UnicodeDecodeError:
            self.count(BAD_UTF8)
            return raw.decode("utf-8", "replace")

    def string(self, value: str) -> str:
        """The same for a string that JSON decoded already; lone surrogates become U+FFFD."""
        if value.isascii() and len(value) <= self.limit:
            return value
        try:
            raw = value.encode()
        except UnicodeEncodeError:
            self.count(BAD_UTF8)
            value = value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
            raw = value.encode()
        return value if len(raw) <= self.limit else self._truncate(raw)

    def blob(self, value: bytes) -> bytes:
        """Truncate a bytes value that is too long. It carries no mark; the warning counts it."""
        if len(value) <= self.limit:
            return value
        self.count(OVERSIZE)
        return value[: self.limit]

    def _truncate(self, raw: bytes) -> str:
        self.count(OVERSIZE)
        text = raw[: self.limit].decode("utf-8", "replace").rstrip("\ufffd")
        return text + _MARK.format(len(raw))

    def time(self, value: int) -> int:
        """Clamp a uint64 time to what a TIMESTAMP_NS can hold."""
        if 0 <= value <= INT64_MAX:
            return value
        self.count(CLAMPED_TIME)
        return INT64_MAX if value > 0 else 0

    def keep(self, attributes: dict[str, Any], key: str, value: Any) -> None:
        """Set an attribute; the last of duplicate keys wins and is counted."""
        if key in attributes:
            self.count(DUPLICATE_KEY)
        attributes[key] = value

"""Text files: OTLP/JSON as one document or one per line, HALO flat spans one per line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from halo_receiver.decode import Undecodable, from_json
from halo_receiver.decode.flat import flat_span
from halo_receiver.decode.json_text import current_names, value_of
from halo_receiver.files.part import MAX_RECORD_BYTES, FilePart, Gathering, NotATraceFile
from halo_receiver.files.streams import Stream
from halo_receiver.span import Rejection

_BOM = b"\xef\xbb\xbf"
_MAX_STRANGE = 20  # lines without a trace from the start, after which a file is no trace file
_CONTROL = bytes(range(1, 9)) + bytes(range(14, 32)) + b"\x0b\x0c"
_KNOWN = ("resourceSpans", "resourceLogs", "resourceMetrics")
_HOLE = re.compile(rb"\0+")

Line = tuple[int, bytes | None]  # its number, and None for one that is too long


def is_text(head: bytes) -> bool:
    """Whether a file is text. Protobuf has control bytes within its first tags; NUL alone is a hole in a text."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise NotATraceFile("is UTF-16 text, UTF-8 is required")
    return bool(head.strip(b"\0")) and len(head.translate(None, _CONTROL)) == len(head)


def read(stream: Stream, path: str) -> Iterator[FilePart]:
    """Read a text file; see `files.read_files`."""
    holes: list[str] = []
    lines = _without_holes(stream, path, holes)
    first: list[tuple[int, bytes]] = []
    for number, line in lines:
        line = b"" if line is None else line.removeprefix(_BOM) if number == 1 else line
        if line.strip():
            first.append((number, line))
        if len(first) == 2:
            break
    if not first:
        return
    if not any(line.lstrip()[:1] in (b"{", b"[") for _, line in first):
        raise NotATraceFile("is text, but neither OTLP/JSON nor HALO flat spans")
    by_line = any(_item(line) is not None for _, line in first)
    yield from (_by_line if by_line else _document)(first, lines, path)
    if holes:
        yield FilePart(path, problems=holes)


def _without_holes(stream: Stream, path: str, holes: list[str]) -> Iterator[Line]:
    """Yield the lines, and what lies before and after a hole of NUL bytes as if it were lines of its own.

    A machine that lost its power leaves such holes in files that were being written; JSON never holds a NUL.
    """
    for number, line in enumerate(stream.lines(MAX_RECORD_BYTES), 1):
        if line is None or b"\0" not in line:
            yield number, line
            continue
        holes.append(f"{path}:{number}: a hole of {line.count(0)} NUL bytes, passed over")
        yield from ((number, piece) for piece in _HOLE.split(line) if piece.strip())


def _item(line: bytes) -> Any:
    """What a line holds when it stands for itself: an object, or a list of objects."""
    try:
        value = value_of(current_names(line.strip()))
    except Undecodable:
        return None
    return value if isinstance(value, dict) or (isinstance(value, list) and value) else None


def _by_line(first: list[tuple[int, bytes]], rest: Iterable[Line], path: str) -> Iterator[FilePart]:
    gathering, known, strange = Gathering(path), False, 0
    for number, line in chain(first, rest):
        if line is None:
            gathering.refuse(number, f"the line is over {MAX_RECORD_BYTES} bytes")
            continue
        line = line.strip()
        if not line:
            continue
        gathering.bytes += len(line)
        if _line(line, number, gathering, ended=True):
            known = True
        elif not known:
            strange += 1
            if strange >= _MAX_STRANGE:
                raise NotATraceFile(f"has no trace in its first {strange} lines")
        if known and gathering.full() and (part := gathering.take()):
            yield part
    if not known:
        raise NotATraceFile("is JSON, but neither OTLP/JSON nor HALO flat spans")
    if part := gathering.take():
        yield part


def _line(line: bytes, number: int, gathering: Gathering, *, ended: bool) -> bool:
    """Take one line; whether it holds, or was meant to hold, telemetry."""
    try:
        value = value_of(current_names(line))
    except Undecodable as error:
        torn = "; the line is cut off" if ended and not line.endswith((b"}", b"]")) else ""
        gathering.refuse(number, f"{error}{torn}")
        return False
    return _take(value, number, gathering)


def _take(value: Any, number: int, gathering: Gathering) -> bool:
    if isinstance(value, list):
        taken = [_take(item, number, gathering) for item in value]
        return any(taken)
    if not isinstance(value, dict):
        gathering.refuse(number, f"a JSON {type(value).__name__}, an object is required")
        return False
    if not any(key in value for key in _KNOWN):
        return _take_flat(value, number, gathering)
    rejected = gathering.decoded.rejected
    before = len(rejected)
    if "resourceSpans" in value:
        gathering.repair.gather(from_json.spans_of(value, gathering.repair))
    if "resourceLogs" in value:
        gathering.repair.gather(from_json.records_of(value, gathering.repair))
    if "resourceMetrics" in value:
        gathering.problems.append(f"{gathering.path}:{number}: metrics are not kept")
    for place in range(before, len(rejected)):  # items are counted within their line
        reason = f"item {rejected[place].index}: {rejected[place].reason}"
        rejected[place] = Rejection(number, reason)
        gathering.problems.append(f"{gathering.path}:{number}: {reason}")
    return True


def _take_flat(value: dict[str, Any], number: int, gathering: Gathering) -> bool:
    try:
        gathering.decoded.spans.append(flat_span(value, repair=gathering.repair))
    except Undecodable as error:
        gathering.refuse(number, f"{error}" if "span_id" in value or "trace_id" in value else "no span and no log")
        return "span_id" in value or "trace_id" in value
    return True


def _document(first: list[tuple[int, bytes]], rest: Iterable[Line], path: str) -> Iterator[FilePart]:
    """Read a file whose lines do not stand for themselves: one document, or lines of which the first are bad."""
    pieces, size = list(first), 0
    for number, line in rest:
        size += len(line or b"")
        if line is None or size > MAX_RECORD_BYTES:
            raise NotATraceFile(f"is one JSON document of over {MAX_RECORD_BYTES} bytes; write one document per line")
        pieces.append((number, line))
    gathering = Gathering(path)
    try:
        value = value_of(current_names(b"".join(line for _, line in pieces).strip()))
    except Undecodable as error:
        found = any(
            _line(line.strip(), number, gathering, ended=True)
            for number, line in pieces[2:]
            if line.strip()[:1] == b"{"
        )
        if not found:
            raise NotATraceFile(str(error)) from None
        yield from _by_line(first, pieces[2:], path)
        return
    if not _take(value, first[0][0], gathering):
        raise NotATraceFile("is JSON, but neither OTLP/JSON nor HALO flat spans")
    if part := gathering.take():
        yield part

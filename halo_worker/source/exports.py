"""Export files of other stores: JSON documents or JSON lines of the records that their APIs give."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from halo_receiver.decode.json_text import value_of
from halo_receiver.decode.repair import Repair, Undecodable
from halo_receiver.files import MAX_RECORD_BYTES, FilePart
from halo_receiver.files.find import find
from halo_receiver.files.part import Gathering
from halo_receiver.files.streams import Stream
from halo_receiver.span import LogRecord, Rejection, Span
from halo_worker.source import langfuse, langsmith, phoenix

Taken = Iterator[Span | LogRecord | Rejection]
TAKE: dict[str, Callable[[dict[str, Any], Repair], Taken]] = {
    "langfuse": langfuse.take, "phoenix": phoenix.take, "langsmith": langsmith.take,
}  # fmt: skip
NAMES = {"langfuse": "Langfuse", "phoenix": "Phoenix", "langsmith": "LangSmith"}  # by the word of --from
_DEPTH = 3  # of wrappers around the records: {"data": [{…}]}


def read(paths: Sequence[Path | str], form: str, *, stdin: BinaryIO | None = None) -> Iterator[FilePart]:
    """Read export files; see `files.read_files`."""
    for source in find(paths):
        name = str(source) if isinstance(source, Path) else "(stdin)"
        try:
            if isinstance(source, Path):
                with source.open("rb") as file:
                    yield from _read(Stream(file), name, form)
            elif stdin is not None:
                yield from _read(Stream(stdin), name, form)
        except OSError as error:
            yield FilePart(name, problems=[f"{name}: cannot be read: {error.strerror or error}"])


def taken(value: Any, form: str, gathering: Gathering, line: int = 1, depth: int = 0) -> int:
    """Gather what a value holds, itself a record or the wrapper of some; return of how many something came."""
    if isinstance(value, dict) and (found := list(TAKE[form](value, gathering.repair))):
        gathering.repair.gather(one for one in found if not isinstance(one, Rejection))
        for one in found:
            if isinstance(one, Rejection):
                gathering.refuse(line, one.reason)
        return 1
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if depth >= _DEPTH:
        return 0
    return sum(taken(item, form, gathering, line, depth + 1) for item in inner if isinstance(item, (dict, list)))


def _read(stream: Stream, name: str, form: str) -> Iterator[FilePart]:
    gathering, count = Gathering(name), 0
    for number, value in _values(stream, gathering):
        count += taken(value, form, gathering, number)
        if gathering.full() and (part := gathering.take()):
            yield part
    if not count and not gathering.problems:
        gathering.problems.append(f"{name}: holds no records of {NAMES[form]}, passed over")
    if stream.problem:
        gathering.problems.append(f"{name}: {stream.problem}; what came before it was kept")
    if part := gathering.take():
        yield part


def _values(stream: Stream, gathering: Gathering) -> Iterator[tuple[int, Any]]:
    """Yield the value of each line; or, where the first line is not one by itself, that of the whole file."""
    pieces: list[bytes] = []
    for number, line in enumerate(stream.lines(MAX_RECORD_BYTES), 1):
        text = (line or b"").strip(b"\xef\xbb\xbf \t\r\n")
        gathering.bytes += len(text)
        if pieces:
            pieces.append(text)
        elif line is None:
            gathering.refuse(number, f"the line is over {MAX_RECORD_BYTES} bytes")
        elif text:
            try:
                yield number, value_of(text)
            except Undecodable as error:
                if number > 1 and text.endswith((b"}", b"]")):
                    gathering.refuse(number, str(error))
                else:
                    pieces.append(text)
    if pieces:
        yield from _document(b"\n".join(pieces), gathering)


def _document(text: bytes, gathering: Gathering) -> Iterator[tuple[int, Any]]:
    try:
        yield 1, value_of(text)
    except Undecodable:
        gathering.problems.append(
            f"{gathering.path}: is neither a JSON document nor JSON lines, passed over: export it as JSON or JSONL"
        )

"""Export files of other stores: JSON documents, JSON lines, CSV or Parquet of the records that their APIs give."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from halo_receiver.conventions.values import number as number_of
from halo_receiver.conventions.values import python_repr, structured
from halo_receiver.decode.json_text import value_of
from halo_receiver.decode.repair import Repair, Undecodable
from halo_receiver.errors import InputError as ReceiverInputError
from halo_receiver.files import MAX_RECORD_BYTES, FilePart
from halo_receiver.files.find import find
from halo_receiver.files.part import Gathering
from halo_receiver.files.streams import Stream
from halo_receiver.span import LogRecord, Rejection, Span
from halo_receiver.store import foreign_tables
from halo_worker.source import langfuse, langsmith, phoenix

Taken = Iterator[Span | LogRecord | Rejection]
TAKE: dict[str, Callable[[dict[str, Any], Repair], Taken]] = {
    "langfuse": langfuse.take, "phoenix": phoenix.take, "langsmith": langsmith.take,
}  # fmt: skip
NAMES = {"langfuse": "Langfuse", "phoenix": "Phoenix", "langsmith": "LangSmith"}  # by the word of --from
_HEAD_BYTES = 64 * 1024
_COLUMNS = frozenset(
    {b"id", b"trace_id", b"traceId", b"run_id", b"run_type", b"context.span_id", b"startTime", b"start_time"}
)
_SCORES = frozenset({"score", "value", "result.score"})  # numbers, where a table keeps all as text
_DEPTH = 3  # of wrappers around the records: {"data": [{…}]}


def read(paths: Sequence[Path | str], form: str, *, stdin: BinaryIO | None = None) -> Iterator[FilePart]:
    """Read export files; see `files.read_files`."""
    for source in find(paths):
        name = str(source) if isinstance(source, Path) else "(stdin)"
        try:
            if isinstance(source, Path) and (table := _table_form(source)):
                yield from _read_table(source, table, form)
            elif isinstance(source, Path):
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


def _table_form(path: Path) -> foreign_tables.Form | None:
    """Tell Parquet by its first bytes, and CSV by a first line that names a column of such records."""
    with path.open("rb") as file:
        head = file.read(4) if not path.name.endswith((".gz", ".zst")) else b""
    if head == b"PAR1":
        return "parquet"
    with path.open("rb") as file:
        line = next(Stream(file).lines(_HEAD_BYTES), None) or b""
    names = {name.strip(b'\xef\xbb\xbf" \t') for name in line.split(b",")}
    return "csv" if _COLUMNS & names and line[:1] not in (b"{", b"[") else None


def _read_table(path: Path, table: foreign_tables.Form, form: str) -> Iterator[FilePart]:
    gathering, count = Gathering(str(path)), 0
    try:
        for number, row in enumerate(foreign_tables.rows(path, table), 1):
            record = {key: _cell(key, value) for key, value in row.items()}
            count += taken(record, form, gathering, number)
            gathering.bytes += sum(len(value) for value in row.values() if isinstance(value, str))
            if gathering.full() and (part := gathering.take()):
                yield part
    except ReceiverInputError as error:
        gathering.problems.append(f"{path}: {error}")
    if not count and not gathering.problems:
        gathering.problems.append(f"{path}: holds no records of {NAMES[form]}, passed over")
    if part := gathering.take():
        yield part


def _cell(key: str, value: Any) -> Any:
    """Give the structure that a cell holds as JSON or as Python prints it; scores as numbers or truth values."""
    if not isinstance(value, str):
        return value
    if value[:1] in ("{", "["):
        found = structured(value)
        found = python_repr(value) if found is None else found
        return found if isinstance(found, (dict, list)) else value
    if key in _SCORES:
        found = {"true": True, "false": False}.get(value.lower())
        return found if found is not None else value if (score := number_of(value)) is None else score
    return value


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

"""Trace files of any form → spans and log records, a bounded part at a time.

    path ──find──▶ file ──streams──▶ plain bytes ──┬─ text ──▶ OTLP/JSON documents or lines, HALO flat lines
                            (gzip, zstd)           └─ binary ▶ OTLP protobuf, one message or length-delimited

What a file is, its content says, never its name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from halo_receiver.files import binary, text
from halo_receiver.files.find import find
from halo_receiver.files.part import MAX_RECORD_BYTES, FilePart, NotATraceFile
from halo_receiver.files.streams import Stream

__all__ = ["MAX_RECORD_BYTES", "FilePart", "read_files"]


def read_files(paths: Iterable[Path | str], *, stdin: BinaryIO | None = None) -> Iterator[FilePart]:
    """Read every trace file that `paths` name: files, directories, globs, and `-` for `stdin`.

    Yields parts of at most a few thousand items, in file order, so that a file of any length needs little memory;
    only a single JSON document must fit into it (`MAX_RECORD_BYTES`). `problems` name what was not read, as
    `file:line: why`: bad lines and truncated ends are skipped and the rest is kept, files that hold no traces are
    named and passed over.

    Raises InputError when a path names nothing at all.
    """
    for source in find(paths):
        name = str(source)
        try:
            if isinstance(source, Path):
                with source.open("rb") as file:
                    yield from _read(file, name)
            elif stdin is not None:
                yield from _read(stdin, "(stdin)")
        except OSError as error:
            yield FilePart(name, problems=[f"{name}: cannot be read: {error.strerror or error}"])


def _read(file: BinaryIO, name: str) -> Iterator[FilePart]:
    stream = Stream(file)
    try:
        head = stream.head()
        if head:
            yield from (text.read(stream, name) if text.is_text(head) else binary.read(stream, name))
    except NotATraceFile as why:
        yield FilePart(name, problems=[f"{name}: {why}, passed over"])
    if stream.problem:
        yield FilePart(name, problems=[f"{name}: {stream.problem}; what came before it was kept"])

"""Append-only framed requests on disk: append, sync, replay, drop what is loaded.

A frame is a header and the request's bytes as they came, compressed or not:

    magic "HSP1" | kind u8 | encoding u8 | compression u8 | 0 | arrival i64 (unix ns) | length u32 | crc32 u32 | bytes

little-endian; the checksum covers the header before it and the bytes. Files are numbered and never reused: a start
begins a new one, so that a torn tail is never written over. What does not check is skipped to the next magic.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

MAGIC = b"HSP1"
_HEADER = struct.Struct("<4sBBBxqI")
_CRC = struct.Struct("<I")
HEADER_BYTES = _HEADER.size + _CRC.size

KINDS = ("traces", "logs")
ENCODINGS = ("protobuf", "json")
COMPRESSIONS = ("none", "gzip")

FILE_BYTES = 256 * 2**20  # of a spool file, above which the next one begins


class Position(NamedTuple):
    """A place in the spool: file number and byte offset. Positions sort in the order of arrival."""

    file: int
    offset: int


@dataclass(frozen=True, slots=True)
class Frame:
    """One request as it was acknowledged, and where it ends."""

    kind: str
    encoding: Literal["protobuf", "json"]
    compression: str
    arrival_ns: int
    body: bytes
    start: Position
    end: Position


@dataclass(frozen=True, slots=True)
class Damage:
    """A stretch of a spool file that is not a frame: torn at the end, or damaged in the middle."""

    start: Position
    length: int
    torn: bool
    end: Position


def file_name(number: int) -> str:
    """Return the name of a spool file."""
    return f"{number:012d}.spool"


def file_numbers(directory: Path) -> list[int]:
    """Return the numbers of the spool files, oldest first."""
    return sorted(int(path.stem) for path in directory.glob("*.spool") if path.stem.isdigit())


def encode(*, kind: str, encoding: str, compression: str, arrival_ns: int, body: bytes) -> tuple[bytes, bytes]:
    """Return a frame's header and its bytes."""
    head = _HEADER.pack(
        MAGIC, KINDS.index(kind), ENCODINGS.index(encoding), COMPRESSIONS.index(compression), arrival_ns, len(body)
    )
    return head + _CRC.pack(zlib.crc32(body, zlib.crc32(head))), body


class SpoolWriter:
    """Appends to the newest spool file. Only one thread may use it."""

    def __init__(self, directory: Path, *, file_bytes: int = FILE_BYTES) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._file_bytes = file_bytes
        numbers = file_numbers(directory)
        self._number = numbers[-1] if numbers else 0
        self._descriptor = -1
        self._offset = 0
        self._next_file()

    @property
    def position(self) -> Position:
        """Where the next frame begins."""
        return Position(self._number, self._offset)

    def _next_file(self) -> None:
        descriptor = os.open(
            self._directory / file_name(self._number + 1),
            os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC,
            0o600,
        )
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = descriptor
        self._number += 1
        self._offset = 0
        directory = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def append(self, frames: Sequence[tuple[bytes, bytes]]) -> Position:
        """Write frames and make them durable together; return where they end.

        On an OSError nothing of them counts: the file is cut back to where it was.
        """
        if self._offset >= self._file_bytes:
            self._next_file()
        parts = [memoryview(part) for frame in frames for part in frame if part]
        size = sum(len(part) for part in parts)
        try:
            self._write(parts)
            os.fdatasync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, self._offset)
            raise
        self._offset += size
        return self.position

    def _write(self, parts: list[memoryview]) -> None:
        while parts:
            written = os.writev(self._descriptor, parts[:1000])
            while parts and written >= len(parts[0]):
                written -= len(parts.pop(0))
            if written:
                parts[0] = parts[0][written:]

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def read_file(directory: Path, number: int, offset: int) -> Iterator[Frame | Damage]:
    """Yield the frames of one spool file from `offset` on.

    An unfinished frame at the end is Damage with `torn` set: in a file that is still written, more will come.
    """
    path = directory / file_name(number)
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        while offset < size:
            file.seek(offset)
            frame = _frame(file.read(HEADER_BYTES), file, number, offset, size)
            if isinstance(frame, Frame):
                yield frame
                offset = frame.end.offset
                continue
            following = _next_magic(file, offset + 1, size)
            end = following if following is not None else size
            yield Damage(Position(number, offset), end - offset, following is None, Position(number, end))
            offset = end


def _frame(head: bytes, file: BinaryIO, number: int, offset: int, size: int) -> Frame | None:
    if len(head) < HEADER_BYTES or not head.startswith(MAGIC):
        return None
    _, kind, encoding, compression, arrival, length = _HEADER.unpack_from(head)
    end = offset + HEADER_BYTES + length
    if end > size or kind >= len(KINDS) or encoding >= len(ENCODINGS) or compression >= len(COMPRESSIONS):
        return None
    body = file.read(length)
    (expected,) = _CRC.unpack_from(head, _HEADER.size)
    if zlib.crc32(body, zlib.crc32(head[: _HEADER.size])) != expected:
        return None
    return Frame(
        KINDS[kind],
        ENCODINGS[encoding],  # type: ignore[arg-type]
        COMPRESSIONS[compression],
        arrival,
        body,
        Position(number, offset),
        Position(number, end),
    )


def _next_magic(file: BinaryIO, offset: int, size: int) -> int | None:
    step = 2**20
    while offset < size:
        file.seek(offset)
        block = file.read(step + len(MAGIC) - 1)
        found = block.find(MAGIC)
        if found >= 0:
            return offset + int(found)
        offset += step
    return None


def backlog(directory: Path, loaded: Position) -> int:
    """Return how many bytes lie in the spool after a position."""
    total = 0
    for number in file_numbers(directory):
        if number >= loaded.file:
            try:
                size = (directory / file_name(number)).stat().st_size
            except FileNotFoundError:
                continue
            total += size - (loaded.offset if number == loaded.file else 0)
    return max(0, total)


def drop_loaded(directory: Path, sealed: Position) -> int:
    """Delete the files that end before a position that is in a sealed segment; return how many."""
    dropped = 0
    for number in file_numbers(directory):
        if number < sealed.file:
            (directory / file_name(number)).unlink(missing_ok=True)
            dropped += 1
    return dropped

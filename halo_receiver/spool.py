"""Append-only framed requests on disk: append, sync, replay, drop what is loaded.

A frame is a header and the request's bytes:

    magic "HSP2" | kind u8 | encoding u8 | compression u8 | 0 | arrival i64 (unix ns) | length u32
    | crc32 of the bytes u32 | crc32 of this header u32 | the bytes

What came compressed lies there as it came. What did not is packed when it is large: an acknowledgement waits for the
disk, and a seventh of the bytes is written sooner than the whole, for about the same CPU time. Readers see none of it.

little-endian. The header has a checksum of its own, so that its length can be believed before the bytes are there, and
text inside a request that looks like a header is not one. Files are numbered and never reused: a start begins a new
one, so that a torn tail is never written over. What does not check is skipped to the next header that does.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

import zstandard

from halo_receiver.store.disk import sync_directory
from halo_receiver.wire import crc32

MAGIC = b"HSP2"
_HEADER = struct.Struct("<4sBBBxqII")
_CRC = struct.Struct("<I")
HEADER_BYTES = _HEADER.size + _CRC.size

KINDS = ("traces", "logs")
ENCODINGS = ("protobuf", "json")
COMPRESSIONS = ("none", "gzip")
_PACKED = len(COMPRESSIONS)  # compression "none", and packed by us
PACK_BYTES = 8 * 2**10  # from which on a request is packed: below, the disk waits for its own latency
# Agents' spans of 7.2 kB: 5.5 µs a span for 6.7 : 1; level 1 takes 7.1 µs for 10 : 1, writing them as they are 5 to 9.
_PACK_LEVEL = -5

_NAME = re.compile(r"\d{12}\.spool", re.ASCII)
PROBE_BYTES = 4096  # written to see whether the disk takes them
FILE_BYTES = 256 * 2**20  # of a spool file, above which the next one begins


class Position(NamedTuple):
    """A place in the spool: file number and byte offset. Positions sort in the order of arrival."""

    file: int
    offset: int


@dataclass(slots=True)
class Frame:
    """One request as it was acknowledged, and where it ends. Who has decoded it may let go of its body."""

    kind: str
    encoding: Literal["protobuf", "json"]
    compression: str
    arrival_ns: int
    body: bytes
    start: Position
    end: Position


@dataclass(frozen=True, slots=True)
class Damage:
    """A stretch of a spool file that is no whole frame: torn at the end, or damaged in the middle."""

    start: Position
    length: int
    torn: bool
    end: Position


def file_name(number: int) -> str:
    """Return the name of a spool file."""
    return f"{number:012d}.spool"


def file_numbers(directory: Path) -> list[int]:
    """Return the numbers of the spool files, oldest first; what has another name, or is no file, is none of them."""
    paths = (path for path in directory.glob("*.spool") if _NAME.fullmatch(path.name) and path.is_file())
    return sorted(int(path.stem) for path in paths)


def encode(*, kind: str, encoding: str, compression: str, arrival_ns: int, body: bytes) -> tuple[bytes, bytes]:
    """Return a frame's header and its bytes."""
    how = COMPRESSIONS.index(compression)
    if compression == "none" and len(body) >= PACK_BYTES:
        how, body = _PACKED, zstandard.ZstdCompressor(level=_PACK_LEVEL, write_content_size=True).compress(body)
    what = KINDS.index(kind), ENCODINGS.index(encoding), how
    head = _HEADER.pack(MAGIC, *what, arrival_ns, len(body), crc32(body))
    return head + _CRC.pack(crc32(head)), body


class SpoolWriter:
    """Appends to the newest spool file. Only one thread may use it.

    `after` is the number of a file that is known from elsewhere, such as the position in the segments: numbers go on
    behind it even when the spool's own files are gone, for what is behind that position counts as loaded.
    """

    def __init__(self, directory: Path, *, after: int = 0, file_bytes: int = FILE_BYTES) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._file_bytes = file_bytes
        self._number = max([after, *file_numbers(directory)])
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
            0o640,
        )
        self.close()
        self._descriptor = descriptor
        self._number += 1
        self._offset = 0
        sync_directory(self._directory)

    def append(self, frames: Sequence[tuple[bytes, bytes]]) -> Position:
        """Write frames and make them durable together; return where they end.

        On an OSError nothing of them counts: the file is cut back to where it was, and when even that fails, left.
        """
        if self._offset >= self._file_bytes or self._descriptor < 0:
            self._next_file()
        size = self._write_and_sync(frames)
        if os.fstat(self._descriptor).st_nlink == 0:  # somebody deleted the file: what is written to it goes with us
            self._next_file()
            size = self._write_and_sync(frames)
        self._offset += size
        return self.position

    def probe(self) -> None:
        """Raise OSError while what is written cannot be made durable; nothing of the attempt stays."""
        if self._offset >= self._file_bytes or self._descriptor < 0:
            self._next_file()
        self._write_and_sync([(bytes(PROBE_BYTES), b"")])
        os.ftruncate(self._descriptor, self._offset)

    def _write_and_sync(self, frames: Sequence[tuple[bytes, bytes]]) -> int:
        parts = [memoryview(part) for frame in frames for part in frame if part]
        size = sum(len(part) for part in parts)
        try:
            self._write(parts)
            os.fdatasync(self._descriptor)
        except OSError:
            try:
                os.ftruncate(self._descriptor, self._offset)
            except OSError:
                self.close()  # its end is unknown: the next group begins another file
            raise
        return size

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


def read_file(directory: Path, number: int, offset: int, *, limit: int | None = None) -> Iterator[Frame | Damage]:
    """Yield the frames of one spool file from `offset` on, not beyond `limit`.

    What is not a whole frame comes as Damage; with `torn` set when nothing readable follows, as at the end of a file
    whose writer was killed.
    """
    path = directory / file_name(number)
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        size = size if limit is None else min(size, limit)
        while offset < size:
            file.seek(offset)
            frame = _frame(file.read(HEADER_BYTES), file, number, offset, size)
            if isinstance(frame, Frame):
                yield frame
                offset = frame.end.offset
                continue
            following = frame if frame is not None else _next_header(file, offset + 1, size)
            end = following if following is not None else size
            yield Damage(Position(number, offset), end - offset, following is None, Position(number, end))
            offset = end


def _header(head: bytes) -> tuple[int, int, int, int, int, int] | None:
    """Return kind, encoding, compression, arrival, length and checksum of the bytes; None when it is no header."""
    if len(head) < HEADER_BYTES or not head.startswith(MAGIC):
        return None
    if _CRC.unpack_from(head, _HEADER.size)[0] != crc32(head[: _HEADER.size]):
        return None
    _, kind, encoding, compression, arrival, length, checksum = _HEADER.unpack_from(head)
    if kind >= len(KINDS) or encoding >= len(ENCODINGS) or compression > _PACKED:
        return None
    return kind, encoding, compression, arrival, length, checksum


def _frame(head: bytes, file: BinaryIO, number: int, offset: int, size: int) -> Frame | int | None:
    """Read one frame: where it ends when only its bytes are damaged, None when it is no frame at all."""
    header = _header(head)
    if header is None:
        return None
    kind, encoding, compression, arrival, length, checksum = header
    end = offset + HEADER_BYTES + length
    if end > size:
        return None
    body = file.read(length)
    if crc32(body) != checksum:
        return end
    if compression == _PACKED:
        try:
            compression, body = 0, zstandard.ZstdDecompressor().decompress(body)
        except zstandard.ZstdError:
            return end
    return Frame(
        KINDS[kind],
        ENCODINGS[encoding],  # type: ignore[arg-type]
        COMPRESSIONS[compression],
        arrival,
        body,
        Position(number, offset),
        Position(number, end),
    )


def _next_header(file: BinaryIO, offset: int, size: int) -> int | None:
    """Return where the next header begins, judged by its checksum; None when there is none."""
    step = 2**20
    while offset < size:
        file.seek(offset)
        block = file.read(min(step + HEADER_BYTES - 1, size - offset))
        found = block.find(MAGIC)
        while found >= 0:
            if found < step and _header(block[found : found + HEADER_BYTES]) is not None:
                return offset + found
            found = block.find(MAGIC, found + 1)
        offset += step
    return None

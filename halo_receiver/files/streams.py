"""A file's plain bytes, gzip and zstd undone as they are read."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Protocol

import zstandard

HEAD_BYTES = 4096
_CHUNK = 1024 * 1024
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_MAX_ZSTD_WINDOW = 2**27  # 128 MiB, what the zstd tool accepts by itself


class _Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...

    def readline(self, size: int = -1, /) -> bytes: ...


class _Gunzip(io.RawIOBase):
    """gzip, member after member; a torn or damaged end is noted, and what came before it is given."""

    def __init__(self, source: _Readable, stream: Stream) -> None:
        self._source = source
        self._stream = stream
        self._inflater = zlib.decompressobj(wbits=31)
        self._input = b""
        self._begun = False  # in a member
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        while not self._ended:
            try:
                data = self._next(len(view))
            except zlib.error as error:
                self._stream.problem = f"the gzip stream is damaged ({error})"
                self._ended = True
                break
            if data:
                view[: len(data)] = data
                return len(data)
        return 0

    def _next(self, size: int) -> bytes:
        if not self._input:
            self._input = self._source.read(_CHUNK)
            if not self._input:
                self._ended = True
                if self._begun:
                    self._stream.problem = "the gzip stream ends too early"
                return self._inflater.flush(size) if self._begun else b""
        self._begun = True
        data = self._inflater.decompress(self._input, size)
        self._input = self._inflater.unconsumed_tail
        if self._inflater.eof:
            self._input = self._inflater.unused_data.lstrip(b"\0")  # padding between members is allowed
            self._inflater = zlib.decompressobj(wbits=31)
            self._begun = False
        return data


class _Zstd(io.RawIOBase):
    """zstd, frame after frame; a damaged end is noted, and what came before it is given."""

    def __init__(self, source: _Readable, stream: Stream) -> None:
        decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_ZSTD_WINDOW)
        self._reader = decompressor.stream_reader(
            source,  # type: ignore[arg-type]  # it only reads
            read_size=_CHUNK,
            read_across_frames=True,
        )
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        try:
            data = self._reader.read(len(view))
        except zstandard.ZstdError as error:
            self._stream.problem = f"the zstd stream is damaged ({error})"
            return 0
        view[: len(data)] = data
        return len(data)


class Stream:
    """The plain bytes of a file. `problem` is set when decompression had to stop before the end."""

    def __init__(self, file: BinaryIO) -> None:
        self.problem: str | None = None
        start = file.read(4)
        joined: _Readable = _Joined(start, file)
        if start[:2] == _GZIP:
            joined = io.BufferedReader(_Gunzip(joined, self), _CHUNK)
        elif start == _ZSTD:
            joined = io.BufferedReader(_Zstd(joined, self), _CHUNK)
        self._plain = joined
        self._head = self.read(HEAD_BYTES)
        self._plain = _Joined(self._head, joined)

    def head(self) -> bytes:
        """Return the first bytes; they will be read again."""
        return self._head

    def read(self, size: int) -> bytes:
        """Read exactly `size` bytes, fewer only at the end."""
        pieces = []
        while size > 0 and (piece := self._plain.read(min(size, _CHUNK))):
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def lines(self, limit: int) -> Iterator[bytes | None]:
        """Yield lines with their ends; None stands for one that is over the limit."""
        while line := self._plain.readline(limit + 1):
            if len(line) <= limit:
                yield line
                continue
            while line and not line.endswith(b"\n"):
                line = self._plain.readline(_CHUNK)
            yield None


class _Joined:
    """Some bytes that were read already, then the rest of their stream."""

    def __init__(self, start: bytes, rest: _Readable) -> None:
        self._start = io.BytesIO(start)
        self._rest = rest

    def read(self, size: int = -1, /) -> bytes:
        data = self._start.read(size)
        return data or self._rest.read(size)

    def readline(self, size: int = -1, /) -> bytes:
        line = self._start.readline(size)
        if line.endswith(b"\n") or len(line) == size:
            return line
        return line + self._rest.readline(size - len(line) if size >= 0 else -1)

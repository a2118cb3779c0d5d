"""A segment's name is its state: open → sealed → expired, or broken.

`spans-20260822T101500Z-000042.duckdb.open`, then `….duckdb`; `….duckdb.broken` is kept for a person.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

State = Literal["open", "sealed", "broken"]

_NAME = re.compile(r"spans-(\d{8}T\d{6}Z)-(\d{6,})\.duckdb(\.open|\.broken)?")


@dataclass(frozen=True, order=True, slots=True)
class SegmentName:
    """When a segment was opened and its number. Numbers never repeat in one directory, so they sort."""

    number: int
    opened: str

    @classmethod
    def at(cls, unix_nano: int, number: int) -> SegmentName:
        """Name the segment that is opened now."""
        return cls(number, f"{datetime.fromtimestamp(unix_nano // 1_000_000_000, UTC):%Y%m%dT%H%M%SZ}")

    @classmethod
    def read(cls, file_name: str) -> SegmentName:
        """Read the name of a segment's file. Raises ValueError when it is not one."""
        parsed = parse(file_name)
        if parsed is None:
            raise ValueError(f"{file_name} is not a segment")
        return parsed[0]

    def __str__(self) -> str:
        return f"spans-{self.opened}-{self.number:06d}.duckdb"


def parse(file_name: str) -> tuple[SegmentName, State] | None:
    """Read a file's name; None when it is not a segment's."""
    match = _NAME.fullmatch(file_name)
    if match is None:
        return None
    state: State = {None: "sealed", ".open": "open", ".broken": "broken"}[match[3]]  # type: ignore[assignment]
    return SegmentName(int(match[2]), match[1]), state


def listed(directory: Path, state: State = "sealed") -> list[Path]:
    """Return the segments of a directory in that state, oldest first."""
    found = []
    for path in directory.iterdir() if directory.is_dir() else ():
        name = parse(path.name)
        if name is not None and name[1] == state:
            found.append((name[0], path))
    return [path for _, path in sorted(found)]


def next_number(directory: Path) -> int:
    """Return a number that no segment in `directory`, in whatever state, has had."""
    names = (parse(path.name) for path in directory.iterdir()) if directory.is_dir() else ()
    return max((name[0].number for name in names if name is not None), default=0) + 1


def adopt(data_dir: Path) -> list[Path]:
    """Move the sealed segments in `incoming/`, which an import left there, to `segments/`, numbered on.

    Only the holder of the writer's lock may call it. Their names begin with the import's unix nanoseconds.
    """
    segments, incoming = data_dir / "segments", data_dir / "incoming"
    adopted = []
    for path in sorted(incoming.glob("*.duckdb")) if incoming.is_dir() else ():
        stamp = path.name.partition("-")[0]
        target = segments / str(SegmentName.at(int(stamp) if stamp.isdigit() else 0, next_number(segments)))
        path.rename(target)
        adopted.append(target)
    return adopted

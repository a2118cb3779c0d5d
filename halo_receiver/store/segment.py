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
POSITION_FILE = "position.json"  # the furthest sealed spool position: outlives the segments it was in

# Numbers of more digits than a directory can come to are no segments': the next number would have to be larger still.
_NAME = re.compile(r"spans-(\d{8}T\d{6}Z)-(\d{6,12})\.duckdb(\.open|\.broken)?", re.ASCII)


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


def is_sealed(file_name: str) -> bool:
    """Say whether a name is that of a sealed segment; such a name leads out of no directory."""
    name = parse(file_name)
    return name is not None and name[1] == "sealed"


def listed(directory: Path, state: State = "sealed") -> list[Path]:
    """Return the segments of a directory in that state, oldest first; what is no file is none."""
    found = []
    for path in directory.iterdir() if directory.is_dir() else ():
        name = parse(path.name)
        if name is not None and name[1] == state and path.is_file():
            found.append((name[0], path))
    return [path for _, path in sorted(found)]


def not_understood(directory: Path) -> list[str]:
    """Return what lies among the segments and looks like one, but is none by its name or kind."""
    paths = (path for path in directory.iterdir() if ".duckdb" in path.name) if directory.is_dir() else ()
    return sorted(path.name for path in paths if path not in unfinished(directory) and not _is_segment(path))


def _is_segment(path: Path) -> bool:
    return parse(path.name.removesuffix(".wal")) is not None and path.is_file()


def unfinished(directory: Path) -> list[Path]:
    """Return the files of segments that were being made when a process ended, and logs that belong to no open one."""
    made = (path for path in directory.glob("*.making*") if is_sealed(path.name.partition(".making")[0]))
    logs = (path for path in directory.glob("*.open.wal") if parse(path.name.removesuffix(".wal")) is not None)
    found = [*made, *(path for path in logs if not path.with_suffix("").exists())]
    return [path for path in found if path.is_file()]


def next_number(directory: Path) -> int:
    """Return a number that no segment in `directory`, in whatever state, has had."""
    names = (parse(path.name) for path in directory.iterdir()) if directory.is_dir() else ()
    return max((name[0].number for name in names if name is not None), default=0) + 1

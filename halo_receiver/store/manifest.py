"""What is in each sealed segment, so that a query opens only what it needs. Derived from the files, cached beside them.

A cached entry counts while the file has the same size; a missing or unreadable cache is made again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import duckdb

CACHE_FILE = "manifest.json"


@dataclass(frozen=True, slots=True)
class Entry:
    """One sealed segment. Times are unix nanoseconds of arrival; 0 when it is empty."""

    name: str
    bytes: int
    spans: int = 0
    logs: int = 0
    first_received_ns: int = 0
    last_received_ns: int = 0
    services: list[str] = field(default_factory=list)
    replaces: list[str] = field(default_factory=list)  # segments that were merged into this one

    def may_hold(self, start_ns: int | None, end_ns: int | None) -> bool:
        """Say whether anything in it can have arrived in `[start, end)`."""
        return (start_ns is None or self.last_received_ns >= start_ns) and (
            end_ns is None or self.first_received_ns < end_ns
        )


def load(directory: Path, paths: Iterable[Path], *, write: bool = False) -> list[Entry]:
    """Return the entries of sealed segments, in the order of `paths`; a file that cannot be opened is left out."""
    cached = _cached(directory)
    entries, changed = [], False
    for path in paths:
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            continue
        entry = cached.get(path.name)
        if entry is None or entry.bytes != size:
            entry = describe(path)
            changed = True
        if entry is not None:
            entries.append(entry)
    if write and (changed or len(entries) != len(cached)):
        temporary = directory / f"{CACHE_FILE}.new"
        temporary.write_text(json.dumps([asdict(entry) for entry in entries], indent=1))
        temporary.rename(directory / CACHE_FILE)
    return entries


def _cached(directory: Path) -> dict[str, Entry]:
    try:
        return {item["name"]: Entry(**item) for item in json.loads((directory / CACHE_FILE).read_text())}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def describe(path: Path) -> Entry | None:
    """Read what a sealed segment says of itself; None when it cannot be opened."""
    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            row = connection.execute("SELECT value FROM meta WHERE key = 'facts'").fetchone()
        return Entry(name=path.name, bytes=path.stat().st_size, **(json.loads(row[0]) if row else {}))
    except (duckdb.Error, OSError, ValueError, TypeError):
        return None

"""What is in each sealed segment, so that a query opens only what it needs. Derived from the files, cached beside them.

A cached entry counts while the file has the same size and each of its members is what it should be; what is missing or
wrong is read from the file again. What segments are deleted or hidden by (`replaced`) comes from the files alone.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import duckdb
import orjson

from halo_receiver.store import trace_filter
from halo_receiver.store.segment import SegmentName, is_sealed, listed

CACHE_FILE = "manifest.json"
MAX_DESCRIBED = 1000  # segments that a process remembers beside that file


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
    services_complete: bool = True  # False: there were more than are named
    traces: str | None = None  # trace_filter of the trace ids; None: unknown, as in segments of early builds
    replaces: list[str] = field(default_factory=list)  # segments that were merged into this one
    position: list[int] = field(default_factory=lambda: [0, 0])  # how far the spool had been read
    mended: dict[str, int] = field(default_factory=dict)  # what decoding mended, and how often
    schema: int = 0
    mapping: int = 0  # of conventions/mapping.toml; 0: unknown

    def may_hold(
        self,
        start_ns: int | None,
        end_ns: int | None,
        *,
        service: str | None = None,
        trace_id: str | None = None,
    ) -> bool:
        """Say whether anything in it can have arrived in `[start, end)`, of that service, of that trace."""
        return (
            (start_ns is None or self.last_received_ns >= start_ns)
            and (end_ns is None or self.first_received_ns < end_ns)
            and (service is None or not self.services_complete or service in self.services)
            and (trace_id is None or self.traces is None or trace_filter.may_hold(self.traces, trace_id))
        )


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _text(value: Any) -> bool:
    return isinstance(value, str)


# What each member of an entry must be, whoever wrote it.
_VALID: dict[str, Callable[[Any], bool]] = {
    "name": lambda value: _text(value) and is_sealed(value),
    **dict.fromkeys(("bytes", "spans", "logs", "schema", "mapping", "first_received_ns", "last_received_ns"), _count),
    "services": lambda value: isinstance(value, list) and all(map(_text, value)),
    "services_complete": lambda value: isinstance(value, bool),
    "traces": lambda value: value is None or (_text(value) and trace_filter.is_filter(value)),
    "replaces": lambda value: isinstance(value, list) and all(_text(name) and is_sealed(name) for name in value),
    "position": lambda value: isinstance(value, list) and len(value) == 2 and all(map(_count, value)),
    "mended": lambda value: isinstance(value, dict) and all(map(_text, value)) and all(map(_count, value.values())),
}
assert _VALID.keys() == {item.name for item in fields(Entry)}


_DESCRIBED: dict[Path, tuple[int, Entry]] = {}  # with the time of the file's last change


def load(directory: Path, paths: Iterable[Path], *, write: bool = False) -> list[Entry]:
    """Return the entries of sealed segments, in the order of `paths`; a file that cannot be opened is left out."""
    cached = _cached(directory)
    entries, changed = [], False
    for path in paths:
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue
        entry = cached.get(path.name)
        if entry is None or entry.bytes != stat.st_size:
            entry = _described(path, stat)
            changed = True
        if entry is not None:
            entries.append(entry)
    if write and (changed or len(entries) != len(cached)):
        temporary = directory / f"{CACHE_FILE}.new"
        with contextlib.suppress(OSError):  # on a full disk there is no cache, and all is read from the files
            temporary.write_bytes(b"[" + b",\n".join(orjson.dumps(asdict(entry)) for entry in entries) + b"]\n")
            temporary.rename(directory / CACHE_FILE)
    return entries


def _described(path: Path, stat: os.stat_result) -> Entry | None:
    """Describe a segment once in the life of a process, as long as its file stays as it is."""
    changed_ns, known = _DESCRIBED.get(path, (0, None))
    if known is None or known.bytes != stat.st_size or changed_ns != stat.st_mtime_ns:
        known = describe(path)
        if known is not None:
            _DESCRIBED[path] = (stat.st_mtime_ns, known)
            while len(_DESCRIBED) > MAX_DESCRIBED:
                _DESCRIBED.pop(next(iter(_DESCRIBED)))
    return known


def current(directory: Path) -> tuple[list[Entry], list[Path]]:
    """Return the sealed segments that readers open, as no merge has replaced them, and files that say nothing."""
    entries = load(directory, listed(directory))
    known = {entry.name for entry in entries}
    damaged = [path for path in listed(directory) if path.name not in known]
    gone = replaced(directory, entries)
    return [entry for entry in entries if entry.name not in gone], damaged


def _cached(directory: Path) -> dict[str, Entry]:
    try:
        items = orjson.loads((directory / CACHE_FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    found = {}
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict) and _VALID.keys() == _valid(item).keys():
            found[item["name"]] = Entry(**_valid(item))
    return found


def _valid(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the members of an entry that are what they should be; what a newer build says beyond is passed over."""
    return {name: facts[name] for name, valid in _VALID.items() if name in facts and valid(facts[name])}


def forget(directory: Path) -> None:
    """Delete the cache: the next look reads the files."""
    (directory / CACHE_FILE).unlink(missing_ok=True)


def replaced(directory: Path, entries: Iterable[Entry]) -> set[str]:
    """Return the names in `directory` of segments that others were made of, and which so count no more.

    What a segment replaces is older than itself: numbers rise.
    """
    names: set[str] = set()
    for entry in entries:
        if any((directory / name).exists() for name in entry.replaces):
            told = describe(directory / entry.name)
            own = SegmentName.read(entry.name).number
            names |= {name for name in (told.replaces if told else ()) if SegmentName.read(name).number < own}
    return names


def describe(path: Path) -> Entry | None:
    """Read what a sealed segment says of itself; None when it cannot be opened."""
    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            meta = dict(connection.execute("SELECT key, value FROM meta").fetchall())
            facts = orjson.loads(meta["facts"]) if "facts" in meta else _counted(connection)
        known = {"name": path.name, "bytes": path.stat().st_size}
        for name in ("schema", "mapping"):
            version = meta.get(f"{name}_version", "0")
            known[name] = int(version) if version.isdecimal() else 0
        return Entry(**{**_valid(facts), **known})
    except (duckdb.Error, OSError, ValueError, TypeError):
        return None


def _counted(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """Count the rows of a segment that says nothing of itself."""
    row = connection.execute(
        "SELECT count(*) FILTER (span), count(*) FILTER (NOT span), coalesce(epoch_ns(min(received_at)), 0), "
        "coalesce(epoch_ns(max(received_at)), 0) FROM (SELECT true AS span, received_at FROM span_rows UNION ALL "
        "SELECT false, received_at FROM log_rows)"
    ).fetchone()
    names = ("spans", "logs", "first_received_ns", "last_received_ns")
    return {**dict(zip(names, row or (), strict=False)), "services_complete": False}

"""What is in each sealed segment, so that a query opens only what it needs. Derived from the files, cached beside them.

A cached entry counts while the file has the same size; a missing or unreadable cache is made again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import duckdb
import orjson

from halo_receiver.store import trace_filter

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


_FIELDS = {item.name for item in fields(Entry)}


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
        with contextlib.suppress(OSError):  # on a full disk there is no cache, and all is read from the files
            temporary.write_bytes(b"[" + b",\n".join(orjson.dumps(asdict(entry)) for entry in entries) + b"]\n")
            temporary.rename(directory / CACHE_FILE)
    return entries


def _cached(directory: Path) -> dict[str, Entry]:
    try:
        items = orjson.loads((directory / CACHE_FILE).read_bytes())
        return {item["name"]: _entry(item) for item in items if "mapping" in item}  # early builds did not say
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def _entry(facts: dict[str, Any]) -> Entry:
    """Make an entry of what is known; what a newer build says beyond that is passed over."""
    return Entry(**{name: value for name, value in facts.items() if name in _FIELDS})


def describe(path: Path) -> Entry | None:
    """Read what a sealed segment says of itself; None when it cannot be opened."""
    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            meta = dict(connection.execute("SELECT key, value FROM meta").fetchall())
        facts = orjson.loads(meta.get("facts", "{}"))
        known = {"name": path.name, "bytes": path.stat().st_size}
        for name in ("schema", "mapping"):
            version = meta.get(f"{name}_version", "0")
            known[name] = int(version) if version.isdigit() else 0
        return _entry({**facts, **known})
    except (duckdb.Error, OSError, ValueError, TypeError, AttributeError):
        return None

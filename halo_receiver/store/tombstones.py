"""Traces that were deleted and must not come back: clients retry, and some send a trace's last spans late.

`segments/deleted.jsonl`, a line a deletion. The loader reads it when it starts, and a deletion happens while none runs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from halo_receiver.store.disk import sync_directory

FILE = "deleted.jsonl"
KEPT_NS = 30 * 86_400 * 10**9  # after which no client retries any more


def add(directory: Path, traces: Collection[str], *, now_ns: int) -> None:
    """Remember traces before anything of them is deleted; forget those of deletions that are long past."""
    kept = [(at, ids) for at, ids in _read(directory) if now_ns - at < KEPT_NS]
    temporary = directory / f".{FILE}.new"
    with temporary.open("w", encoding="utf-8") as file:
        for at, ids in [*kept, (now_ns, sorted(traces))]:
            file.write(json.dumps({"at_ns": at, "traces": ids}) + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(directory / FILE)
    sync_directory(directory)


def read(directory: Path) -> frozenset[str]:
    """Return the traces that were deleted."""
    return frozenset(trace for _, traces in _read(directory) for trace in traces)


def without(rows: pa.Table, deleted: frozenset[str]) -> pa.Table:
    """Return rows that have a trace_id without those of deleted traces."""
    if not deleted or not rows.num_rows:
        return rows
    gone = pc.is_in(rows["trace_id"].cast(pa.string()), value_set=pa.array(sorted(deleted), pa.string()))
    return rows.filter(pc.invert(gone)) if pc.any(gone).as_py() else rows


def _read(directory: Path) -> list[tuple[int, list[str]]]:
    """Return the deletions of the file; a damaged line costs itself alone."""
    try:
        lines = (directory / FILE).read_bytes().split(b"\n")
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            item = orjson.loads(line)
            at_ns, traces = item["at_ns"], item["traces"]
        except (ValueError, TypeError, KeyError):
            continue
        if type(at_ns) is int and type(traces) is list:
            found.append((at_ns, [trace for trace in traces if type(trace) is str]))
    return found

"""One rewrite of sealed segments, in a process of its own: many small ones into one, or an old meaning into the new.

The loader starts it and publishes what it made. It is nicer than whoever loads or reads, takes its memory with it
when it ends, and may be killed at any moment.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from halo_receiver import conventions
from halo_receiver.errors import StoreError
from halo_receiver.logs import set_up
from halo_receiver.store import columns, manifest, merge, rows

NICE = 10
DAMAGED = 3  # exit code: a segment cannot be read; which ones is said on stdout


def rewrite(directory: Path, names: Sequence[str], *, memory_limit: str, threads: int) -> Path:
    """Write sealed segments as one, in the work directory, or derive again what the rows of one older segment mean.

    Raw attributes, ids, times and arrivals stay as they are; only the columns that conventions fill in change.
    """
    options: dict[str, Any] = {"memory_limit": memory_limit, "threads": threads, "mapping": conventions.MAPPING_VERSION}
    entries = manifest.load(directory, [directory / name for name in names])
    if all(entry.mapping == conventions.MAPPING_VERSION for entry in entries):
        return merge.merge(directory, names, **options)
    [name] = names
    writer = merge.open_work(directory, name, **options)
    writer.derive_again(directory / name, span_meaning=span_meaning, log_meaning=log_meaning)
    return writer.seal()


def span_meaning(found: list[rows.Row]) -> columns.Table:
    """Return the derived columns of some rows of span_rows."""
    return columns.meaning_table((conventions.canonical(rows.span_of(row)), row["long_attributes"]) for row in found)


def log_meaning(found: list[rows.Row]) -> columns.Table:
    """Return the derived column of some rows of log_rows."""
    return columns.facts_table([conventions.from_log(rows.log_of(row)) for row in found])


def main() -> None:
    """Run as a child (children.py); what to do comes as one JSON argument."""
    given = json.loads(sys.argv[1])
    set_up(given["log_level"], given["log_format"])
    os.nice(NICE)
    directory = Path(given["directory"])
    try:
        made = rewrite(directory, given["names"], memory_limit=given["memory_limit"], threads=given["threads"])
    except StoreError:
        sys.stdout.write(json.dumps({"damaged": merge.damaged(directory, given["names"])}))
        sys.exit(DAMAGED)
    sys.stdout.write(json.dumps({"made": made.name}))


if __name__ == "__main__":
    main()

"""What an error of DuckDB means for whoever writes a segment."""

from __future__ import annotations

import errno
from pathlib import Path

import duckdb

from halo_receiver.errors import Unreadable, Unstorable

# What DuckDB says when memory is short while it commits, in an exception of another class.
_MEMORY = ("failed to pin block", "could not allocate block", "out of memory")
# What DuckDB says when the trouble is not the file's or the rows' but the moment's. It has no class for these.
_PASSING = ("no space left", "disk", "could not set lock", "quota", "too many open files", "read-only file system")


def refusal(error: duckdb.Error, path: Path) -> Exception:
    """Return the exception that a DuckDB error stands for, while `path` was written.

    OSError when the disk or the moment refused, MemoryError when memory was short, which may pass; Unreadable when the
    file is damaged; Unstorable when the rows are not to be stored whatever the disk says.
    """
    text = str(error).splitlines()[0]
    said = str(error).lower()
    if isinstance(error, duckdb.OutOfMemoryException) or any(words in said for words in _MEMORY):
        return MemoryError(text)
    if any(words in said for words in _PASSING):
        return OSError(errno.ENOSPC, text)
    if isinstance(error, (duckdb.IOException, duckdb.TransactionException)) and path.suffix == ".making":
        return OSError(errno.EIO, text)
    if isinstance(error, (duckdb.IOException, duckdb.SerializationException, duckdb.InternalException)):
        return Unreadable(f"segment {path.name} is damaged: {text}")
    if isinstance(error, (duckdb.TransactionException, duckdb.FatalException)):
        return OSError(errno.EIO, text)  # the file is as of its last commit; it is opened anew before the next attempt
    if isinstance(error, duckdb.CatalogException):
        return Unreadable(f"segment {path.name} is damaged: {text}")
    return Unstorable(text)

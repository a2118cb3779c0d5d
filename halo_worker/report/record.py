"""Files of one JSON object a line that several processes append to: decisions, verifications."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from halo_worker.errors import ReportError


def append_line(path: Path, line: str) -> None:
    """Append one line under the file's lock, and sync it. A line that a crash left open is closed first.

    Raises ReportError when the disk refuses.
    """
    text = line.encode("utf-8", "replace")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if size := file.seek(0, os.SEEK_END):
                file.seek(size - 1)
                if file.read(1) != b"\n":
                    text = b"\n" + text
            file.write(text + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ReportError(
            f"nothing was recorded in {path}: {error.strerror}",
            hint="free some disk, or make the directory writable for this user",
        ) from None


def read_lines(path: Path) -> list[bytes]:
    """Return the lines of a file; none where there is no file. Raises ReportError when the disk refuses."""
    try:
        return path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ReportError(f"{path} cannot be read: {error.strerror}") from None

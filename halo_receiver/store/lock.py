"""One writer at a time: a lock file that the system releases when its holder ends, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path
from types import TracebackType

from halo_receiver.errors import DirectoryInUse, DirectoryUnusable

LOOKED_AT_SECONDS = 0.1  # for which a lock may be held by who only looks whether it is


def holder(path: Path) -> str | None:
    """Return who has a lock, as its file says; None when nobody has, or it cannot be looked at."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return os.read(descriptor, 200).decode("utf-8", "replace").strip() or "another process"
    finally:
        os.close(descriptor)
    return None


def _locked(descriptor: int) -> bool:
    """Take a lock that is free, or held by nobody but who looks at it."""
    deadline = time.monotonic() + LOOKED_AT_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        else:
            return True


class DirectoryLock:
    """An exclusive lock on what `path` stands for; the file holds its holder's pid, for the error of the next one."""

    def __init__(self, path: Path, holder: str) -> None:
        self.path = path
        self._holder = holder
        self._descriptor: int | None = None

    def acquire(self) -> DirectoryLock:
        """Take the lock. Raises DirectoryInUse when another process has it, DirectoryUnusable when it cannot be."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise DirectoryUnusable(
                f"cannot write {self.path.parent}: {error.strerror}",
                hint="make it writable for this user, free some disk, or name another directory with --data-dir",
            ) from None
        if not _locked(descriptor):
            other = os.read(descriptor, 200).decode("utf-8", "replace").strip() or "another process"
            os.close(descriptor)
            raise DirectoryInUse(str(self.path.parent), other) from None
        with contextlib.suppress(OSError):  # on a full disk the lock holds all the same, only its holder is unnamed
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{self._holder} (process {os.getpid()})\n".encode())
        self._descriptor = descriptor
        return self

    def release(self) -> None:
        """Let the next one in."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> DirectoryLock:
        return self if self._descriptor is not None else self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

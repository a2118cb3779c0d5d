"""What could not be loaded is kept in `spool/set-aside/`: requests, damaged stretches, torn tails, notes of lost files.

Requests are tried once more at each start of a loader: memory may be there again, or a build that can store them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

from halo_receiver import spool
from halo_receiver.logs import event
from halo_receiver.store.disk import sync_directory

log = logging.getLogger("halo.loader")

DIRECTORY = "set-aside"  # below the spool
TRYING_FILE = "set-aside.trying"  # in the spool: the request that is tried; one that kills the loader is skipped once
NEW_FILE = "set-aside.new"  # in the spool: what is being written

# Earlier builds did not write when a request arrived.
_REQUEST = re.compile(
    rf"(?P<file>\d{{12}})-(?P<offset>\d{{1,15}})(-(?P<arrival>\d{{1,19}}))?"
    rf"\.(?P<kind>{'|'.join(spool.KINDS)})\.(?P<encoding>{'|'.join(spool.ENCODINGS)})"
    rf"\.(?P<compression>{'|'.join(spool.COMPRESSIONS)})",
    re.ASCII,
)


def _said(name: str) -> re.Match[str]:
    said = _REQUEST.fullmatch(name)
    assert said is not None
    return said


def _place(said: re.Match[str]) -> spool.Position:
    return spool.Position(int(said["file"]), int(said["offset"]))


class Aside:
    """The directory of one spool. Only the loader's thread may use it."""

    def __init__(self, spool_dir: Path, count: Callable[[str, int], None]) -> None:
        self._spool_dir = spool_dir
        self._directory = spool_dir / DIRECTORY
        self._trying = spool_dir / TRYING_FILE
        self._count = count
        self._left: list[str] = []  # requests that earlier starts set aside, still to be tried

    def forget(self, stored: Iterable[str]) -> None:
        """Delete requests that are stored since: the loader was killed before it could."""
        for name in stored:
            if _REQUEST.fullmatch(name):
                (self._directory / name).unlink(missing_ok=True)

    def begin(self, position: spool.Position) -> None:
        """Look for requests to try again; those from `position` on will be read from the spool again anyway."""
        names = self._waiting()
        spooled = {name for name in names if self._is_spooled(name, position)}
        self.forget(spooled)
        self._left = [name for name in names if name not in spooled]

    def keep_damage(self, damage: spool.Damage) -> None:
        """Keep a stretch that cannot be read for a person, once, and say so."""
        # A torn tail was never acknowledged: its group had not been synced.
        kind = "torn" if damage.torn else "damaged"
        with (self._spool_dir / spool.file_name(damage.start.file)).open("rb") as file:
            file.seek(damage.start.offset)
            content = file.read(damage.length)
        name = f"{damage.start.file:012d}-{damage.start.offset}.{kind}"
        if self._keep(name, content):
            self._count("torn_tails" if damage.torn else "damaged_stretches", 1)
            event(log, "spool damage set aside", level=logging.WARNING, file=name, bytes=damage.length)

    def keep_missing(self, first: int, last: int) -> None:
        """Note spool files that somebody deleted before they were loaded."""
        name = f"{first:012d}" if first == last else f"{first:012d}-{last:012d}"
        if self._keep(f"{name}.missing", b""):
            self._count("missing_spool_files", last - first + 1)
            event(log, "spool files missing", level=logging.ERROR, first=spool.file_name(first), count=last - first + 1)

    def keep_request(self, frame: spool.Frame, error: Exception) -> None:
        """Keep a request that could not be decoded or stored."""
        name = (
            f"{frame.start.file:012d}-{frame.start.offset}-{frame.arrival_ns}"
            f".{frame.kind}.{frame.encoding}.{frame.compression}"
        )
        if self._keep(name, frame.body):
            self._count("set_aside_requests", 1)
            reason = f"{type(error).__name__}: {error}"
            event(log, "request set aside", level=logging.ERROR, file=name, reason=reason)

    def _keep(self, name: str, content: bytes) -> bool:
        """Write a file durably; False when it is there already."""
        self._directory.mkdir(exist_ok=True)
        path = self._directory / name
        if path.exists():
            return False
        temporary = self._spool_dir / NEW_FILE
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
        sync_directory(self._directory)
        return True

    def next_request(self) -> tuple[str, spool.Frame] | None:
        """Return a request that an earlier start set aside, with its name, each once; None when there are no more.

        From the call on it counts as being tried, until `done` says how that went.
        """
        while self._left:
            name = self._left.pop()
            with contextlib.suppress(OSError):
                frame = self._read(name)
                self._trying.write_text(name)
                return name, frame
        return None

    def _waiting(self) -> list[str]:
        """List what lies there, the oldest last, but for what the last loader may have died of."""
        died_of = ""
        with contextlib.suppress(OSError, ValueError):
            died_of = self._trying.read_text()
            self._trying.unlink()
        paths = self._directory.iterdir() if self._directory.is_dir() else ()
        names = (path.name for path in paths if path.is_file() and _REQUEST.fullmatch(path.name))
        return sorted((name for name in names if name != died_of), reverse=True)

    def _is_spooled(self, name: str, position: spool.Position) -> bool:
        """Whether the spool still holds a request: a kill came before its place was stored as passed."""
        said = _said(name)
        place = _place(said)
        if place < position or not (self._spool_dir / spool.file_name(place.file)).is_file():
            return False
        found = next(spool.read_file(self._spool_dir, *place), None)
        return isinstance(found, spool.Frame) and said["arrival"] in (None, str(found.arrival_ns))

    def _read(self, name: str) -> spool.Frame:
        path = self._directory / name
        said, place = _said(name), _place(_said(name))
        arrival = int(said["arrival"]) if said["arrival"] else path.stat().st_mtime_ns
        encoding: Literal["json", "protobuf"] = "json" if said["encoding"] == "json" else "protobuf"
        return spool.Frame(said["kind"], encoding, said["compression"], arrival, path.read_bytes(), place, place)

    def done(self, name: str, error: Exception | None) -> None:
        """Say how a try ended: without an error the request is stored, and its file deleted."""
        if error is None:
            (self._directory / name).unlink(missing_ok=True)
            self._count("retried_requests", 1)
            event(log, "request that was set aside is stored", file=name)
        else:
            reason = f"{type(error).__name__}: {error}"
            event(log, "request stays set aside", level=logging.WARNING, file=name, reason=reason)
        self._trying.unlink(missing_ok=True)

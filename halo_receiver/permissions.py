"""Who may read what halo keeps: its user alone, or a group as well ([store] group), whatever the caller's umask is.

DuckDB makes files by the umask and nothing else, so processes of halo have one that keeps others out. What is written
elsewhere for a person (`--out`, file sinks) is given back the permissions that the caller's umask asks for.
"""

from __future__ import annotations

import grp
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from halo_receiver.errors import ConfigError, DirectoryUnusable

KEPT = (
    "spool",
    "segments",
    "incoming",
    "reports",
    "runs",
    "cache",
    "locks",
    "receiver.json",
)  # what is halo's for sure
_callers_umask: int | None = None

Say = Callable[[str], None]


def secure(data_dir: Path, group: str | None, *, say: Say, make: bool = False) -> None:
    """Keep others out of a data directory, and of all that this process and its children write there from now on.

    Directories get 0700 and files 0600, with a group 0750 and 0640. One that is wider is tightened, and `say` is told
    once. `make` makes the directory where it is missing, and looks at all in it. A directory of another user is left
    as it is. Raises ConfigError when there is no such group or this user is not in it, DirectoryUnusable when
    the directory cannot be made.
    """
    global _callers_umask
    before = os.umask(0o027 if group else 0o077)
    _callers_umask = before if _callers_umask is None else _callers_umask
    number = _group_number(group) if group else None
    if make:
        _make(data_dir)
    try:
        found = data_dir.stat()
    except OSError:
        return
    if os.geteuid() not in (0, found.st_uid) or not stat.S_ISDIR(found.st_mode):
        return
    if make or _wrong(found, number):
        changed = [path for path in _ours(data_dir) if _set(path, number)]
        if changed:
            who = f"this user and group {group}" if group else "this user"
            say(f"permissions of {data_dir} set: {len(changed)} files and directories are now for {who} alone")


def _make(data_dir: Path) -> None:
    try:
        make_directory(data_dir.parent)
        data_dir.mkdir(exist_ok=True)
    except OSError as error:
        raise DirectoryUnusable(
            f"cannot write {data_dir}: {error.strerror}",
            hint="make it for this user, or name another directory with --data-dir",
        ) from None


def _group_number(group: str) -> int:
    try:
        number = grp.getgrnam(group).gr_gid
    except KeyError:
        raise ConfigError(f"[store] group: there is no group '{group}'", hint=f"groupadd {group}") from None
    if os.geteuid() != 0 and number not in (os.getegid(), *os.getgroups()):
        raise ConfigError(f"[store] group: this user is not in '{group}'", hint=f"usermod -a -G {group} USER")
    return number


def _ours(data_dir: Path) -> Iterator[Path]:
    # A directory that everybody may write to, such as /tmp, is not ours to close: what we keep in it is.
    if not data_dir.stat().st_mode & stat.S_ISVTX:
        yield data_dir.resolve()
    for name in KEPT:
        if os.path.lexists(data_dir / name):
            yield data_dir / name
            yield from (data_dir / name).rglob("*")


def _wanted(found: os.stat_result, number: int | None) -> int:
    """Return the mode; directories with a group hand it on to what is made in them."""
    if stat.S_ISDIR(found.st_mode):
        return 0o700 if number is None else 0o2750
    return 0o600 if number is None else 0o640


def _wrong(found: os.stat_result, number: int | None) -> bool:
    return stat.S_IMODE(found.st_mode) != _wanted(found, number) or number not in (None, found.st_gid)


def _set(path: Path, number: int | None) -> bool:
    """Give one file or directory its permissions; whether that changed anything. Links are never followed."""
    try:
        found = path.lstat()
        if not (stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode)) or not _wrong(found, number):
            return False
        if number is not None:
            os.chown(path, -1, number, follow_symlinks=False)
        path.chmod(_wanted(found, number))
        after = path.lstat()
    except OSError:  # it went away meanwhile, or is another user's
        return False
    return (found.st_mode, found.st_gid) != (after.st_mode, after.st_gid)  # some file systems have no modes


def make_directory(path: Path) -> None:
    """Make a directory that is not of the data directory, and its parents, as the caller's umask has it."""
    missing = [one for one in (path, *path.parents) if not one.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for one in missing:
        give(one)


def give(path: Path) -> None:
    """Give a file, or a directory with all in it, the permissions that the caller's umask asks for."""
    if _callers_umask is None:
        return
    for one in (path, *(path.rglob("*") if path.is_dir() else ())):
        one.chmod((0o777 if one.is_dir() else 0o666) & ~_callers_umask)

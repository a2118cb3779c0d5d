"""Whether a work tree's repository lies inside of it.

A `.git` that a stranger wrote may name any other repository on this disk, or take objects from one: its history would
be shown as that of the directory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

MAX_ENTRIES = 200_000  # of a git directory that are looked at; more are not believed
MAX_BYTES = 64 * 1024  # of a file that names a directory


def elsewhere(top: Path) -> Path | None:
    """Return a place outside of `top` that the repository of this work tree reads from; None where there is none.

    A linked work tree (`git worktree add`) is no stranger to its repository, which names it in return: None as well.
    """
    top = top.resolve()
    git_dir = _git_dir(top / ".git")
    if git_dir is None:
        return top / ".git"
    if not git_dir.is_relative_to(top):
        return None if _named_in_return(git_dir, top) else git_dir
    return next((place for place in _places(git_dir) if not place.is_relative_to(top)), None)


def _git_dir(mark: Path) -> Path | None:
    """Return the directory that `.git` is or names."""
    try:
        if mark.is_dir():
            return mark.resolve()
        word, _, named = _text(mark).partition(":")
        return (mark.parent / named.strip()).resolve() if word == "gitdir" and named.strip() else None
    except (OSError, RuntimeError, ValueError):
        return None


def _named_in_return(git_dir: Path, top: Path) -> bool:
    try:
        return (git_dir / _text(git_dir / "gitdir").strip()).resolve() == top / ".git"
    except (OSError, RuntimeError, ValueError):
        return False


def _places(git_dir: Path) -> Iterator[Path]:
    """Yield the real places that a git directory names: its common directory, its alternates, and every link in it."""
    for name, base in (("commondir", git_dir), ("objects/info/alternates", git_dir / "objects")):
        if (git_dir / name).exists():
            yield from _resolved(base, _text(git_dir / name).splitlines())
    seen = 0
    for here, folders, files in os.walk(git_dir):
        seen += len(folders) + len(files)
        yield from (Path(here, name).resolve() for name in (*folders, *files) if Path(here, name).is_symlink())
        if seen > MAX_ENTRIES:
            yield Path("/")


def _resolved(base: Path, lines: list[str]) -> Iterator[Path]:
    for line in lines:
        if line.strip() and not line.startswith("#"):
            yield (base / line.strip().strip('"')).resolve()


def _text(path: Path) -> str:
    with path.open("rb") as file:
        return os.fsdecode(file.read(MAX_BYTES))

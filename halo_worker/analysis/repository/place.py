"""The one directory that is read, and which of its files are shown."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path, PurePosixPath

from halo_worker.analysis.repository import git, process
from halo_worker.analysis.repository.confinement import elsewhere
from halo_worker.errors import InputError
from halo_worker.rlm.tool import ToolError

MAX_PATHS = 100_000
MAX_LIST_BYTES = 32 * 2**20
MAX_NESTED = 50  # repositories inside a directory that is none
SNIFFED = 8192  # bytes in which a NUL makes a file binary
JUNK = frozenset({
    ".git", ".hg", ".svn", "node_modules", "__pycache__", ".venv", "venv", ".tox", ".nox", ".mypy_cache",
    ".pytest_cache", ".ruff_cache", ".cache", ".idea", ".gradle", ".terraform", ".next", ".parcel-cache",
})  # fmt: skip
GIT_DIR = ".git"  # its settings may hold the password of a remote


class Place:
    """A directory, confined: no path leads out of it, be it by '..' or a link. Files that git ignores are not shown.

    `git` is there when the directory belongs to a git work tree. Raises InputError when it is no directory.
    """

    def __init__(self, path: Path) -> None:
        try:
            self.root = path.expanduser().resolve(strict=True)
            readable = self.root.is_dir() and os.access(self.root, os.R_OK | os.X_OK)
        except (OSError, RuntimeError):
            readable = False
        if not readable:
            raise InputError(
                f"the repository {path} is not a directory that can be read",
                hint="--repo-path names the directory with the agents' source",
            )
        self.top = git.top_of(self.root)
        self.elsewhere = self._elsewhere()
        self.git = git.Git(self.root) if self.top else None
        self._listing: tuple[list[str], bool] | None = None
        self._lock = asyncio.Lock()

    def _elsewhere(self) -> str | None:
        """Say where the repository is that this directory names and that is not read; None where there is none."""
        top = git.marked(self.root) if self.top is None else None
        if top is None:
            return None
        place = git.outside(top)
        why = f"lies elsewhere, at {place}" if place else "is damaged, or made for another directory"
        return f"the repository of {top} {why}: its history is not read"

    def path(self, given: str) -> Path:
        """Return the real file or directory behind a path. Raises ToolError when it is not inside, or not there."""
        self.relative(given)
        try:
            real = (self.root / given).resolve(strict=True)
        except (OSError, RuntimeError):
            raise ToolError(f"there is no {given!r}: glob_files and view_repo_tree show what there is") from None
        if not real.is_relative_to(self.root) or GIT_DIR in real.relative_to(self.root).parts:
            raise ToolError(f"{given!r} leads out of the repository")
        return real

    def relative(self, given: str) -> str:
        """Return a path inside in its plain form, whether it exists or not. Raises ToolError for any other."""
        pure = PurePosixPath(given)
        if not given.strip() or "\x00" in given or pure.is_absolute() or ".." in pure.parts or GIT_DIR in pure.parts:
            raise ToolError(
                f"{given!r} is not a path inside the repository: write it relative to its root, without '..'"
            )
        return str(pure)

    @property
    def pathspec(self) -> tuple[str, ...]:
        """How git is told to keep to the directory; of a whole repository also commits that change no file count."""
        return ("--",) if self.root == self.top else ("--", ".")

    async def shown(self, given: str) -> Path:
        """Return the real file behind a path that may be read. Raises ToolError for others, with the reason."""
        real = self.path(given)
        if real.is_dir():
            raise ToolError(f"{given!r} is a directory: view_repo_tree or glob_files show what is in it")
        if not real.is_file():
            raise ToolError(f"{given!r} is not a plain file")
        name = str(real.relative_to(self.root))
        if not (await self._shows(name) or await self._shows(name, anew=True)):  # it may have been written since
            raise ToolError(f"{given!r} is ignored ({'.gitignore' if git.installed() else 'a directory of tools'})")
        return real

    async def _shows(self, name: str, *, anew: bool = False) -> bool:
        if anew:
            self._listing = None
        _, whole = await self.listing()
        return not whole or name in self._known

    async def listing(self) -> tuple[list[str], bool]:
        """Return the paths of the files that are shown, sorted, and whether these are all. Kept for the run."""
        async with self._lock:
            if self._listing is None:
                paths, whole = await self._list(self.root, MAX_NESTED)
                plain = sorted(path for path in dict.fromkeys(paths) if JUNK.isdisjoint(path.split("/")))
                self._listing = plain[:MAX_PATHS], whole and len(plain) <= MAX_PATHS
                self._known = frozenset(self._listing[0])
            return self._listing

    async def _list(self, folder: Path, nested: int) -> tuple[list[str], bool]:
        if git.installed() is None:
            return await asyncio.to_thread(_walk, folder)
        if self.git is not None if folder == self.root else elsewhere(folder) is None:
            found = await self._names(folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
        else:  # no repository: an empty one beside it lets git read the .gitignore files all the same
            with tempfile.TemporaryDirectory(prefix="halo-git-") as empty:
                await self._names(folder, "init", "--quiet", "--bare", "--template=", empty)
                found = await self._names(
                    folder, f"--git-dir={empty}", f"--work-tree={folder}",
                    "ls-files", "-z", "--others", "--exclude-per-directory=.gitignore",
                )  # fmt: skip
        if found is None:
            return await asyncio.to_thread(_walk, folder)
        names, whole = found
        paths = [name for name in names if not name.endswith("/")]
        inner = [name for name in names if name.endswith("/")]
        for name in inner[:nested]:
            if not (folder / name).is_symlink():
                more, all_of_it = await self._list(folder / name, 0)
                paths += [name + path for path in more]
                whole = whole and all_of_it
        return paths, whole and len(inner) <= nested

    async def _names(self, folder: Path, *arguments: str) -> tuple[list[str], bool] | None:
        """Run git and split what it names; None when it failed."""
        output = await process.run(git.command(*arguments), cwd=folder, env=git.environment(), max_bytes=MAX_LIST_BYTES)
        if (output.code and not output.cut) or (output.timed_out and not output.stdout):
            return None
        names = output.stdout.decode("utf-8", "surrogateescape").split("\x00")
        whole = not output.cut and not output.timed_out
        return [name for name in (names if whole else names[:-1]) if name and _printable(name)], whole


def _printable(name: str) -> bool:
    """Whether a name can be written as JSON; one that is not UTF-8 cannot, and is left out."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _walk(folder: Path) -> tuple[list[str], bool]:
    """List a directory without git's help: links are not followed, directories of tools are passed over."""
    paths: list[str] = []
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in JUNK)
        base = Path(here).relative_to(folder)
        paths += [path for name in names if _printable(path := (base / name).as_posix())]
        if len(paths) > MAX_PATHS:
            return paths[:MAX_PATHS], False
    return paths, True


def is_binary(beginning: bytes) -> bool:
    """Say whether a file is not text, from how it begins."""
    return b"\x00" in beginning[:SNIFFED]

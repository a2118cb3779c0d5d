"""Git, read only: nothing that a repository's own settings name is run, and nothing leads to another repository."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from halo_worker.analysis.repository import process
from halo_worker.analysis.repository.confinement import elsewhere
from halo_worker.analysis.repository.process import Output
from halo_worker.rlm.tool import ToolError

SHA_LENGTH = 12  # of every sha that is shown

# A repository may have been written by a stranger, and its .git/config can name programs for almost everything.
_SETTINGS = (
    "core.fsmonitor=false", "core.hooksPath=/dev/null", "core.pager=cat", "core.sshCommand=false",
    "core.alternateRefsCommand=false", "core.attributesFile=/dev/null", "core.quotePath=false", "gpg.program=false",
    "gpg.ssh.program=false", "log.showSignature=false", "submodule.recurse=false", "diff.submodule=short",
    "diff.noprefix=false", "diff.mnemonicPrefix=false", "diff.renames=true", "color.ui=false", "safe.directory=*",
    "maintenance.auto=false", "gc.auto=0", "diff.orderFile=/dev/null", "mailmap.file=/dev/null",
    "mailmap.blob=", "core.excludesFile=/dev/null",
)  # fmt: skip
# Files that settings of a repository name, which no setting of ours can take back; git quotes their lines in errors.
_FILES = re.compile(r"include\.path|includeif\..*\.path|blame\.ignorerevsfile")
_REF = re.compile(r"[^\s\x00-\x1f\x7f:?*\[\\-][^\s\x00-\x1f\x7f:?*\[\\]{0,199}")
KEPT = ("PATH", "HOME", "TMPDIR", "SYSTEMROOT")


def environment() -> dict[str, str]:
    """Return what a child process sees: no GIT_* of ours, which could lead elsewhere, and no settings of the user."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return kept | {
        "LC_ALL": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": "none",  # nothing is fetched, not even what a partial clone lacks
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_LITERAL_PATHSPECS": "1",  # a path may hold ':', '*' and '['
        "GIT_PAGER": "cat",
    }


def installed() -> str | None:
    """Return where git is, if it is anywhere."""
    return shutil.which("git")


def command(*arguments: str) -> list[str]:
    """Return the words of one git command."""
    settings = [word for setting in _SETTINGS for word in ("-c", setting)]
    return ["git", "--no-pager", *settings, *arguments]


def marked(path: Path) -> Path | None:
    """Return the nearest directory at or above `path` that says it is a work tree; None without git."""
    if installed() is None:
        return None
    return next((folder for folder in (path, *path.parents) if os.path.lexists(folder / ".git")), None)


def top_of(path: Path) -> Path | None:
    """Return the top of the work tree that holds `path`; None without git, or where git means another directory."""
    top = marked(path)
    if top is None or outside(top) is not None:
        return None
    # core.worktree may name any directory: only the one that .git stands in is believed.
    said = _ask(path, "rev-parse", "--show-toplevel")
    return top if said is not None and Path(said.rstrip("\n")) == top else None


def outside(top: Path) -> Path | None:
    """Return a place outside of a work tree that its repository, or a setting of it, reads from; None without one."""
    place = elsewhere(top)
    if place is not None:
        return place
    listed = _ask(top, "config", "--local", "--includes", "--list", "-z") or ""
    settings = (entry.partition("\n") for entry in listed.split("\x00"))
    named = [_named(top, name, value) for name, _, value in settings if _FILES.fullmatch(name)]
    return next((file for file in named if not file.is_relative_to(top.resolve())), None)


def _named(top: Path, name: str, value: str) -> Path:
    """Return the file that a setting names, as git finds it; the root of the disk where that cannot be told."""
    base = top if name.startswith("blame.") else top / ".git"
    try:
        return Path("/") if value.startswith("%(") else (base / Path(value).expanduser()).resolve()
    except (OSError, RuntimeError, ValueError):
        return Path("/")


def _ask(folder: Path, *arguments: str) -> str | None:
    """Run one quick command; None when it fails."""
    try:
        done = subprocess.run(  # noqa: S603 - the words are our own
            command(*arguments),
            cwd=folder, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return os.fsdecode(done.stdout) if done.returncode == 0 else None


@dataclass(frozen=True, slots=True)
class Git:
    """Read-only questions to the work tree around `root`."""

    root: Path

    async def read(self, *arguments: str, max_bytes: int, seconds: float = process.SECONDS) -> Output:
        """Run one command. Raises ToolError with git's own words when it fails, or says that it took too long."""
        output = await process.run(
            command(*arguments), cwd=self.root, env=environment(), max_bytes=max_bytes, seconds=seconds
        )
        if output.timed_out:
            raise ToolError(
                f"git {arguments[0]} did not end within {seconds:g} s: name a path, a range or fewer commits"
            )
        if output.code and not output.cut:
            words = output.stderr.splitlines()
            raise ToolError(f"git {arguments[0]}: {words[0] if words else f'ended with {output.code}'}")
        return output

    async def commit(self, ref: str) -> str:
        """Return the full sha of the commit that a ref names. Raises ToolError for what is not a plain ref."""
        if not _REF.fullmatch(ref) or ".." in ref:
            raise ToolError(f"{ref!r} is not a ref: give a sha, a branch, a tag, HEAD~3 or the like")
        output = await process.run(
            command("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}"),
            cwd=self.root, env=environment(), max_bytes=1000,
        )  # fmt: skip
        sha = output.stdout.decode("ascii", "replace").strip()
        if output.code or not re.fullmatch(r"[0-9a-f]{40,64}", sha):
            raise ToolError(f"there is no commit {ref!r} here: 'git_log' shows the commits")
        return sha

    async def revisions(self, ref_range: str | None) -> str:
        """Return a range with both ends resolved: 'A..B', 'A...B' or one ref; without one HEAD."""
        if not ref_range:
            return await self.commit("HEAD")
        first, dots, second = re.fullmatch(r"(.*?)(\.{2,3}|$)(.*)", ref_range, re.DOTALL).groups()  # type: ignore[union-attr]
        if not dots:
            return await self.commit(first)
        return f"{await self.commit(first or 'HEAD')}{dots}{await self.commit(second or 'HEAD')}"

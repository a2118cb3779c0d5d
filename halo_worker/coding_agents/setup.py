"""What `halo setup` writes for a coding agent and takes away again: planned first, so that a person sees it before."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from halo_worker.coding_agents.places import SERVER, SKILL, Agent
from halo_worker.coding_agents.registration import Entry, registered
from halo_worker.errors import InputError

_SEAL = re.compile(r"\n<!-- written by halo setup, sha256 ([0-9a-f]{64}) -->\n\Z")


@dataclass(frozen=True, slots=True)
class Change:
    """One file and what becomes of it; None: it is not there."""

    path: Path
    before: str | None
    after: str | None

    def diff(self) -> str:
        """Write the change as a unified diff."""
        before, after = ((text or "").splitlines(keepends=True) for text in (self.before, self.after))
        was, becomes = ("/dev/null" if text is None else str(self.path) for text in (self.before, self.after))
        lines = difflib.unified_diff(before, after, was, becomes, n=1)
        return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)

    def make(self, base: Path) -> None:
        """Write or remove the file, whole or not at all, and below `base` the directories that it leaves empty.

        A link is followed: the file that it leads to is changed. Raises InputError when the disk refuses.
        """
        path = self.path.resolve() if self.path.is_symlink() else self.path
        try:
            if self.after is None:
                path.unlink(missing_ok=True)
                _prune(path.parent, base)
                return
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.halo-new")
            temporary.write_text(self.after, encoding="utf-8")
            if path.exists():
                temporary.chmod(path.stat().st_mode & 0o7777)
            temporary.replace(path)
        except OSError as error:
            raise InputError(f"{self.path} cannot be written: {error.strerror}", hint="mend its permissions") from None


def _prune(directory: Path, base: Path) -> None:
    while directory != base and base in directory.parents and not any(directory.iterdir()):
        directory.rmdir()
        directory = directory.parent


def skill_text() -> str:
    """Return the skill with a seal, by which a later version knows whether a person changed it."""
    text = resources.files("halo_worker.coding_agents").joinpath("SKILL.md").read_text(encoding="utf-8")
    return f"{text}\n<!-- written by halo setup, sha256 {_digest(text)} -->\n"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def is_untouched(text: str) -> bool:
    """Whether a skill is as some version of halo wrote it."""
    seal = _SEAL.search(text)
    return seal is not None and seal[1] == _digest(text[: seal.start()])


def plan(
    agent: Agent, base: Path, *, user: bool, remove: bool, command: Sequence[str], environment: Mapping[str, str]
) -> list[Change]:
    """Return what is to change below `base`, the project or the home directory; nothing where all is as it should be.

    `command` starts the MCP server. Raises InputError that names the file where others' words would be lost.
    """
    scope = agent.user if user else agent.project
    servers = base / scope.servers
    if user and agent.home_variable and environment.get(agent.home_variable):
        servers = Path(environment[agent.home_variable]) / Path(scope.servers).name
    entry: Entry | None = None if remove else {"command": command[0], "args": list(command[1:])}
    changes = [*_skill(base / scope.skills / SKILL, remove=remove), *_servers(agent, servers, entry)]
    return [change for change in changes if change.before != change.after]


def _skill(path: Path, *, remove: bool) -> Iterator[Change]:
    before = _read(path)
    if before is not None and before != skill_text() and not is_untouched(before):
        if remove:
            return  # a person's by now
        raise InputError(f"{path} was changed by hand, or is not of halo", hint="move it away, then try again")
    yield Change(path, before, None if remove else skill_text())


def _servers(agent: Agent, path: Path, entry: Entry | None) -> Iterator[Change]:
    before = _read(path)
    if before is None and entry is None:
        return
    mark = "\ufeff" if (before or "").startswith("\ufeff") else ""
    try:
        after = registered((before or "").removeprefix(mark), agent.form, agent.table, SERVER, entry)
    except InputError as error:
        raise InputError(f"{path} {error}", hint=error.hint) from None
    yield Change(path, before, mark + after if after else None)


def _read(path: Path) -> str | None:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        said = getattr(error, "strerror", None) or "it is not UTF-8"
        raise InputError(f"{path} cannot be read: {said}", hint="mend it, then try again") from None

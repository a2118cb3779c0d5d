"""Sessions of coding agents on disk → spans, a bounded part at a time.

directory ──▶ files: sessions first, then subagents, each once the call that started it is known
file ──lines──▶ claude_code / codex Transcript ──turns──▶ conversation.spans ──▶ FilePart
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from halo_receiver.decode.json_text import value_of
from halo_receiver.decode.repair import Undecodable
from halo_receiver.files import MAX_RECORD_BYTES, FilePart
from halo_receiver.files.find import find
from halo_receiver.files.part import Gathering
from halo_receiver.files.streams import Stream
from halo_worker.errors import InputError
from halo_worker.source import claude_code, codex
from halo_worker.source.conversation import Link, Turn, spans

PRODUCTS = {"claude-code": "Claude Code", "codex": "the Codex CLI"}  # by the word of --from
# The variable that names the program's directory, its default in the home directory, and where sessions lie in it.
HOMES = {"claude-code": ("CLAUDE_CONFIG_DIR", ".claude", "projects"), "codex": ("CODEX_HOME", ".codex", "sessions")}
_MODULES: dict[str, ModuleType] = {"claude-code": claude_code, "codex": codex}
_SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst")
_BAD_LINES = 20  # of one file that are named


def read(paths: Sequence[Path | str], form: str) -> Iterator[FilePart]:
    """Read the transcripts that `paths` name, of the program `form`. In a directory, only what ends in .jsonl.

    Yields parts in the order in which sessions were written. Raises InputError when a path names nothing, or no
    transcript.
    """
    links: dict[str, Link] = {}
    waiting = _ordered(_files(paths, form), form)
    while waiting:
        ready = {item for item in waiting if item[1] is None or item[1] in links} or set(waiting)
        for path, parent in filter(ready.__contains__, waiting):
            yield from _read(path, form, links, links.get(parent) if parent else None)
        waiting = [item for item in waiting if item not in ready]


def _files(paths: Sequence[Path | str], form: str) -> list[Path]:
    if "-" in paths:
        raise InputError(f"--from {form} reads files, not standard input", hint="name the directory of the sessions")
    given = {Path(path) for path in paths}
    files = [path for path in find(paths) if isinstance(path, Path)]
    found = [path for path in files if path in given or path.name.endswith(_SUFFIXES)]
    if not found:
        raise InputError(
            f"no transcripts of {PRODUCTS[form]} in {', '.join(str(path) for path in paths)}",
            hint="they are .jsonl files: ~/.claude/projects of Claude Code, ~/.codex/sessions of the Codex CLI",
        )
    return found


def _ordered(files: list[Path], form: str) -> list[tuple[Path, str | None]]:
    """Pair each file with the key in `links` of what started it; None for a session."""
    if form == "claude-code":
        return [(path, claude_code.agent_id_of(path.name)) for path in files]
    return [(path, _codex_parent(path)) for path in files]


def _codex_parent(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            first = next((value for _, value in _values(Stream(file), path, [])), {})
    except OSError:
        return None  # said when it is read
    parent = codex.parent_of(first)
    return None if parent is None else str(first["payload"].get("id"))


def _read(path: Path, form: str, links: dict[str, Link], link: Link | None) -> Iterator[FilePart]:
    gathering = Gathering(str(path))
    try:
        with path.open("rb") as file:
            yield from _parts(Stream(file), path, form, links, link, gathering)
    except OSError as error:
        gathering.problems.append(f"{path}: cannot be read: {error.strerror or error}")
    if part := gathering.take():
        yield part


def _parts(
    stream: Stream, path: Path, form: str, links: dict[str, Link], link: Link | None, gathering: Gathering
) -> Iterator[FilePart]:
    module, transcript, known = _MODULES[form], None, False
    versions: set[str] = set()
    for size, entry in _values(stream, path, gathering.problems):
        if version := module.unknown_version(entry):
            versions.add(version)
        known = known or module.recognises(entry)
        if transcript is None:
            transcript = module.Transcript(links, link or _parent_turn(module, entry, links))
        _gather(transcript.feed(entry), gathering)
        gathering.bytes += size
        if gathering.full() and (part := gathering.take()):
            yield part
    if transcript is not None:
        _gather(transcript.end(), gathering)
    for version in sorted(versions):
        gathering.problems.append(f"{path}: {_of_unknown_version(version, form, known)}")
    if not known and not versions:
        gathering.problems.append(f"{path}: is no transcript of {PRODUCTS[form]}, passed over")
    if stream.problem:
        gathering.problems.append(f"{path}: {stream.problem}; what came before it was kept")


def _parent_turn(module: ModuleType, entry: dict[str, Any], links: dict[str, Link]) -> Link | None:
    """Where the call that started a thread is unknown, it hangs below the last turn of the thread that did."""
    parent = module.parent_of(entry) if module is codex else None
    return links.get(f"last turn of {parent}") if parent else None


def _of_unknown_version(version: str, form: str, known: bool) -> str:
    told = f"written by {PRODUCTS[form]} {version}, whose transcripts this build does not know"
    if not known:
        return f"{told}; passed over: import it with a newer halo"
    return f"{told}; what has the known form was read: compare with 'halo trace', or import it with a newer halo"


def _gather(turns: Iterable[Turn], gathering: Gathering) -> None:
    for turn in turns:
        gathering.repair.gather(spans(turn, gathering.repair))


def _values(stream: Stream, path: Path, problems: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of a file, each with the bytes of its line; bad lines go to `problems`."""
    bad = 0
    for number, line in enumerate(stream.lines(MAX_RECORD_BYTES), 1):
        if line is not None and not line.strip(b"\0 \t\r\n"):
            continue
        reason = f"the line is over {MAX_RECORD_BYTES} bytes" if line is None else ""
        try:
            value = None if line is None else value_of(line.strip(b"\0 \t\r\n"))
        except Undecodable as error:
            value, reason = None, str(error)
        if isinstance(value, dict):
            yield len(line or b""), value
            continue
        bad += 1
        if bad <= _BAD_LINES:
            problems.append(f"{path}:{number}: {reason or 'no JSON object'}")

"""A detector as a file: what it says in TOML between lines of `---`, then its SQL, then maybe a `---` and its examples.

Whatever is wrong with a file is told with its line and column, and costs that file alone.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, get_args

from halo_receiver.config_loader import parse_toml
from halo_worker.analysis.detectors.detector import Scope, Unit
from halo_worker.errors import InputError

FENCE = "---"
_HINT = "'halo detectors new NAME' writes a file to start from"
NAME = re.compile(r"[a-z][a-z0-9_]{2,60}")
OF_THE_FILE = frozenset({"sql", "examples", "path", "line"})  # not written in the head
REQUIRED = ("name", "category", "title", "description", "definition", "fix", "validation", "source", "limits")
QUOTES = ("start", "end", "exact")
REASONS = ("cause", "title")
SEVERITIES = ("low", "medium", "high", "critical")

_PLACE = re.compile(r"\s*\(at line (\d+), column (\d+)\)| \(at end of document\)")
_SQL_LINE = re.compile(r"LINE (\d+): (.*)\n(\s*)\^", re.MULTILINE)


class RuleError(InputError):
    """A detector's file that cannot be used; says which line and column of it."""

    def __init__(self, path: str, line: int, column: int, message: str, *, hint: str = "") -> None:
        super().__init__(f"{path}:{line}:{column}: {message}", hint=hint or _HINT)


def parse(text: str, path: str) -> Unit:
    """Read a detector's file. Raises RuleError."""
    lines = text.split("\n")
    if not lines or lines[0].rstrip() != FENCE:
        raise RuleError(path, 1, 1, f"the first line is not {FENCE}, after which the TOML begins")
    fences = [number for number, line in enumerate(lines) if line.rstrip() == FENCE]
    if len(fences) < 2:
        raise RuleError(path, len(lines), 1, f"no line {FENCE} ends the TOML")
    ends = fences[2] if len(fences) > 2 else len(lines)
    head = _toml("\n".join(lines[1 : fences[1]]), path, 1)
    sql = "\n".join(lines[fences[1] + 1 : ends]).strip("\n")
    if not sql.strip():
        raise RuleError(path, fences[1] + 2, 1, "there is no SQL")
    examples = _toml("\n".join(lines[ends + 1 :]), path, ends + 1).get("example", [])
    checked = _checked(head, lines, path)
    return Unit(**checked, sql=sql, examples=tuple(examples), path=path, line=fences[1] + 2)


def _toml(text: str, path: str, before: int) -> dict[str, Any]:
    """Read TOML that begins after `before` lines of the file."""
    try:
        return parse_toml(text)
    except tomllib.TOMLDecodeError as error:
        found = _PLACE.search(str(error))
        line, column = (int(found[1]), int(found[2])) if found and found[1] else (text.count("\n") + 1, 1)
        raise RuleError(path, before + line, column, _PLACE.sub("", str(error))) from None


def _checked(head: Mapping[str, Any], lines: list[str], path: str) -> dict[str, Any]:
    known = {one.name for one in fields(Unit)} - OF_THE_FILE

    def refuse(key: str, message: str, hint: str = "") -> RuleError:
        number = next((n for n, line in enumerate(lines, 1) if re.match(rf"\s*\[?{re.escape(key)}\b", line)), 1)
        return RuleError(path, number, 1, message, hint=hint)

    for key in head:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1) or sorted(known)
            raise refuse(key, f"there is no '{key}'", f"did you mean {' or '.join(near)}?")
    for key in REQUIRED:
        if not isinstance(head.get(key), str) or not head[key].strip():
            raise refuse(key, f"'{key}' must be a text")
    if not NAME.fullmatch(head["name"]):
        raise refuse("name", "'name' must be of lowercase letters, digits and _, and begin with a letter")
    allowed = {"scope": get_args(Scope), "quotes": QUOTES, "severity": SEVERITIES, "reason": REASONS}
    for key, words in allowed.items():
        if key in head and head[key] not in words:
            raise refuse(key, f"'{key}' must be one of {', '.join(words)}")
    if not 0 < float(_number(head, "confidence", 0.9, refuse)) <= 1:
        raise refuse("confidence", "'confidence' must be above 0 and at most 1")
    for key in ("version", "min_traces", "stage"):
        if _number(head, key, 1, refuse) != int(_number(head, key, 1, refuse)) or head.get(key, 1) < 1:
            raise refuse(key, f"'{key}' must be a whole number from 1 on")
    if not isinstance(head.get("early", False), bool):
        raise refuse("early", "'early' must be true or false")
    if not isinstance(head.get("driven_by", ""), str):
        raise refuse("driven_by", "'driven_by' must be a text")
    for key in ("needs", "replaces", "speaks"):
        if not isinstance(head.get(key, []), list) or not all(isinstance(item, str) for item in head.get(key, [])):
            raise refuse(key, f"'{key}' must be a list of texts")
    for key in ("what", "categories", "fixes"):
        if not isinstance(head.get(key, {}), dict):
            raise refuse(key, f"'{key}' must be a table of texts")
    return {key: tuple(value) if isinstance(value, list) else value for key, value in head.items()}


def _number(head: Mapping[str, Any], key: str, default: float, refuse: Any) -> float:
    value = head.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise refuse(key, f"'{key}' must be a number")
    return float(value)


def wrong_sql(unit: Unit, message: str) -> RuleError:
    """Say where in the file DuckDB found something wrong."""
    said = " ".join(message.split("\n")[0].split())[:300]
    found = _SQL_LINE.search(message)
    if found is None:
        return RuleError(unit.path, unit.line, 1, said)
    # DuckDB shows a part of a long line; of the first one, with what stood before the SQL.
    number, shown, caret = int(found[1]), found[2], len(found[3]) - len(f"LINE {found[1]}: ")
    cut = 3 * shown.startswith("...")
    part = shown[cut:].removesuffix("...")
    line = unit.sql.split("\n")[number - 1] if number <= unit.sql.count("\n") + 1 else ""
    begins = line.find(part) if part in line else min(0, -part.find(line[:20])) if line[:20] in part else 0
    return RuleError(unit.path, unit.line + number - 1, max(1, begins + caret - cut + 1), said)


@cache
def built_in() -> tuple[Unit, ...]:
    """Return halo's own detectors, by name; those that read hits after the others."""
    folder = resources.files("halo_worker.analysis.detectors").joinpath("catalogue")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    units = (parse(file.read_text(encoding="utf-8"), f"catalogue/{file.name}") for file in files)
    return tuple(sorted(units, key=lambda unit: unit.stage))


def is_own(unit: Unit) -> bool:
    """Say whether a detector is a user's, none of halo's."""
    return all(unit.name != one.name for one in built_in())


def load(paths: Iterable[Path]) -> tuple[list[Unit], list[RuleError]]:
    """Read users' detectors: files, and the .sql files of folders. Return also what cannot be used."""
    found: list[Unit] = []
    bad: list[RuleError] = []
    for path in paths:
        for file in sorted(path.glob("*.sql")) if path.is_dir() else [path]:
            try:
                found.append(_new(file, {unit.name for unit in (*built_in(), *found)}))
            except RuleError as error:
                bad.append(error)
    return found, bad


def _new(file: Path, taken: set[str]) -> Unit:
    try:
        unit = parse(file.read_text(encoding="utf-8"), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise RuleError(str(file), 1, 1, f"cannot be read: {error}") from None
    if unit.name in taken:
        raise RuleError(str(file), 2, 1, f"there is a detector '{unit.name}' already", hint="choose another name")
    return unit


def text_of(unit: Unit) -> str:
    """Return the file of a detector."""
    if unit in built_in():
        folder = resources.files("halo_worker.analysis.detectors").joinpath("catalogue")
        return folder.joinpath(f"{unit.name}.sql").read_text(encoding="utf-8")
    return Path(unit.path).read_text(encoding="utf-8")

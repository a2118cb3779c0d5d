"""Function-calling tasks of the Berkeley Function Calling Leaderboard, and a check of a call by its documentation.

The data is read from the wheel of `bfcl-eval`, unpacked or installed with --no-deps; it is not in this repository.
The check is ours: the right function, every required parameter, no unknown one, and each value one of those that the
possible answers name ("" means that it may be left out); numbers compare as numbers, texts without case, spaces and
punctuation, as the leaderboard's documentation says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CATEGORIES = ("simple_python", "multiple")
# What the harness is developed on, and what each version of it is run on once.
SPLITS = {"dev": (0, 40), "held-out": (40, 80)}
_TYPES = {"dict": "object", "float": "number", "tuple": "array", "any": None}
_IGNORED = re.compile(r"[ ,./\-_*^'\"]")


@dataclass(frozen=True, slots=True)
class Task:
    """One question, the functions that are offered, and the calls that are right: name → parameter → values."""

    id: str
    question: str
    functions: tuple[dict[str, Any], ...]
    right: Mapping[str, Mapping[str, Sequence[Any]]]


def load(data: Path) -> list[Task]:
    """Read the tasks of CATEGORIES from `bfcl_eval/data`, alternating, in their order."""
    by_category = [list(_category(data, name)) for name in CATEGORIES]
    return [task for row in zip(*by_category, strict=False) for task in row]


def split(tasks: Sequence[Task], name: str) -> list[Task]:
    """Return the tasks of one of SPLITS."""
    return list(tasks[slice(*SPLITS[name])])


def _category(data: Path, name: str) -> Iterator[Task]:
    file = f"BFCL_v4_{name}.json"
    right = {row["id"]: row["ground_truth"][0] for row in _lines(data / "possible_answer" / file)}
    for row in _lines(data / file):
        functions = tuple({**one, "parameters": _schema(one["parameters"])} for one in row["function"])
        yield Task(row["id"], row["question"][0][-1]["content"], functions, right[row["id"]])


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def _schema(value: Any) -> Any:
    """Write the leaderboard's types as those of JSON Schema."""
    if isinstance(value, list):
        return [_schema(one) for one in value]
    if not isinstance(value, dict):
        return value
    changed = {key: _schema(one) for key, one in value.items() if not (key == "optional" and isinstance(one, bool))}
    kind = changed.get("type")
    if isinstance(kind, str) and kind in _TYPES:
        changed["type"] = _TYPES[kind]
        if changed["type"] is None:
            del changed["type"]
    return changed


def is_right(task: Task, name: str, arguments: Mapping[str, Any]) -> bool:
    """Say whether a call is one of those that the task's possible answers allow."""
    wanted = task.right.get(name)
    if wanted is None or arguments.keys() - wanted.keys():
        return False
    return all(
        any(_same(arguments[key], value) for value in values) if key in arguments else "" in values
        for key, values in wanted.items()
    )


def _same(said: Any, value: Any) -> bool:
    if isinstance(said, bool) or isinstance(value, bool):
        return said is value
    if isinstance(said, (int, float)) and isinstance(value, (int, float)):
        return float(said) == float(value)
    if isinstance(said, str) and isinstance(value, str):
        return _IGNORED.sub("", said.lower()) == _IGNORED.sub("", value.lower())
    if isinstance(said, list) and isinstance(value, list):
        return len(said) == len(value) and all(_same(a, b) for a, b in zip(said, value, strict=True))
    if isinstance(said, dict) and isinstance(value, dict):
        return said.keys() <= value.keys() and all(
            any(_same(said[key], one) for one in values) if key in said else "" in values
            for key, values in value.items()
        )
    return bool(said == value)

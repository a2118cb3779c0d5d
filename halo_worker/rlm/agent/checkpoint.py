"""checkpoint.json: the root agent after each turn, from which a run goes on, also after kill -9.

What was spent is not in it: trajectory.jsonl holds every attempt, also those after the last checkpoint. The
interpreter's variables lie beside it, in checkpoint.variables.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import orjson

NAME, VARIABLES = "checkpoint.json", "checkpoint.variables"
VERSION = 1


class Checkpoint:
    """The checkpoint of one run, in its folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._written: bytes | None = None  # the variables that were written last

    def save(self, state: dict[str, Any], variables: bytes | None) -> None:
        """Write a state aside and rename it, so that there is always a whole one.

        A full disk costs the resume only.
        """
        try:
            if variables is not None and variables is not self._written:
                _write(self._folder / VARIABLES, variables)
                self._written = variables
            _write(self._folder / NAME, orjson.dumps(state | {"version": VERSION}))
        except OSError:
            return

    def load(self) -> dict[str, Any] | None:
        """Return the state that was saved last; None when there is none that can be read."""
        try:
            state = orjson.loads((self._folder / NAME).read_bytes())
        except (OSError, orjson.JSONDecodeError):
            return None
        return state if isinstance(state, dict) and state.get("version") == VERSION else None

    def variables(self) -> bytes | None:
        """Return the variables that were saved last, if there are any."""
        try:
            return (self._folder / VARIABLES).read_bytes()
        except OSError:
            return None


def _write(path: Path, content: bytes) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_bytes(content)
    aside.replace(path)

"""Paths, directories and globs → files."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from halo_receiver.errors import InputError


def find(paths: Iterable[Path | str]) -> Iterator[Path | Literal["-"]]:
    """Yield every file that the paths name, each once and in a stable order; `-` stands for standard input.

    Raises InputError for a path that names nothing, before the first file is read.
    """
    found: dict[Path | Literal["-"], None] = {}
    for path in paths:
        if str(path) == "-":
            found["-"] = None
            continue
        for file in _expand(Path(path)):
            found[file] = None
    yield from found


def _expand(path: Path) -> list[Path]:
    if path.is_dir():
        files = [
            Path(folder) / name
            for folder, folders, names in os.walk(path)
            if _visible(folders)
            for name in sorted(names)
            if not name.startswith(".")
        ]
        if not files:
            raise InputError(f"{path} holds no files", hint="name a trace file or a directory with trace files")
        return files
    if path.exists():
        return [path]
    matches = sorted(glob.glob(str(path), recursive=True))
    if not matches:
        raise InputError(f"{path} does not exist", hint="name a file, a directory, a glob, or - for standard input")
    return [file for match in matches for file in ([Path(match)] if Path(match).is_file() else _expand(Path(match)))]


def _visible(folders: list[str]) -> bool:
    folders[:] = sorted(name for name in folders if not name.startswith("."))  # os.walk goes on with these
    return True

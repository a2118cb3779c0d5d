"""Traces that lie elsewhere: each module reads one kind of place, and gives spans and log records.

What reads traces sees segments alone: `inputs` writes them from what comes out of here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from halo_receiver import files
from halo_receiver.files import FilePart
from halo_worker.source import exports, transcripts

FORMS = (*transcripts.PRODUCTS, *exports.NAMES)


def read(paths: Sequence[Path | str], form: str | None = None, *, stdin: BinaryIO | None = None) -> Iterator[FilePart]:
    """Read files: trace files told apart by their content, or, with one of `FORMS`, what that program wrote.

    Raises InputError when a path names nothing that is to be read.
    """
    if form is None:
        return files.read_files(paths, stdin=stdin)
    if form in exports.NAMES:
        return exports.read(paths, form, stdin=stdin)
    return transcripts.read(paths, form)


def home(form: str, environment: Mapping[str, str]) -> Path | None:
    """Return where a program keeps its sessions, by its own variable or below the home directory; None for others."""
    if form not in transcripts.HOMES:
        return None
    variable, default, below = transcripts.HOMES[form]
    return Path(environment.get(variable) or Path.home() / default) / below

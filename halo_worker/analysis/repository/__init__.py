"""The agents' source for a model: files as they lie there, and their history. Read only, confined, bounded.

The repository may have been written by a stranger. No program that its settings, attributes or hooks name is run, no
path leads out of it, nothing is fetched, and what git ignores (where keys lie) is not shown.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from halo_worker.analysis.repository.files import file_tools
from halo_worker.analysis.repository.history import commits_near, history_tools
from halo_worker.analysis.repository.place import Place
from halo_worker.rlm.tool import Tool


def repository_tools(path: Path) -> tuple[Tool, ...]:
    """Return the tools for one directory, those of git when it lies in a git work tree.

    Raises InputError when it is no directory that can be read.
    """
    place = Place(path)
    return (*file_tools(place), *history_tools(place))


def not_read(path: Path) -> str | None:
    """Say in words what of a repository's history is not read, and why; None where it is, or where there is none."""
    return Place(path).elsewhere


async def commits_of(path: Path, *, start_ns: int, end_ns: int) -> dict[str, Any] | None:
    """Return the commits made in a window and the last ones before it; None outside of a git work tree.

    `{"in_window": […], "more_in_window": bool, "before": […]}`, each commit as git_log shows it.
    """
    place = Place(path)
    return None if place.git is None else await commits_near(place, place.git, start_ns=start_ns, end_ns=end_ns)

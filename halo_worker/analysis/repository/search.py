"""grep_files: a search in a thread of its own, in linear time, with an end to its time, its files and its matches."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from halo_receiver.store.regex import LINE_CHARACTERS, Pattern
from halo_worker.analysis.repository import globs
from halo_worker.analysis.repository.fitting import fit_items
from halo_worker.analysis.repository.place import Place, is_binary
from halo_worker.errors import InputError
from halo_worker.rlm.tool import ToolError

GREP_MATCHES, GREP_MATCHES_MAX = 50, 500
GREP_SECONDS = 20.0
GREP_FILE_BYTES = 4 * 2**20  # a larger file is passed over, and counted
GREP_BATCH_BYTES = 8 * 2**20


async def grep(place: Place, arguments: dict[str, Any], max_bytes: int) -> Any:
    """Return the lines of the repository that match."""
    try:
        pattern = await asyncio.to_thread(Pattern, arguments["regex_pattern"])
    except InputError as error:
        raise ToolError(f"{error}; {error.hint}") from None
    paths, whole = await place.listing()
    if arguments.get("glob_pattern"):
        paths = await asyncio.to_thread(globs.matching, arguments["glob_pattern"], paths)
    limit = arguments.get("max_matches") or GREP_MATCHES
    search = _Search(place.root, pattern, paths, limit)
    try:
        await asyncio.to_thread(search.run)
    finally:
        search.stop = True  # when the caller was cancelled: the thread ends at the next file
    result: dict[str, Any] = {
        "matches": search.found[:limit],
        "files_searched": search.searched,
        "has_more": len(search.found) > limit or search.stopped or not whole,
    }
    if search.passed_over:
        result["not_searched"] = (
            f"{search.passed_over} files: binary, larger than {GREP_FILE_BYTES} bytes, links or gone"
        )
    if search.stopped:
        left = len(paths) - search.searched - search.passed_over
        result["stopped"] = f"after {GREP_SECONDS:g} s, {left} files are left: name a glob_pattern"
    return fit_items(result, "matches", max_bytes, how="use a narrower regex_pattern or a glob_pattern")


class _Search:
    """One search, in a thread of its own."""

    def __init__(self, root: Path, pattern: Pattern, paths: list[str], limit: int) -> None:
        self._root, self._pattern, self._paths, self._limit = root, pattern, paths, limit
        self._ends = time.monotonic() + GREP_SECONDS
        self.found: list[dict[str, Any]] = []
        self.searched = self.passed_over = 0
        self.stopped = self.stop = False

    def run(self) -> None:
        names: list[str] = []
        texts: list[str] = []
        held = 0
        try:
            for path in self._paths:
                if self.stop or time.monotonic() > self._ends:
                    self.stopped = True
                    break
                text = self._text(path)
                if text is None:
                    self.passed_over += 1
                    continue
                names.append(path)
                texts.append(text)
                held += len(text)
                if held >= GREP_BATCH_BYTES:
                    self._look(names, texts)
                    names, texts, held = [], [], 0
                if len(self.found) > self._limit:
                    return
            self._look(names, texts)
        finally:
            self._pattern.close()

    def _look(self, names: list[str], texts: list[str]) -> None:
        self.searched += len(names)
        if not names:
            return
        for number, line, text in self._pattern.lines(texts, limit=self._limit + 1 - len(self.found)):
            shown = text if len(text) <= LINE_CHARACTERS else f"{text[:LINE_CHARACTERS]}…"
            self.found.append({"path": names[number], "line_number": line, "line_text": shown})

    def _text(self, path: str) -> str | None:
        """Return a file's text; None when it is none of the repository's, none at all, or too large."""
        full = self._root / path
        try:
            if full.is_symlink() or not full.is_file() or full.stat().st_size > GREP_FILE_BYTES:
                return None
            if not full.resolve().is_relative_to(self._root):  # below a directory that is a link
                return None
            data = full.read_bytes()
        except OSError:
            return None
        return None if is_binary(data) else data.decode("utf-8", "replace")

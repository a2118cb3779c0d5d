"""view_repo_tree, glob_files, grep_files, read_file: the agents' source as it lies there."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, BinaryIO

from halo_worker.analysis.repository import globs
from halo_worker.analysis.repository.fitting import NOTE_BYTES, fit_items, fit_text, make_tool, size
from halo_worker.analysis.repository.place import SNIFFED, Place, is_binary
from halo_worker.analysis.repository.search import GREP_MATCHES, GREP_MATCHES_MAX, grep
from halo_worker.rlm.tool import Tool, ToolError

TREE_DEPTH, TREE_DEPTH_MAX = 4, 20
TREE_ENTRIES = 500
GLOB_RESULTS, GLOB_RESULTS_MAX = 200, 1000
READ_LINES, READ_LINES_MAX = 500, 2000
READ_LINE_CHARACTERS = 2000
READ_FILE_BYTES = 64 * 2**20

PATH = {"type": "string", "minLength": 1, "description": "Relative to the repository's root."}


def file_tools(place: Place) -> tuple[Tool, ...]:
    """Return the tools that read the working tree."""

    async def view_repo_tree(arguments: dict[str, Any], max_bytes: int) -> Any:
        return await _tree(place, arguments, max_bytes)

    async def glob_files(arguments: dict[str, Any], max_bytes: int) -> Any:
        return await _glob(place, arguments, max_bytes)

    async def grep_files(arguments: dict[str, Any], max_bytes: int) -> Any:
        return await grep(place, arguments, max_bytes)

    async def read_file(arguments: dict[str, Any], max_bytes: int) -> Any:
        real = await place.shown(arguments["path"])
        return await asyncio.to_thread(_read, real, arguments, max_bytes)

    integer = {"type": "integer", "minimum": 1}
    return (
        make_tool(
            "view_repo_tree",
            "The source repository as a tree of directories and files; what git ignores is not in it.",
            {
                "path": {**PATH, "description": "A directory in it; default: the root."},
                "depth": {**integer, "maximum": TREE_DEPTH_MAX, "default": TREE_DEPTH},
            },
            (),
            view_repo_tree,
        ),
        make_tool(
            "glob_files",
            "Files whose path matches a glob: '*' within a directory, '**' across them; '*.py' finds them everywhere.",
            {
                "pattern": {"type": "string", "minLength": 1},
                "max_results": {**integer, "maximum": GLOB_RESULTS_MAX, "default": GLOB_RESULTS},
            },
            ("pattern",),
            glob_files,
        ),
        make_tool(
            "grep_files",
            "Lines of the source that match a regular expression (RE2), with path and number: a prompt, the name of "
            "a tool or an error message from the traces leads to the code that makes it.",
            {
                "regex_pattern": {"type": "string", "minLength": 1},
                "glob_pattern": {"type": "string", "description": "Only in these files."},
                "max_matches": {**integer, "maximum": GREP_MATCHES_MAX, "default": GREP_MATCHES},
            },
            ("regex_pattern",),
            grep_files,
        ),
        make_tool(
            "read_file",
            "Lines of one file, numbered, from 'offset' (1 is the first).",
            {
                "path": PATH,
                "offset": {**integer, "default": 1},
                "limit": {**integer, "maximum": READ_LINES_MAX, "default": READ_LINES},
            },
            ("path",),
            read_file,
        ),
    )


async def _tree(place: Place, arguments: dict[str, Any], max_bytes: int) -> Any:
    paths, whole = await place.listing()
    prefix = place.relative(arguments.get("path") or ".")
    if prefix != ".":
        if not place.path(prefix).is_dir():
            raise ToolError(f"{prefix!r} is a file: read_file shows it")
        paths = [path.removeprefix(f"{prefix}/") for path in paths if path.startswith(f"{prefix}/")]
    lines, hidden = _tree_lines(paths, arguments.get("depth") or TREE_DEPTH)
    text, cut = fit_text("\n".join(lines[:TREE_ENTRIES]), max_bytes - NOTE_BYTES)
    result: dict[str, Any] = {"root": prefix, "tree": text, "files": len(paths)}
    left = [f"the first {text.count(chr(10)) + 1} of {len(lines)} entries are shown"] * (
        cut or len(lines) > TREE_ENTRIES
    )
    left += [f"{hidden} files lie deeper"] * bool(hidden) + ["there are more files than are listed"] * (not whole)
    if left:
        result["left_out"] = "; ".join(left) + ": name a 'path', a larger 'depth', or use glob_files"
    return result


def _tree_lines(paths: list[str], depth: int) -> tuple[list[str], int]:
    """Indent every directory and file down to `depth`; also the number of files below it."""
    lines, hidden = [], 0
    opened: tuple[str, ...] = ()
    for path in paths:
        *folders, name = path.split("/")
        shown = tuple(folders[:depth])
        common = next((n for n, pair in enumerate(zip(opened, shown, strict=False)) if pair[0] != pair[1]), None)
        common = min(len(opened), len(shown)) if common is None else common
        lines += [f"{'  ' * level}{shown[level]}/" for level in range(common, len(shown))]
        opened = shown
        if len(folders) < depth:
            lines.append(f"{'  ' * len(folders)}{name}")
        else:
            hidden += 1
    return lines, hidden


async def _glob(place: Place, arguments: dict[str, Any], max_bytes: int) -> Any:
    paths, whole = await place.listing()
    found = await asyncio.to_thread(globs.matching, arguments["pattern"], paths)
    wanted = arguments.get("max_results") or GLOB_RESULTS
    files = await asyncio.to_thread(_sizes, place.root, found[:wanted])
    result = {"files": files, "total": len(found), "has_more": len(found) > wanted or not whole}
    return fit_items(result, "files", max_bytes, how="use a narrower pattern")


def _sizes(root: Path, paths: list[str]) -> list[dict[str, Any]]:
    files = []
    for path in paths:
        try:
            files.append({"path": path, "size_bytes": (root / path).lstat().st_size})
        except OSError:  # in the index, and deleted in the working tree
            continue
    return files


def _read(real: Path, arguments: dict[str, Any], max_bytes: int) -> Any:
    try:
        with real.open("rb") as stream:
            return window(stream, arguments, max_bytes)
    except OSError as error:
        raise ToolError(f"{arguments['path']!r} cannot be read: {error.strerror}") from None


def window(stream: BinaryIO, arguments: dict[str, Any], max_bytes: int) -> dict[str, Any]:
    """Return the lines that were asked for, numbered; `stream` is read once and never held whole."""
    path, first = arguments["path"], arguments.get("offset") or 1
    last = first + (arguments.get("limit") or READ_LINES) - 1
    room = max_bytes - NOTE_BYTES - size(path)
    kept: list[str] = []
    number = read = 0
    full = False
    while line := stream.readline(READ_FILE_BYTES - read + 1):
        if not number and is_binary(line + stream.peek(SNIFFED) if hasattr(stream, "peek") else line):
            raise ToolError(f"{path!r} is binary")
        read += len(line)
        if read > READ_FILE_BYTES:
            break
        number += 1
        if number < first or number > last or full:
            continue
        text = f"{number:6d}\t{_shortened(line)}"
        left, room = room, room - size(text)
        full = room < 0
        if not full:
            kept.append(text)
        elif not kept:  # one line alone is too long
            kept.append(text[: max(0, left) // 6] + "…")
    if first > max(1, number):
        raise ToolError(f"{path!r} has {number} lines, and offset is {first}")
    end = first + len(kept) - 1
    more = read > READ_FILE_BYTES
    result = {
        "path": path, "content": "\n".join(kept), "start_line": first, "end_line": end,
        "total_line_count": number, "truncated": end < number or more,
    }  # fmt: skip
    if result["truncated"]:
        result["left_out"] = f"lines {end + 1} to {number}: read on with offset {end + 1}" + (
            f"; the file is larger than {READ_FILE_BYTES} bytes" if more else ""
        )
    return result


def _shortened(line: bytes) -> str:
    text = line.decode("utf-8", "replace").rstrip("\r\n")
    if len(text) <= READ_LINE_CHARACTERS:
        return text
    return f"{text[:READ_LINE_CHARACTERS]}… [{len(text) - READ_LINE_CHARACTERS} more characters]"

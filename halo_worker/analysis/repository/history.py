"""git_log, git_show, git_diff, git_blame, git_read_file: what changed, when, and by whom."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime
from typing import Any

from halo_worker.analysis.repository.files import (
    PATH,
    READ_FILE_BYTES,
    READ_LINE_CHARACTERS,
    READ_LINES,
    READ_LINES_MAX,
    window,
)
from halo_worker.analysis.repository.fitting import NOTE_BYTES, fit_items, fit_text, make_tool, size
from halo_worker.analysis.repository.git import SHA_LENGTH, Git
from halo_worker.analysis.repository.place import Place
from halo_worker.rlm.tool import Tool, ToolError

LOG_COMMITS, LOG_COMMITS_MAX = 50, 500
BLAME_LINES_MAX = 2000
SUBJECT_CHARACTERS = 300
MESSAGE_CHARACTERS = 4000
OUTPUT_BYTES = 8 * 2**20

# Never a program that the repository's settings or attributes name.
_NO_PROGRAMS = ("--no-ext-diff", "--no-textconv", "--no-color")
_FORMAT = "--format=%H%x00%an%x00%at%x00%ct%x00%s"
_AGO = re.compile(r"\d{1,4} (second|minute|hour|day|week|month|year)s? ago")


def history_tools(place: Place) -> tuple[Tool, ...]:
    """Return the tools that read a repository's history; none outside of a git work tree."""
    if place.git is None:
        return ()
    history = _History(place, place.git)
    ref = {"type": "string", "minLength": 1, "description": "A sha, branch, tag, HEAD~3 or the like."}
    line = {"type": "integer", "minimum": 1}
    time = {"type": "string", "description": "ISO-8601, as the traces' times, or '3 days ago'."}
    return (
        make_tool(
            "git_log",
            "Commits, newest first. For a regression: since/until around the time at which the traces began to "
            "fail, or pickaxe_string with a text of the traces to find the commits that added or removed it.",
            {
                "max_commits": {**line, "maximum": LOG_COMMITS_MAX, "default": LOG_COMMITS},
                "since": time,
                "until": time,
                "ref_range": {"type": "string", "description": "'A..B', or one ref; default: HEAD."},
                "path": PATH,
                "pickaxe_string": {
                    "type": "string",
                    "minLength": 1,
                    "description": "Its number of occurrences changed.",
                },
                "pickaxe_regex": {"type": "string", "minLength": 1, "description": "A changed line matches (POSIX)."},
            },
            (),
            history.log,
        ),
        make_tool(
            "git_show",
            "One commit: its message and which files it changed; with include_patch how.",
            {"ref": ref, "path": PATH, "include_patch": {"type": "boolean", "default": False}},
            ("ref",),
            history.show,
        ),
        make_tool(
            "git_diff",
            "What differs between two commits: the files, or with stat_only false the lines.",
            {"from_ref": ref, "to_ref": ref, "path": PATH, "stat_only": {"type": "boolean", "default": True}},
            ("from_ref", "to_ref"),
            history.diff,
        ),
        make_tool(
            "git_blame",
            f"The commit that last changed each line of a part of a file, up to {BLAME_LINES_MAX} lines.",
            {"path": PATH, "start_line": line, "end_line": line, "ref": {**ref, "description": "Default: HEAD."}},
            ("path", "start_line", "end_line"),
            history.blame,
        ),
        make_tool(
            "git_read_file",
            "Lines of a file as it was at a commit, numbered.",
            {
                "ref": ref,
                "path": PATH,
                "offset": {**line, "default": 1},
                "limit": {**line, "maximum": READ_LINES_MAX, "default": READ_LINES},
            },
            ("ref", "path"),
            history.read_file,
        ),
    )


async def commits_near(
    place: Place, git: Git, *, start_ns: int, end_ns: int, before: int = 5, inside: int = 20
) -> dict[str, Any]:
    """Return the commits of a window of time, and the last ones before it, as git_log shows them."""

    async def commits(count: int, *bounds: str) -> list[dict[str, Any]]:
        try:
            output = await git.read(
                "log", _FORMAT, f"--max-count={count}", *bounds, "HEAD", *place.pathspec, max_bytes=OUTPUT_BYTES
            )
        except ToolError:  # a repository without a commit
            return []
        return _commits(output.stdout)

    start, end = _iso(start_ns // 10**9), _iso(end_ns // 10**9)
    within = await commits(inside + 1, f"--since={start}", f"--until={end}")
    return {
        "in_window": within[:inside],
        "more_in_window": len(within) > inside,
        "before": await commits(before, f"--until={start}"),
    }


class _History:
    def __init__(self, place: Place, git: Git) -> None:
        self._place = place
        self._git = git

    def _paths(self, arguments: dict[str, Any]) -> tuple[str, ...]:
        """Return the path as git takes it; without one the directory itself, which may be a part of the repository."""
        return ("--", self._place.relative(arguments["path"])) if arguments.get("path") else self._place.pathspec

    async def log(self, arguments: dict[str, Any], max_bytes: int) -> Any:
        wanted = arguments.get("max_commits") or LOG_COMMITS
        if arguments.get("pickaxe_string") and arguments.get("pickaxe_regex"):
            raise ToolError("give pickaxe_string or pickaxe_regex, not both")
        options = [f"--{name}={_time(arguments[name])}" for name in ("since", "until") if arguments.get(name)]
        if arguments.get("pickaxe_string"):
            options.append(f"-S{arguments['pickaxe_string']}")
        if arguments.get("pickaxe_regex"):
            options.append(f"-G{arguments['pickaxe_regex']}")
        revisions = await self._git.revisions(arguments.get("ref_range"))
        output = await self._git.read(
            "log", _FORMAT, f"--max-count={wanted + 1}", *_NO_PROGRAMS, *options, revisions, *self._paths(arguments),
            max_bytes=OUTPUT_BYTES,
        )  # fmt: skip
        commits = _commits(output.stdout)
        result = {"commits": commits[:wanted], "has_more": len(commits) > wanted}
        return fit_items(result, "commits", max_bytes, how="use since and until, a path, or a smaller ref_range")

    async def show(self, arguments: dict[str, Any], max_bytes: int) -> Any:
        sha = await self._git.commit(arguments["ref"])
        await self._check_inside(sha)
        about = await self._git.read("log", "-1", f"{_FORMAT}%x00%b", sha, max_bytes=OUTPUT_BYTES)
        *fields, message = about.stdout.decode("utf-8", "replace").split("\x00", 5)
        message = message.strip()
        result: dict[str, Any] = {"commit": _commit(*fields), "message": message[:MESSAGE_CHARACTERS]}
        if len(message) > MESSAGE_CHARACTERS:
            result["message"] += f"… [{len(message) - MESSAGE_CHARACTERS} more characters]"
        form = _patch(arguments.get("include_patch", False))
        output = await self._git.read(
            "show", "--format=", "--diff-merges=first-parent", *_NO_PROGRAMS, *form, sha, *self._paths(arguments),
            max_bytes=OUTPUT_BYTES,
        )  # fmt: skip
        return _with_text(result, "body", output.stdout, output.cut, max_bytes)

    async def _check_inside(self, sha: str) -> None:
        """Raise ToolError for a commit that changes nothing in the directory, where that is a part of a repository."""
        if self._place.root == self._place.top:
            return
        output = await self._git.read("log", "-1", "--format=%H", sha, *self._place.pathspec, max_bytes=100)
        if output.stdout.decode("ascii", "replace").strip() != sha:
            raise ToolError(
                f"commit {sha[:SHA_LENGTH]} changes nothing in this directory: 'git_log' shows those that do"
            )

    async def diff(self, arguments: dict[str, Any], max_bytes: int) -> Any:
        first = await self._git.commit(arguments["from_ref"])
        second = await self._git.commit(arguments["to_ref"])
        stat_only = arguments.get("stat_only", True)
        output = await self._git.read(
            "diff",
            *_NO_PROGRAMS,
            *_patch(not stat_only),
            first,
            second,
            *self._paths(arguments),
            max_bytes=OUTPUT_BYTES,
        )
        result = {"from": first[:SHA_LENGTH], "to": second[:SHA_LENGTH], "stat_only": stat_only}
        return _with_text(result, "diff", output.stdout, output.cut, max_bytes)

    async def blame(self, arguments: dict[str, Any], max_bytes: int) -> Any:
        first, last = arguments["start_line"], arguments["end_line"]
        if not 0 <= last - first < BLAME_LINES_MAX:
            raise ToolError(f"end_line must be start_line or after it, by fewer than {BLAME_LINES_MAX} lines")
        sha = await self._git.commit(arguments.get("ref") or "HEAD")
        # At a commit, never of the working tree: for that git would run the filters the repository names.
        output = await self._git.read(
            "blame", "--line-porcelain", "--no-textconv", f"-L{first},{last}", sha, *self._paths(arguments),
            max_bytes=OUTPUT_BYTES,
        )  # fmt: skip
        result = {"path": arguments["path"], "ref": sha[:SHA_LENGTH], "lines": _blamed(output.stdout)}
        return fit_items(result, "lines", max_bytes, how="ask for fewer lines")

    async def read_file(self, arguments: dict[str, Any], max_bytes: int) -> Any:
        path = self._place.relative(arguments["path"])
        sha = await self._git.commit(arguments["ref"])
        output = await self._git.read("cat-file", "blob", f"{sha}:./{path}", max_bytes=READ_FILE_BYTES + 1)
        result = window(io.BytesIO(output.stdout), arguments, max_bytes)
        return {"ref": sha[:SHA_LENGTH], **result}


def _patch(wanted: bool) -> tuple[str, ...]:
    return ("--patch", "--relative") if wanted else ("--stat=160", "--summary", "--relative")


def _with_text(result: dict[str, Any], key: str, data: bytes, cut: bool, max_bytes: int) -> dict[str, Any]:
    text = data.decode("utf-8", "replace").strip("\n")
    fitted, left = fit_text(text, max_bytes - NOTE_BYTES - size(result))
    result |= {key: fitted, "truncated": left or cut}
    if left or cut:
        lines = text.count("\n") - fitted.count("\n")
        more = "more than " if cut else ""
        result["left_out"] = f"{more}{max(1, lines)} lines did not fit into {max_bytes} bytes: name one path"
    return result


def _commits(data: bytes) -> list[dict[str, Any]]:
    lines = [line.split("\x00") for line in data.decode("utf-8", "replace").split("\n")]
    return [_commit(*fields) for fields in lines if len(fields) == 5]  # the last may be cut


def _commit(sha: str, author: str, authored: str, committed: str, subject: str) -> dict[str, Any]:
    return {
        "sha": sha[:SHA_LENGTH], "author": author[:100], "authored_at": _iso(int(authored)),
        "committed_at": _iso(int(committed)), "subject": subject[:SUBJECT_CHARACTERS],
    }  # fmt: skip


def _blamed(data: bytes) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    about: dict[str, str] = {}
    for line in data.decode("utf-8", "replace").split("\n"):
        if line.startswith("\t"):
            lines.append({
                "line_number": int(about["line"]), "sha": about["sha"], "author": about.get("author", "")[:100],
                "committed_at": _iso(int(about.get("committer-time", "0"))),
                "subject": about.get("summary", "")[:SUBJECT_CHARACTERS], "line_text": line[1:][:READ_LINE_CHARACTERS],
            })  # fmt: skip
            about = {}
        elif not about:
            sha, _, *final = line.split(" ") if line else ("", "")
            about = {"sha": sha[:SHA_LENGTH], "line": final[0]} if final else {}
        else:
            name, _, value = line.partition(" ")
            about[name] = value
    return lines


def _time(text: str) -> str:
    """Write a time as git understands it; git itself takes any word for now."""
    if _AGO.fullmatch(text):
        return text
    try:
        value = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ToolError(f"{text!r} is not a time: write ISO-8601, such as 2026-11-24T06:00Z, or '3 days ago'") from None
    value = value if value.tzinfo else value.replace(tzinfo=UTC)
    return _iso(int(value.timestamp()))


def _iso(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return str(seconds)

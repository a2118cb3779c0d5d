"""The code and git tools, on real directories and real git repositories, friendly and hostile ones."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from halo_worker.analysis.repository import commits_of, not_read, process, repository_tools
from halo_worker.errors import InputError
from halo_worker.rlm.tool import MODEL_BYTES, ToolError

CODE = ["view_repo_tree", "glob_files", "grep_files", "read_file"]
GIT = ["git_log", "git_show", "git_diff", "git_blame", "git_read_file"]


def git(folder: Path, *arguments: str, when: str = "2026-11-20T10:00:00+00:00") -> str:
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_DATE": when, "GIT_COMMITTER_DATE": when, "GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "a@x",
        "GIT_COMMITTER_NAME": "Ada", "GIT_COMMITTER_EMAIL": "a@x",
    }  # fmt: skip
    done = subprocess.run(["git", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit(folder: Path, subject: str, *, when: str, **files: str) -> str:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_py", ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "--allow-empty", "-m", subject, when=when)
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    folder = tmp_path / "agents"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / ".gitignore").write_text("*.log\nsecrets/\n.env\n")
    commit(folder, "the first", when="2026-11-20T10:00:00+00:00", src__refund_py="LIMIT = 100\ndef refund(): ...\n")
    commit(folder, "refunds: raise the limit", when="2026-11-22T10:00:00+00:00",
           src__refund_py="LIMIT = 500\ndef refund(): ...\n", prompts__system_py="PROMPT = 'Be kind.'\n")  # fmt: skip
    commit(folder, "a word", when="2026-11-24T10:00:00+00:00", prompts__system_py="PROMPT = 'Be very kind.'\n")
    (folder / ".env").write_text("KEY=hunter2\n")
    (folder / "run.log").write_text("hunter2\n")
    (folder / "node_modules").mkdir()
    (folder / "node_modules" / "x.js").write_text("hunter2\n")
    (folder / "notes.md").write_text("not committed yet\n")
    return folder


Call = Callable[..., Any]


def caller(folder: Path) -> Call:
    tools = {tool.name: tool for tool in repository_tools(folder)}

    def call(name: str, *, max_bytes: int = MODEL_BYTES, **arguments: Any) -> Any:
        jsonschema.validate(arguments, tools[name].spec.parameters)
        result = asyncio.run(tools[name].call(arguments, max_bytes))
        assert len(json.dumps(result, ensure_ascii=False, separators=(",", ":")).encode()) <= max_bytes
        return result

    return call


@pytest.fixture
def call(repo: Path) -> Call:
    return caller(repo)


def test_a_work_tree_has_the_git_tools_and_a_plain_directory_has_not(repo: Path, tmp_path: Path) -> None:
    assert [tool.name for tool in repository_tools(repo)] == CODE + GIT
    (tmp_path / "plain").mkdir()
    assert [tool.name for tool in repository_tools(tmp_path / "plain")] == CODE


@pytest.mark.parametrize("name", ["absent", "file"])
def test_what_is_no_directory_is_refused_before_a_model_is_asked(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="not a directory"):
        repository_tools(tmp_path / name)


def test_ripgrep_is_not_needed(repo: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A PATH with git and sh alone."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "git").symlink_to(shutil.which("git") or "")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    found = caller(repo)("grep_files", regex_pattern=r"LIMIT = \d+")
    assert found["matches"] == [{"path": "src/refund.py", "line_number": 1, "line_text": "LIMIT = 500"}]


def test_the_tree_shows_what_is_tracked_or_new_and_not_what_is_ignored(call: Call) -> None:
    shown = call("view_repo_tree")["tree"].split("\n")
    assert shown == [".gitignore", "notes.md", "prompts/", "  system.py", "src/", "  refund.py"]
    assert call("view_repo_tree", path="src")["tree"] == "refund.py"


def test_the_tree_says_what_lies_deeper(repo: Path) -> None:
    (repo / "a" / "b" / "c" / "d" / "e").mkdir(parents=True)
    (repo / "a" / "b" / "c" / "d" / "e" / "deep.py").write_text("")
    shown = caller(repo)("view_repo_tree", depth=2)
    assert "a/\n  b/" in shown["tree"]
    assert "deep.py" not in shown["tree"]
    assert "1 files lie deeper" in shown["left_out"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.py", ["prompts/system.py", "src/refund.py"]),
        ("src/*", ["src/refund.py"]),
        ("**/refund.*", ["src/refund.py"]),
        ("{src,prompts}/[r-s]*.py", ["prompts/system.py", "src/refund.py"]),
        ("*.log", []),
        ("s?c/**", ["src/refund.py"]),
    ],
)
def test_globs(call: Call, pattern: str, found: list[str]) -> None:
    assert [item["path"] for item in call("glob_files", pattern=pattern)["files"]] == found


def test_a_search_is_bounded_and_says_so(repo: Path) -> None:
    (repo / "many.txt").write_text("".join(f"needle {number} {'x' * 900}\n" for number in range(1000)))
    (repo / "binary.bin").write_bytes(b"needle\x00needle")
    call = caller(repo)
    found = call("grep_files", regex_pattern="needle", max_matches=500)
    assert found["has_more"]
    assert "did not fit" in found["left_out"]
    assert found["not_searched"].startswith("1 files: binary")
    assert all(len(item["line_text"]) <= 501 for item in found["matches"])
    assert len(call("grep_files", regex_pattern="needle", max_matches=3)["matches"]) == 3
    assert call("grep_files", regex_pattern="needle", glob_pattern="*.md")["matches"] == []


def test_a_pattern_that_blows_up_python_is_answered_at_once(repo: Path) -> None:
    (repo / "long.txt").write_text("word " * 5000)
    began = time.monotonic()
    assert caller(repo)("grep_files", regex_pattern=r"(\w+\s*)+\$NEVER")["matches"] == []
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("pattern", ["(", "a{1000}{1000}", r"(?=x)"])
def test_what_is_no_pattern_is_told_to_the_model(call: Call, pattern: str) -> None:
    with pytest.raises(ToolError, match="not a regular expression"):
        call("grep_files", regex_pattern=pattern)


def test_a_file_is_read_by_numbered_lines(repo: Path) -> None:
    (repo / "long.py").write_text("".join(f"line {number}\n" for number in range(1, 3001)))
    call = caller(repo)
    read = call("read_file", path="long.py", offset=10, limit=2)
    assert read["content"] == "    10\tline 10\n    11\tline 11"
    assert (read["start_line"], read["end_line"], read["total_line_count"]) == (10, 11, 3000)
    assert "offset 12" in read["left_out"]
    small = call("read_file", path="long.py", limit=2000, max_bytes=2000)
    assert small["truncated"]
    assert f"offset {small['end_line'] + 1}" in small["left_out"]
    (repo / "one.json").write_text("é" * 100_000)
    assert "more characters" in call("read_file", path="one.json")["content"]
    with pytest.raises(ToolError, match="has 3000 lines"):
        call("read_file", path="long.py", offset=4000)


@pytest.mark.parametrize(
    "path", ["../outside.txt", "/etc/passwd", "src/../../outside.txt", "link", "folder/passwd", ".git/config",
             "sub/.git", "absent.py", "src", "", "a\x00b", "pipe", ".env", "run.log", "node_modules/x.js"],
)  # fmt: skip
def test_no_path_leads_out_and_what_is_ignored_is_not_shown(repo: Path, path: str) -> None:
    (repo.parent / "outside.txt").write_text("hunter2")
    (repo / "link").symlink_to(repo.parent / "outside.txt")
    (repo / "folder").symlink_to("/etc")
    os.mkfifo(repo / "pipe")
    tools = {tool.name: tool for tool in repository_tools(repo)}
    with pytest.raises(ToolError):
        asyncio.run(tools["read_file"].call({"path": path}, MODEL_BYTES))


def test_searches_follow_no_link_and_find_no_secret(repo: Path) -> None:
    (repo.parent / "outside.txt").write_text("hunter2")
    (repo / "link").symlink_to(repo.parent / "outside.txt")
    (repo / "inside").symlink_to(repo.parent, target_is_directory=True)
    assert caller(repo)("grep_files", regex_pattern="hunter2")["matches"] == []


def test_a_binary_file_is_refused(repo: Path) -> None:
    (repo / "picture.png").write_bytes(b"\x89PNG\x00\x00")
    commit(repo, "a picture", when="2026-11-24T11:00:00+00:00")
    call = caller(repo)
    with pytest.raises(ToolError, match="binary"):
        call("read_file", path="picture.png")
    with pytest.raises(ToolError, match="binary"):
        call("git_read_file", ref="HEAD", path="picture.png")


def test_names_with_colons_and_stars_are_names(repo: Path) -> None:
    (repo / "a:b*[c].py").write_text("odd = True\n")
    sha = commit(repo, "odd", when="2026-11-24T11:00:00+00:00")
    call = caller(repo)
    assert call("read_file", path="a:b*[c].py")["content"].endswith("odd = True")
    assert call("git_read_file", ref=sha, path="a:b*[c].py")["content"].endswith("odd = True")
    assert [one["subject"] for one in call("git_log", path="a:b*[c].py")["commits"]] == ["odd"]
    assert call("git_log", path=":(top)src")["commits"] == []


def test_the_log_is_cut_by_time_by_path_and_by_what_changed(call: Call) -> None:
    def subjects(**arguments: Any) -> list[str]:
        return [one["subject"] for one in call("git_log", **arguments)["commits"]]

    assert subjects() == ["a word", "refunds: raise the limit", "the first"]
    assert subjects(since="2026-11-21", until="2026-11-23T00:00Z") == ["refunds: raise the limit"]
    assert subjects(since="2026-11-23T23:00:00+01:00") == ["a word"]
    assert subjects(path="src/refund.py") == ["refunds: raise the limit", "the first"]
    assert subjects(pickaxe_string="LIMIT = 500") == ["refunds: raise the limit"]
    assert subjects(pickaxe_regex="very +kind") == ["a word"]
    assert subjects(ref_range="HEAD~1..HEAD") == ["a word"]
    first = call("git_log", max_commits=1)
    assert first["has_more"]
    assert first["commits"][0]["authored_at"] == "2026-11-24T10:00:00Z"
    assert len(first["commits"][0]["sha"]) == 12
    with pytest.raises(ToolError, match="not a time"):
        call("git_log", since="lately")


def test_a_commit_is_shown_with_its_files_and_on_request_its_lines(call: Call) -> None:
    shown = call("git_show", ref="HEAD~1")
    assert shown["commit"]["subject"] == "refunds: raise the limit"
    assert "src/refund.py" in shown["body"]
    assert "+LIMIT = 500" not in shown["body"]
    patch = call("git_show", ref="HEAD~1", include_patch=True, path="src/refund.py")["body"]
    assert "+LIMIT = 500" in patch
    assert "system.py" not in patch
    assert "-LIMIT = 100" in call("git_diff", from_ref="HEAD~2", to_ref="main", stat_only=False)["diff"]
    assert "2 files changed" in call("git_diff", from_ref="HEAD~2", to_ref="main")["diff"]


def test_a_diff_that_is_too_large_says_what_is_left_out(repo: Path) -> None:
    commit(repo, "large", when="2026-11-24T11:00:00+00:00", large_py="x = 1\n" * 20_000)
    shown = caller(repo)("git_show", ref="HEAD", include_patch=True)
    assert shown["truncated"]
    assert "lines did not fit" in shown["left_out"]


def test_blame_and_an_old_version_of_a_file(call: Call) -> None:
    lines = call("git_blame", path="src/refund.py", start_line=1, end_line=2)["lines"]
    assert [(one["subject"], one["line_text"]) for one in lines] == [
        ("refunds: raise the limit", "LIMIT = 500"), ("the first", "def refund(): ..."),
    ]  # fmt: skip
    assert len(lines[0]["sha"]) == 12
    old = call("git_read_file", ref="HEAD~2", path="src/refund.py", limit=1)
    assert old["content"] == "     1\tLIMIT = 100"
    with pytest.raises(ToolError, match="fewer than 2000"):
        call("git_blame", path="src/refund.py", start_line=1, end_line=5000)
    with pytest.raises(ToolError):
        call("git_read_file", ref="HEAD", path="absent.py")


@pytest.mark.parametrize(
    "ref",
    ["-p", "--output=/tmp/x", "--all", "HEAD:.env", "HEAD..main", "^HEAD", "nope", "", "HEAD --all", "HEAD\n", ":/a"],
)
def test_a_ref_is_a_ref_and_never_an_option(repo: Path, ref: str) -> None:
    tools = {tool.name: tool for tool in repository_tools(repo)}
    for name, arguments in (
        ("git_show", {"ref": ref}),
        ("git_diff", {"from_ref": "HEAD", "to_ref": ref}),
        ("git_read_file", {"ref": ref, "path": "src/refund.py"}),
        ("git_blame", {"ref": ref or "-", "path": "src/refund.py", "start_line": 1, "end_line": 1}),
    ):
        with pytest.raises(ToolError):
            asyncio.run(tools[name].call(arguments, MODEL_BYTES))


def test_an_option_in_place_of_a_text_to_look_for_is_a_text(repo: Path, call: Call) -> None:
    assert call("git_log", pickaxe_string="--output=stolen")["commits"] == []
    assert call("git_log", path="--output=stolen")["commits"] == []
    assert not (repo / "stolen").exists()


def test_variables_that_lead_git_elsewhere_are_not_passed_on(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    commit(other, "of another", when="2026-11-24T10:00:00+00:00", other_py="hunter2\n")
    for name, value in {
        "GIT_DIR": str(other / ".git"), "GIT_WORK_TREE": str(other), "GIT_INDEX_FILE": str(other / ".git" / "index"),
        "GIT_OBJECT_DIRECTORY": str(other / ".git" / "objects"), "GIT_EXTERNAL_DIFF": "touch stolen",
        "GIT_PAGER": "touch stolen",
        "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "core.worktree", "GIT_CONFIG_VALUE_0": str(other),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    call = caller(repo)
    assert call("git_log")["commits"][0]["subject"] == "a word"
    assert [one["path"] for one in call("glob_files", pattern="*.py")["files"]] == [
        "prompts/system.py",
        "src/refund.py",
    ]


def test_nothing_that_a_repository_names_is_run(repo: Path, tmp_path: Path) -> None:
    """Every setting and attribute by which a repository can have git start a program, with one that leaves a mark."""
    mark = tmp_path / "mark"
    program = tmp_path / "program"
    program.write_text(f'#!/bin/sh\necho "$0 $@" >> {mark}\ncat\n')
    program.chmod(0o755)
    commit(repo, "attributes", when="2026-11-24T11:00:00+00:00")
    (repo / ".git" / "info" / "attributes").write_text("*.py diff=evil filter=evil merge=evil\n")
    (repo / ".gitattributes").write_text("*.py diff=evil filter=evil\n")
    for hook in ("post-index-change", "post-checkout", "pre-commit", "fsmonitor-watchman"):
        (repo / ".git" / "hooks").mkdir(exist_ok=True)
        shutil.copy(program, repo / ".git" / "hooks" / hook)
    for name in (
        "core.fsmonitor", "core.pager", "pager.log", "pager.diff", "pager.show", "diff.external", "gpg.program",
        "core.sshCommand", "core.alternateRefsCommand", "diff.evil.textconv", "diff.evil.command",
        "filter.evil.clean", "filter.evil.smudge", "filter.evil.process", "core.editor", "alias.log",
    ):  # fmt: skip
        git(repo, "config", name, f"!{program}" if name.startswith("alias") else str(program))
    git(repo, "config", "log.showSignature", "true")
    git(repo, "config", "core.hooksPath", str(repo / ".git" / "hooks"))
    mark.unlink(missing_ok=True)
    call = caller(repo)
    call("view_repo_tree")
    call("grep_files", regex_pattern="LIMIT")
    call("read_file", path="src/refund.py")
    call("git_log", path="src/refund.py")
    call("git_log", pickaxe_string="LIMIT = 500")
    call("git_log", pickaxe_regex="LIMIT")
    assert "+LIMIT = 500" in call("git_show", ref="HEAD~2", include_patch=True)["body"]
    assert "-LIMIT = 100" in call("git_diff", from_ref="HEAD~3", to_ref="HEAD", stat_only=False)["diff"]
    call("git_blame", path="src/refund.py", start_line=1, end_line=1)
    call("git_read_file", ref="HEAD", path="src/refund.py")
    asyncio.run(commits_of(repo, start_ns=0, end_ns=2 * 10**18))
    assert not mark.exists(), mark.read_text()


def test_a_repository_that_names_another_work_tree_is_read_as_plain_files(repo: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    git(repo, "config", "core.worktree", str(tmp_path / "elsewhere"))
    assert [tool.name for tool in repository_tools(repo)] == CODE


def hostile(kind: str, folder: Path, victim: Path) -> None:
    """Make a directory whose `.git` leads to another repository on this disk, in one of the ways that git follows."""
    folder.mkdir()
    (folder / "a.py").write_text("x = 1\n")
    if kind == "a .git file":
        (folder / ".git").write_text(f"gitdir: {victim}/.git\n")
    elif kind == "a .git file, relative":
        (folder / ".git").write_text(f"gitdir: ../{victim.name}/.git")
    elif kind == "a .git link":
        (folder / ".git").symlink_to(victim / ".git")
    elif kind == "nothing there":
        (folder / ".git").write_text("gitdir: /nowhere\n")
    else:
        git(folder, "init", "-q", "-b", "main")
        commit(folder, "its own", when="2026-11-20T10:00:00+00:00")
        objects = folder / ".git" / "objects"
        if kind == "a common directory":
            (folder / ".git" / "commondir").write_text(f"{victim}/.git\n")
        elif kind == "alternates":
            (objects / "info").mkdir(exist_ok=True)
            (objects / "info" / "alternates").write_text(f"# of a friend\n../../../{victim.name}/.git/objects\n")
        else:
            for path in sorted((victim / ".git" / "objects").rglob("*/*")):
                link = objects / path.parent.name / path.name
                link.parent.mkdir(exist_ok=True)
                if not link.exists():
                    link.symlink_to(path)
        (folder / ".git" / "refs" / "heads" / "main").write_text(f"{git(victim, 'rev-parse', 'HEAD')}\n")


KINDS = (
    "a .git file", "a .git file, relative", "a .git link", "nothing there", "a common directory", "alternates",
    "linked objects",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_repository_that_lies_elsewhere_is_said_and_not_read(kind: str, repo: Path, tmp_path: Path) -> None:
    """A directory that a stranger packed may name any repository of this machine as its own."""
    folder = tmp_path / "packed"
    hostile(kind, folder, repo)
    assert [tool.name for tool in repository_tools(folder)] == CODE
    assert asyncio.run(commits_of(folder, start_ns=0, end_ns=2 * 10**18)) is None
    said = not_read(folder)
    assert said is not None
    assert str(folder) in said
    assert "history is not read" in said
    for looks in (caller(folder), caller(tmp_path)):  # also as one of several in a directory that is none
        paths = [one["path"] for one in looks("glob_files", pattern="*")["files"]]
        assert [path for path in paths if path.startswith(("a.py", "packed/"))] in (["a.py"], ["packed/a.py"])
    assert not_read(repo) is None
    assert not_read(tmp_path) is None


def test_a_linked_work_tree_is_its_repositorys(repo: Path, tmp_path: Path) -> None:
    """Its history lies elsewhere as well, in a repository that names it in return."""
    git(repo, "worktree", "add", "-q", str(tmp_path / "linked"))
    assert [tool.name for tool in repository_tools(tmp_path / "linked")] == CODE + GIT
    assert caller(tmp_path / "linked")("git_log")["commits"][0]["subject"] == "a word"
    shutil.copytree(tmp_path / "linked", tmp_path / "copied")
    assert [tool.name for tool in repository_tools(tmp_path / "copied")] == CODE


def test_settings_that_name_files_show_nothing_of_them(repo: Path, tmp_path: Path) -> None:
    """git tells of a line that is no revision by quoting it."""
    secret = tmp_path / "secret"
    secret.write_text("[user]\n\tpassword = hunter2\n")
    for name in ("diff.orderFile", "mailmap.file", "core.attributesFile", "core.excludesFile"):
        git(repo, "config", name, str(secret))
    call = caller(repo)
    said = [
        call("git_blame", path="src/refund.py", start_line=1, end_line=2), call("git_log"),
        call("git_show", ref="HEAD", include_patch=True),
    ]  # fmt: skip
    assert "hunter2" not in json.dumps(said)
    for name, value in (
        ("blame.ignoreRevsFile", str(secret)),
        ("blame.ignoreRevsFile", "../secret"),
        ("blame.ignoreRevsFile", "~/secret"),
        ("include.path", str(secret)),
        ("includeIf.onbranch:main.path", str(secret)),
        ("include.path", "../../secret"),
    ):
        git(repo, "config", name, value)
        assert [tool.name for tool in repository_tools(repo)] == CODE
        assert "/secret: its history is not read" in str(not_read(repo))
        git(repo, "config", "--unset", name)
    (repo / "settings").write_text("[user]\n\tname = Ada\n")
    git(repo, "config", "blame.ignoreRevsFile", ".git-blame-ignore-revs")
    git(repo, "config", "include.path", "../settings")
    assert [tool.name for tool in repository_tools(repo)] == CODE + GIT


def test_a_part_of_a_repository_tells_nothing_of_the_rest(repo: Path) -> None:
    call = caller(repo / "src")
    with pytest.raises(ToolError, match="changes nothing in this directory"):
        call("git_show", ref="HEAD")
    assert call("git_show", ref="HEAD~1")["commit"]["subject"] == "refunds: raise the limit"


def test_a_part_of_a_repository_shows_that_part_alone(repo: Path) -> None:
    call = caller(repo / "src")
    assert call("view_repo_tree")["tree"] == "refund.py"
    assert [one["subject"] for one in call("git_log")["commits"]] == ["refunds: raise the limit", "the first"]
    assert "system.py" not in call("git_show", ref="HEAD~1", include_patch=True)["body"]
    assert call("git_read_file", ref="HEAD", path="refund.py", limit=1)["content"].endswith("LIMIT = 500")


def test_a_plain_directory_honours_gitignore_where_git_is_there(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(repo / ".git")
    assert [one["path"] for one in caller(repo)("glob_files", pattern="*")["files"]] == [
        ".gitignore", "notes.md", "prompts/system.py", "src/refund.py",
    ]  # fmt: skip
    monkeypatch.setenv("PATH", str(repo))
    assert "run.log" in [one["path"] for one in caller(repo)("glob_files", pattern="*")["files"]]


def test_a_directory_of_repositories_shows_their_files(repo: Path) -> None:
    paths = [one["path"] for one in caller(repo.parent)("glob_files", pattern="*.py")["files"]]
    assert paths == ["agents/prompts/system.py", "agents/src/refund.py"]


async def test_the_window_leads_to_its_commits(repo: Path) -> None:
    day = 86_400 * 10**9
    start = 1_795_219_200 * 10**9  # 2026-11-21T00:00:00Z
    near = await commits_of(repo, start_ns=start, end_ns=start + 2 * day)
    assert near is not None
    assert [one["subject"] for one in near["in_window"]] == ["refunds: raise the limit"]
    assert [one["subject"] for one in near["before"]] == ["the first"]
    assert await commits_of(repo.parent, start_ns=0, end_ns=1) is None


async def test_a_repository_without_a_commit_is_answered(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    tools = {tool.name: tool for tool in repository_tools(tmp_path)}
    with pytest.raises(ToolError, match="no commit"):
        await tools["git_log"].call({}, MODEL_BYTES)
    assert await commits_of(tmp_path, start_ns=0, end_ns=1) == {"in_window": [], "more_in_window": False, "before": []}


async def test_a_process_is_ended_by_its_time_its_bytes_and_its_caller(tmp_path: Path) -> None:
    run = {"cwd": tmp_path, "env": {"PATH": os.environ["PATH"]}}
    endless = await process.run(["sh", "-c", "echo begun; sleep 60"], max_bytes=100, seconds=0.3, **run)
    assert (endless.stdout, endless.timed_out) == (b"begun\n", True)
    flood = await process.run(["yes"], max_bytes=1000, **run)
    assert (len(flood.stdout), flood.cut) == (1000, True)
    loud = await process.run(["sh", "-c", "yes >&2 & sleep 0.2; kill $!"], max_bytes=1000, **run)
    assert len(loud.stderr) <= process.STDERR_BYTES
    task = asyncio.create_task(
        process.run(["sh", "-c", f"sleep 61 & echo $! > {tmp_path}/pid; wait"], max_bytes=9, **run)
    )
    ends = time.monotonic() + 10
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():
        assert time.monotonic() < ends
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    child = int((tmp_path / "pid").read_text())
    while Path(f"/proc/{child}").exists() and "Z" not in Path(f"/proc/{child}/stat").read_text().split()[2]:
        assert time.monotonic() < ends
        await asyncio.sleep(0.01)


async def test_a_process_whose_caller_goes_while_it_starts_is_ended_with_all_it_started(tmp_path: Path) -> None:
    """It runs already while the loop has not yet heard that it does: here the loop is held until then."""
    pid = tmp_path / "pid"
    script = f"sleep 61 & echo $! > {pid}; wait"
    run = {"cwd": tmp_path, "env": {"PATH": os.environ["PATH"]}, "max_bytes": 9}
    task = asyncio.create_task(process.run(["sh", "-c", script], **run))
    ends = time.monotonic() + 20
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    while not pid.exists() or not pid.read_text().strip():
        assert time.monotonic() < ends
        time.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() < ends
    status = Path(f"/proc/{pid.read_text().strip()}/stat")
    while status.exists() and "Z" not in status.read_text().split()[2]:
        assert time.monotonic() < ends
        await asyncio.sleep(0.01)


async def test_the_event_loop_is_free_while_a_search_runs(repo: Path) -> None:
    for number in range(40):
        (repo / f"big{number}.txt").write_text("some words of a line\n" * 20_000)
    tools = {tool.name: tool for tool in repository_tools(repo)}
    await tools["glob_files"].call({"pattern": "*.txt"}, MODEL_BYTES)  # the listing is then known
    search = asyncio.create_task(tools["grep_files"].call({"regex_pattern": "not there at all"}, MODEL_BYTES))
    turns = 0
    while not search.done():
        await asyncio.sleep(0.005)
        turns += 1
    assert (await search)["matches"] == []
    assert turns > 5, "one that blocked it would leave it two or three"

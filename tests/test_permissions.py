"""Prompts and answers are in what halo keeps: nobody else on the machine reads it, unless a group is named."""

from __future__ import annotations

import grp
import json
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.conftest import HALO, environment
from tests.fixtures_receiver import ReceiverProcess, trace_request

Run = Callable[..., subprocess.CompletedProcess[str]]
OTHERS_READ = 0o022  # the usual umask
MY_GROUP = grp.getgrgid(os.getegid()).gr_name


@pytest.fixture
def halo(tmp_path: Path) -> Run:
    """Run one command in a directory of its own, from a caller with the usual umask."""

    def run(*words: str, umask: int = OTHERS_READ, **settings: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*HALO, *words, "--data-dir", str(tmp_path / "data")], umask=umask, cwd=tmp_path,
            env=environment() | settings, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done

    (tmp_path / "spans.pb").write_bytes(trace_request((1, 1)))
    return run


def modes(directory: Path) -> dict[str, set[str]]:
    """The permissions of the directories and of the files there, itself included."""
    found: dict[str, set[str]] = {"directories": set(), "files": set()}
    for path in (directory, *directory.rglob("*")):
        kind = "directories" if path.is_dir() else "files"
        found[kind].add(f"{stat.S_IMODE(path.stat().st_mode):o}")
    return found


@pytest.mark.parametrize("umask", [0o000, OTHERS_READ])
def test_what_halo_keeps_is_for_its_user_alone(tmp_path: Path, halo: Run, umask: int) -> None:
    halo("import", "spans.pb", "--arrival", "span-time", umask=umask)
    halo("run", "--since", "2020-01-01", "--detectors-only", umask=umask)
    halo("work", "--once", umask=umask)
    assert list((tmp_path / "data" / "reports").glob("*/report.json"))
    assert modes(tmp_path / "data") == {"directories": {"700"}, "files": {"600"}}


def test_what_a_running_receiver_keeps_is_too(tmp_path: Path) -> None:
    """Also the spool, DuckDB's own files and receiver.json, while it runs and after it was killed."""
    receiver = ReceiverProcess(tmp_path / "data", patch=f"import os; os.umask({OTHERS_READ})")
    try:
        receiver.export(trace_request((1, 1)))
        assert len(receiver.rows("SELECT * FROM spans")) == 1
        receiver.export(trace_request((2, 1)))
        running = modes(tmp_path / "data")
    finally:
        receiver.kill()
    assert running == modes(tmp_path / "data") == {"directories": {"700"}, "files": {"600"}}


def test_a_group_may_read_all_of_it_and_write_none(tmp_path: Path, halo: Run) -> None:
    halo("import", "spans.pb", "--arrival", "span-time", HALO_STORE_GROUP=MY_GROUP)
    halo("run", "--since", "2020-01-01", "--detectors-only", HALO_STORE_GROUP=MY_GROUP)
    kept = [tmp_path / "data", *(tmp_path / "data").rglob("*")]
    assert {f"{stat.S_IMODE(path.stat().st_mode) & 0o777:o}" for path in kept if path.is_dir()} == {"750"}
    assert {f"{stat.S_IMODE(path.stat().st_mode):o}" for path in kept if path.is_file()} == {"640"}
    assert {path.stat().st_gid for path in kept} == {os.getegid()}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a second group: run as root")
def test_what_is_made_later_is_of_the_group_too(tmp_path: Path, halo: Run) -> None:
    other = next(group for group in grp.getgrall() if group.gr_gid != os.getegid())
    halo("import", "spans.pb", HALO_STORE_GROUP=other.gr_name)
    halo("run", "--detectors-only", HALO_STORE_GROUP=other.gr_name)
    assert {path.stat().st_gid for path in (tmp_path / "data").rglob("*")} == {other.gr_gid}


def test_a_wider_directory_of_an_earlier_build_is_tightened_once_and_said(tmp_path: Path, halo: Run) -> None:
    halo("import", "spans.pb")
    for path in (tmp_path / "data", *(tmp_path / "data").rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    said = halo("traces").stderr
    assert f"permissions of {tmp_path / 'data'} set: " in said
    assert "are now for this user alone" in said
    assert modes(tmp_path / "data") == {"directories": {"700"}, "files": {"600"}}
    assert "permissions" not in halo("traces").stderr


def test_what_is_not_halos_keeps_its_permissions(tmp_path: Path, halo: Run) -> None:
    """A data directory may be one that holds other things: a program there still runs."""
    (tmp_path / "data").mkdir(mode=0o755)
    program = tmp_path / "data" / "tool"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    (tmp_path / "data" / "reports").mkdir()
    (tmp_path / "data" / "reports" / "link").symlink_to(program)
    halo("import", "spans.pb")
    assert stat.S_IMODE(program.stat().st_mode) == 0o755


def test_a_directory_that_everybody_may_write_to_stays_so(tmp_path: Path, halo: Run) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data").chmod(0o1777)
    halo("import", "spans.pb")
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o1777
    assert modes(tmp_path / "data" / "segments") == {"directories": {"700"}, "files": {"600"}}


@pytest.mark.parametrize(("umask", "directories", "files"), [(0o022, "755", "644"), (0o007, "770", "660")])
def test_what_is_written_for_a_person_has_the_callers_permissions(
    tmp_path: Path, halo: Run, umask: int, directories: str, files: str
) -> None:
    halo("run", "--input", "spans.pb", "--detectors-only", "--out", "out/of/it", umask=umask)
    assert modes(tmp_path / "out") == {"directories": {directories}, "files": {files}}


def test_a_file_sink_has_the_callers_permissions(tmp_path: Path, halo: Run) -> None:
    (tmp_path / "halo.toml").write_text(
        '[schedules.now]\ninterval = "1h"\nsinks = ["box"]\n[sinks.box]\ntype = "file"\npath = "outbox/here"\n'
    )
    halo("import", "spans.pb")
    halo("work", "--once")
    assert modes(tmp_path / "outbox") == {"directories": {"755"}, "files": {"644"}}
    [report] = (tmp_path / "outbox" / "here").glob("*.json")
    assert json.loads(report.read_text())["schedule"] == "now"


def test_a_group_that_is_none_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [*HALO, "traces", "--data-dir", str(tmp_path)], capture_output=True, text=True, timeout=60, check=False,
        env=environment() | {"HALO_STORE_GROUP": "no-such-group"},
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == "error: [store] group: there is no group 'no-such-group'"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (b"what?", "has a '?'"), (b"back\\slash", "has a '\\\\'"), (b"\xff", "is not UTF-8"),
        (b"s3:bucket", "would take 's3:bucket' for an address"),
    ],
)  # fmt: skip
def test_a_path_that_duckdb_cannot_carry_is_refused_before_anything_is_made(
    tmp_path: Path, name: bytes, why: str
) -> None:
    for command in ("receive", "traces"):
        done = subprocess.run(
            [*HALO, command, b"--data-dir", name], cwd=tmp_path, capture_output=True, timeout=60, check=False,
            env=environment(),
        )  # fmt: skip
        said = done.stderr.decode()
        assert (done.returncode, "Traceback" in said, why in said) == (2, False, True), said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["it's", 'a "b"', "a*[b]", "línea 日本", "a;b:c%20#$"])
def test_paths_that_only_look_odd_are_carried(tmp_path: Path, name: str) -> None:
    (tmp_path / "spans.pb").write_bytes(trace_request((1, 1)))
    for words in (["import", "spans.pb"], ["query", "SELECT count(*) AS n FROM spans", "--format", "jsonl"]):
        done = subprocess.run(
            [*HALO, *words, "--data-dir", name], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
            env=environment(),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["n"] > 0

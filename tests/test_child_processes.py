"""Child processes: started by one helper, on no module of a stranger, without secrets, named, ended with their parent.

Each is started in a directory of traps: files named like every module of the standard library, every library that is
installed, and halo itself. A trap that runs leaves a file.
"""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from halo_receiver import child_processes
from tests.end_to_end.conftest import environment
from tests.fixtures_receiver import eventually
from tests.test_architecture import REPOSITORY, modules

MAY_START = {
    "halo_receiver.child_processes",
    "halo_worker.analysis.repository.git",  # git, not Python
    "halo_worker.analysis.repository.process",
}
STARTS = {
    "create_subprocess_exec", "create_subprocess_shell", "Popen", "run", "call", "check_call", "check_output",
    "ProcessPoolExecutor", "get_context", "Pool", "Process", "fork", "forkpty", "system", "popen",
    "posix_spawn", "posix_spawnp", "execv", "execve", "execvp", "execvpe", "execl", "execle", "execlp",
}  # fmt: skip
OWNERS = {"asyncio", "subprocess", "multiprocessing", "os", "futures", "concurrent"}


def starters(path: Path) -> Iterator[str]:
    """Calls in a file that start a process, as `module.function` or as a name that was imported from such a module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    direct = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in OWNERS
        for alias in node.names
        if alias.name in STARTS
    }
    for node in ast.walk(tree):
        name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        owned = name.split(".")[0] in OWNERS and name.rpartition(".")[2] in STARTS
        if (owned or name in direct) and name != "asyncio.run":
            yield name


def test_one_helper_starts_every_child() -> None:
    found = {module for module, path in modules() if any(starters(path))}
    assert found == MAY_START


@pytest.fixture(scope="module")
def traps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which importing anything but what belongs to the interpreter leaves a file `sprung-NAME`."""
    folder = tmp_path_factory.mktemp("traps")
    names = set(sys.stdlib_module_names) | set(packages_distributions()) | {"sitecustomize", "usercustomize"}
    for name in sorted(names | {"halo_receiver", "halo_worker"}):
        (folder / f"{name}.py").write_text(
            f"open({str(folder / f'sprung-{name}')!r}, 'w').close()\nraise SystemExit(9)\n"
        )
    return folder


def sprung(traps: Path) -> list[str]:
    return sorted(path.name for path in traps.glob("sprung-*"))


def run_in(traps: Path, program: str) -> str:
    """Run a program of the tests there, as a safe parent; what it prints."""
    program = f"import sys; sys.path.append({str(REPOSITORY)!r})\n{program}"
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], cwd=traps, env=environment(), capture_output=True, text=True, timeout=120
    )
    assert (sprung(traps), done.returncode) == ([], 0), done.stderr
    return done.stdout


def test_the_traps_work(traps: Path) -> None:
    """Without the helper, a module of the directory runs: the check can fail."""
    done = subprocess.run([sys.executable, "-m", "halo_receiver.segment_rewrite"], cwd=traps, capture_output=True)
    caught = sprung(traps)
    for name in caught:
        (traps / name).unlink()
    assert done.returncode == 9
    assert caught == ["sprung-halo_receiver"]


@pytest.mark.parametrize("command", ["receive", "up"])
def test_the_receiver_and_its_loader_start_among_traps(command: str, traps: Path, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    words = [command, "--data-dir", str(data_dir), "--grpc-endpoint", "127.0.0.1:0", "--http-endpoint", "127.0.0.1:0"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "halo_worker", *words], cwd=traps, env=environment(), stdout=log, stderr=log
        )
    try:
        eventually(lambda: (data_dir / "receiver.json").exists() or process.poll() is not None, seconds=60)
    finally:
        process.terminate()
        code = process.wait(60)
    assert (sprung(traps), code) == ([], 0), (tmp_path / "log").read_text()


def test_the_demos_receiver_starts_among_traps(traps: Path, tmp_path: Path) -> None:
    run_in(
        traps,
        f"""
from pathlib import Path
from halo_worker.demo import stage
folder = Path({str(tmp_path / "demo")!r})
stage._prepare(folder)
with stage._receiver(folder) as endpoint:
    print(endpoint)
""",
    )


def test_a_rewrite_starts_among_traps(traps: Path, tmp_path: Path) -> None:
    said = run_in(
        traps,
        f"""
from pathlib import Path
from halo_receiver.housekeeping import Housekeeping
from tests.receiver.test_merge import housekeeping, segments, several, until_idle
folder, counts = Path({str(tmp_path / "data")!r}), {{}}
several(folder)
keeper = housekeeping(folder, counts)
keeper._rewrite(segments(folder))
until_idle(keeper)
print(counts)
""",
    )
    assert "'merged_segments': 3" in said


def test_questions_are_answered_among_traps(traps: Path, tmp_path: Path) -> None:
    said = run_in(
        traps,
        f"""
import asyncio
from pathlib import Path
from halo_worker.analysis.questions import Questions
from tests.worker.analysis.windows import ordinary, window
async def ask(reader):
    questions = Questions.of(reader, Path({str(tmp_path / "questions")!r}), threads=1)
    print((await questions.select("SELECT count(*) AS n FROM traces")).rows)
    await questions.close()
with window(ordinary(2), Path({str(tmp_path)!r})) as reader:
    asyncio.run(ask(reader))
""",
    )
    assert "[{'n': 2}]" in said


def test_pools_spawn_among_traps(traps: Path) -> None:
    said = run_in(
        traps,
        """
import os
from halo_receiver import child_processes
if __name__ == "__main__":
    with child_processes.pool("halo-test-pool", 2) as pool:
        print(pool.submit(os.getcwd).result())
""",
    )
    assert said.strip() == str(traps)


def test_a_child_sees_neither_secrets_nor_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """They reach children that need them as arguments; what runs a stranger's SQL has nothing to tell."""
    for name in ("HALO_RECEIVER_API_KEYS", "OPENAI_API_KEY", "AWS_SESSION_TOKEN", "DB_PASSWORD", "PAGER", "TMPDIR"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", "/a", "", "/b", ""]))
    usual, bare, receiver = (
        child_processes.environment(),
        child_processes.environment(bare=True),
        child_processes.environment(settings=True),
    )
    assert not {"HALO_RECEIVER_API_KEYS", "OPENAI_API_KEY", "AWS_SESSION_TOKEN", "DB_PASSWORD"} & usual.keys()
    assert {"PAGER", "TMPDIR"} <= usual.keys()
    assert "PAGER" not in bare
    assert "TMPDIR" in bare
    assert "HALO_RECEIVER_API_KEYS" in receiver
    assert "OPENAI_API_KEY" not in receiver
    assert usual["PYTHONPATH"] == os.pathsep.join(["/a", "/b"]), "an empty entry means the current directory"


PARENT = """
import signal, sys, threading
from halo_receiver import child_processes
def start():
    child = child_processes.start("halo-test-child", "http.server", "--bind", "127.0.0.1", "0", ends_by=signal.SIGTERM,
                           stdout=-3, stderr=-3)
    print(child.pid, flush=True)
if sys.argv[1] == "thread":
    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
else:
    start()
signal.pause()
"""


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/comm").exists(), reason="names of processes are read from /proc: Linux only")
@pytest.mark.parametrize("by", ["main", "thread"])
def test_a_child_is_named_and_ends_with_its_parent(by: str) -> None:
    """Also when a thread started it that has ended since: the child stays, until the process ends."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT, by], stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout
        child = int(parent.stdout.readline())
        eventually(lambda: Path(f"/proc/{child}/comm").read_text().strip() == "halo-test-child")
        assert _alive(child)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    eventually(lambda: not _alive(child))


def test_a_child_is_of_the_same_halo_as_its_parent(tmp_path: Path) -> None:
    """Another one that is installed, or lies on PYTHONPATH, is not what the parent was tested with."""
    other = tmp_path / "halo_receiver"
    other.mkdir()
    (other / "__init__.py").write_text("raise SystemExit(9)")
    start: Callable[..., subprocess.Popen[bytes]] = child_processes.start
    env = {**child_processes.environment(), "PYTHONPATH": str(tmp_path)}
    child = start("halo-test-child", "this", env=env, stdout=subprocess.PIPE)
    assert b"The Zen of Python" in child.communicate()[0]
    assert child.returncode == 0

"""A window of the lake in parts: by processes of this host, and by a Dask cluster that loses a worker."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from halo_worker.errors import ConfigError
from halo_worker.parts import engines, task
from tests.fixtures_receiver import eventually
from tests.generator.fleet import fleet
from tests.lake.conftest import HALO, Host, Lake

pytestmark = pytest.mark.lake

TRACES, PARTS = 40, 2
# How a process gets a file system that no other sees, as on a host of its own: as root, or as anybody.
ALONE = (["unshare", "--mount"], ["unshare", "--mount", "--map-root-user"])
ON_ITS_OWN = 'mount -t tmpfs none "$0" && exec "$@"'


def alone(folder: Path) -> list[str]:
    """Words before a command whose files in a folder nobody else sees; none where the system does not let us."""
    for words in ALONE:
        mounts = [*words, "sh", "-c", ON_ITS_OWN, str(folder)]
        if (
            shutil.which(words[0])
            and not subprocess.run([*mounts, "true"], capture_output=True, check=False).returncode
        ):
            return mounts
    return []


@contextmanager
def dask(words: list[str], folder: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a scheduler or a worker with a temporary directory of its own, until it is let go of."""
    (folder / "tmp").mkdir(parents=True)
    process = subprocess.Popen(
        [*alone(folder / "tmp"), sys.executable, "-m", "dask", *words, "--host", "127.0.0.1", "--no-dashboard"],
        cwd=folder,
        env={**os.environ, **environment, "TMPDIR": str(folder / "tmp")},
        stdout=subprocess.DEVNULL, stderr=(folder / "log").open("wb"),
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def scheduler(folder: Path) -> Iterator[str]:
    file = folder / "scheduler.json"
    with dask(["scheduler", "--port", "0", "--scheduler-file", str(file)], folder / "scheduler", {}):
        eventually(lambda: file.exists() and file.read_text().strip().endswith("}"), seconds=60)
        yield json.loads(file.read_text())["address"]


@contextmanager
def worker(name: str, address: str, lake: Lake) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    folder = lake.root / name
    words = ["worker", address, "--nthreads", "1", "--no-nanny", "--name", name, "--local-directory", str(folder / "w")]
    with dask(words, folder, lake.environment) as process:
        eventually(lambda: "Registered to" in (folder / "log").read_text(), seconds=60)
        yield process, Path(f"/proc/{process.pid}/root{folder}/tmp")  # as the worker sees it


def filled(company: Lake) -> Host:
    """A host of a lake that holds a fleet."""
    receiver = company.hosts[0].receive()
    sent = 0
    for request, _ in fleet(TRACES, seed=5):
        receiver.export(request.SerializeToString())
        sent += sum(len(scope.spans) for resource in request.resource_spans for scope in resource.scope_spans)
    eventually(lambda: company.spans() == sent, seconds=60)
    receiver.terminate()
    return company.host("desk")


def begun(desk: Host, **environment: str) -> subprocess.Popen[str]:
    """Start a report over the lake."""
    words = ["run", "--data-dir", str(desk.data_dir), "--last", "24h", "--detectors-only", "--format", "json"]
    return subprocess.Popen(
        [*HALO, *words], cwd=desk.data_dir.parent, env={**os.environ, **desk.lake.environment, **environment},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def ended(run: subprocess.Popen[str]) -> Any:
    """Wait for a report; return what it says."""
    stdout, stderr = run.communicate(timeout=400)
    assert run.returncode == 0, stderr
    return said(stdout)


def said(text: str) -> Any:
    """A report without what each run has of its own: its name, times, how long it took, how far behind the receiver is
    by then, and the last digits of costs, which hang on the order in which they are added."""
    report = json.loads(text, parse_float=lambda number: round(float(number), 9))
    for name in ("id", "window", "created_at", "issue_memory"):
        report.pop(name, None)
    report["engine"].pop("seconds")
    unread = report["coverage"]["not_examined"]
    report["coverage"]["not_examined"] = [line for line in unread if not line.startswith("receiver ")]
    return report


def test_a_report_over_parts_is_that_of_the_whole(company: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """By processes of this host; and by two workers of a cluster, of which one is killed at its first part, and whose
    files no other host sees. A run that is interrupted ends, with a line, and leaves nothing."""
    desk = filled(company)
    expected = ended(begun(desk))
    assert expected["findings"]
    part_spans = str(company.spans() // PARTS + 1)
    temporary = company.root / "tmp"
    temporary.mkdir()
    here = {"HALO_CLUSTER_PART_SPANS": part_spans, "TMPDIR": str(temporary)}
    assert ended(begun(desk, **here)) == expected
    run = begun(desk, **here)
    eventually(lambda: any(temporary.glob("halo-parts-*/*")) or run.poll() is not None, seconds=240)
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does: to the processes of the parts, too
    stdout, stderr = run.communicate(timeout=240)
    assert (run.returncode, stdout) == (130, ""), stderr
    assert "error: interrupted, with 0 of 2 parts of the window done: nothing is published" in stderr
    assert "Traceback" not in stderr
    assert not list(temporary.iterdir())
    with (
        scheduler(company.root) as address,
        worker("first", address, company) as (_, kept),
        worker("second", address, company) as (second, its),
    ):
        run = begun(desk, HALO_CLUSTER_SCHEDULER=address, HALO_CLUSTER_PART_SPANS=part_spans)
        eventually(lambda: any(its.glob("halo-parts-*/*")) or run.poll() is not None, seconds=240)
        assert any(its.glob("halo-parts-*/*")), "the second worker had no part before the run ended"
        second.send_signal(signal.SIGKILL)
        assert ended(run) == expected
        assert kept.is_dir()
        assert not list(kept.glob("halo-parts-*"))
        this, other = os.getpid(), (("halo", "0"), ("DuckDB", "0"), ("schema", "0"))
        monkeypatch.setattr(engines, "versions", lambda: other if os.getpid() == this else task.versions())
        with pytest.raises(ConfigError, match=r"the worker tcp://\S+ has halo \S+ instead of 0, DuckDB 1\.5\.5"):
            engines.Cluster(address)
    if not alone(temporary):
        pytest.skip("all held, but workers shared a file system: 'unshare --mount' is not allowed here")

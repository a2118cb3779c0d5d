"""kill -9 between any two steps, from the first file of a report to the last receipt: nothing is lost, nothing doubled.

A child process publishes and delivers, and kills itself at its Nth step: an audit hook counts whatever it does to files
and sockets. The parent goes on as the next start would.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from halo_worker.config import RedactionConfig
from halo_worker.config_delivery import SinkConfig
from halo_worker.delivery.courier import Courier
from halo_worker.report.affected import AffectedSpan
from halo_worker.report.archive import Archive
from tests.builders import finding, report
from tests.worker.delivery.test_delivery import Endpoint

STEPS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "socket.connect", "socket.sendto", "shutil.rmtree")
REPORT = report(finding())


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    made = Endpoint()
    yield made
    made.close()


def sinks(endpoint: Endpoint, folder: Path) -> dict[str, SinkConfig]:
    return {
        "hook": SinkConfig.model_validate({"type": "webhook", "url": f"{endpoint.url}/{folder.name}"}),
        "out": SinkConfig.model_validate({"type": "file", "path": str(folder / "out")}),
    }


def courier(archive: Archive, configs: dict[str, SinkConfig], *, after_seconds: float = 0.0) -> Courier:
    """A courier whose clock stands that long after the report was made, whatever day it is."""
    now = REPORT.created_at / 1e9 + after_seconds
    return Courier(archive, configs, RedactionConfig.model_validate({}), clock=lambda: now)


def publish_and_deliver(folder: Path, configs: dict[str, SinkConfig]) -> None:
    archive = Archive(folder / "reports")
    archive.publish(REPORT, {"report.md": "# x"}, affected=[AffectedSpan("i", "t", None, "s")], sinks=configs)
    courier(archive, configs).deliver(REPORT.id, list(configs))


def run_until(step: int, folder: Path, configs: dict[str, SinkConfig]) -> None:
    """Publish and deliver in this process, and kill it at that step."""
    left = step

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event in STEPS and (event != "open" or str(folder) in str(arguments[0])):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    publish_and_deliver(folder, configs)


def killed_at(step: int, folder: Path, configs: dict[str, SinkConfig]) -> bool:
    """Run it in a child that is killed at that step; False when it ended before.

    Children are forked from a server process without threads: a lock that another thread holds at that moment, as
    libfaketime's around the clock, would stay locked in the child.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    child = context.Process(target=run_until, args=(step, folder, configs))
    child.start()
    child.join()
    assert child.exitcode in (0, -signal.SIGKILL)
    return child.exitcode != 0


def test_killed_at_any_step_everything_arrives_and_once_where_the_key_is_honoured(
    tmp_path: Path, endpoint: Endpoint
) -> None:
    step, published, sent_again = 0, 0, 0
    while True:
        step += 1
        folder = tmp_path / f"run{step}"
        folder.mkdir()
        configs = sinks(endpoint, folder)
        if not killed_at(step, folder, configs):
            break
        archive = Archive(folder / "reports")
        if not archive.ids():  # the schedule's watermark has not moved: its window is run again
            assert not (folder / "out").exists(), f"step {step}: delivered before it was published"
            publish_and_deliver(folder, configs)
        else:
            published += 1
            courier(archive, configs, after_seconds=3600).retry()
        assert archive.load(REPORT.id) == REPORT
        for name in configs:
            receipt = json.loads((archive.directory / REPORT.id / "receipts" / f"{name}.json").read_text())
            assert receipt["state"] == "done", f"step {step}: {name}"
        assert len([path for path in (folder / "out").iterdir() if path.suffix == ".json"]) == 1
        keys = Counter(headers["idempotency-key"] for path, headers, _ in endpoint.asked if path == f"/{folder.name}")
        assert len(keys) == 1, f"step {step}"
        assert max(keys.values()) <= 2
        sent_again += max(keys.values()) == 2
    assert step > 30, "the steps were not seen"
    assert published > 10
    assert sent_again >= 1, "no kill fell between the sending and the receipt: the test has lost its point"

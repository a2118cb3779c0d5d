"""The upstream Collector in front of a receiver, and what is asked of both together."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.collector import OTHER, program
from tests.collector.process import Collector, Configuration
from tests.fixtures_receiver import ReceiverProcess, eventually

Collect = Callable[..., Collector]  # what the fixture `collect` is
BUILD = f"build it with `python3 -m tests.collector` (needs Go), or name another in {OTHER}"
FOUND = "SELECT service_name, count(*) AS n, count(DISTINCT trace_id || span_id) AS different FROM spans GROUP BY 1"


def require(component: str) -> None:
    """Skip where the Collector that is tested lacks a component, such as "tail_sampling"."""
    path = program("collector")
    if path is None:
        pytest.skip(f"SKIPPED, the upstream Collector is not tested: {BUILD}")
    done = subprocess.run([path, "components"], capture_output=True, text=True, check=True)
    if f"name: {component}\n" not in done.stdout:
        pytest.skip(f"SKIPPED, {component} is not tested: {path} lacks it; name another Collector in {OTHER}")


@pytest.fixture
def collect(tmp_path: Path) -> Iterator[Collect]:
    """Start Collectors, each of any number of configurations; what still runs at the end is killed."""
    require("otlp")
    running: list[Collector] = []

    def start(*files: Path | Configuration) -> Collector:
        running.append(Collector(tmp_path / f"collector-{len(running)}", *files))
        return running[-1]

    yield start
    for collector in running:
        collector.kill()


class Receivers:
    """Receivers on one data directory, one after the other, each on the ports of the first."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.now: ReceiverProcess
        self._endpoints: list[str] = []

    def start(self, **settings: str) -> ReceiverProcess:
        """Start one; `settings` are of its environment."""
        self.now = ReceiverProcess(self.data_dir, *self._endpoints, **settings)
        self._endpoints = ["--grpc-endpoint", self.grpc, "--http-endpoint", str(self.now.address["http"])]
        return self.now

    @property
    def grpc(self) -> str:
        return self.now.grpc

    @property
    def http(self) -> str:
        """The base URL, as `otlp_http` wants it."""
        return self.now.http

    def found(self) -> dict[str, tuple[int, int]]:
        """Spans, and different ones, of each service."""
        return {row["service_name"]: (row["n"], row["different"]) for row in self.now.rows(FOUND)}

    def shows(self, **wanted: int) -> None:
        """Wait until it shows that many spans of each service, each once; fails with what it does show."""
        expected = {service: (number, number) for service, number in wanted.items()}
        seen: list[Any] = [None]

        def as_wanted() -> bool:
            seen[0] = self.found()
            return bool(seen[0] == expected)

        try:
            eventually(as_wanted, seconds=60)
        except AssertionError:
            raise AssertionError(f"wanted {expected}, found {seen[0]}") from None


@pytest.fixture
def receivers(tmp_path: Path) -> Iterator[Receivers]:
    """No receiver yet: `receivers.start()`."""
    made = Receivers(tmp_path / "data")
    yield made
    if hasattr(made, "now"):
        made.now.kill()

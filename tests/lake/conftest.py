"""A lake as a company has one: PostgreSQL, an S3, and hosts with a data directory each. Commands are run as typed."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pytest

from halo_receiver.config import LakeConfig
from halo_receiver.store import lake_extensions
from halo_receiver.store.lake_state import LakeState
from tests.fixtures_receiver import ReceiverProcess
from tests.lake.services import BUCKET, KEYS, S3, Postgres, postgres_programs, temporary

HALO = [sys.executable, "-m", "halo_worker"]


def missing() -> str | None:
    """What these tests lack here, and how it is got."""
    if (
        duckdb.__version__ != "1.5.5"
        or lake_extensions.extension_file(LakeConfig.model_validate({}), "ducklake") is None
    ):
        return (
            "the lake's tests need DuckDB 1.5.5 with its extensions: python3 -m tests.lake; then "
            "PYTHONPATH=$(python3 -m tests.lake --folder) .venv/bin/python -m pytest tests/lake"
        )
    if postgres_programs() is None:
        return "the lake's tests need PostgreSQL: apt-get install postgresql"
    return None


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    if reason := missing():
        pytest.skip(reason)
    with temporary("postgres") as directory:
        cluster = Postgres(directory)
        yield cluster
        with contextlib.suppress(AssertionError):
            cluster.stop()


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    if reason := missing():
        pytest.skip(reason)
    with temporary("s3") as directory:
        server = S3(directory)
        yield server
        server.stop()


@dataclass
class Host:
    """One machine of the company."""

    lake: Lake
    data_dir: Path
    receivers: list[ReceiverProcess] = field(default_factory=list)

    def receive(self, *, patch: str = "", **environment: str) -> ReceiverProcess:
        """Start a receiver that publishes to the lake."""
        receiver = ReceiverProcess(self.data_dir, patch=patch, **{**self.lake.environment, **environment})
        self.receivers.append(receiver)
        return receiver

    def __call__(self, *words: str, code: int = 0, **environment: str) -> str:
        """Run one command to its end; return its stdout."""
        done = self.attempt(*words, **environment)
        assert done.returncode == code, (
            f"halo {' '.join(words)} exited {done.returncode}:\n{done.stderr}\n{done.stdout}"
        )
        return done.stdout

    def attempt(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run one command to its end, whatever that is."""
        command, *rest = words
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HALO_", "OPENAI_", "OTEL_", "AWS_"))}
        return subprocess.run(
            [*HALO, command, "--data-dir", str(self.data_dir), *rest], cwd=self.data_dir.parent, capture_output=True,
            text=True, timeout=120, check=False, env={**kept, **self.lake.environment, **environment},
        )  # fmt: skip

    def query(self, sql: str, *words: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads(self("query", *words, "--format", "json", sql))
        return rows


@dataclass
class Lake:
    """A database and a folder of the bucket; `environment` is what every host of it has."""

    environment: dict[str, str]
    root: Path
    hosts: list[Host] = field(default_factory=list)

    def words(self) -> dict[str, str]:
        """The settings of [lake]."""
        start = "HALO_LAKE_"
        return {k.removeprefix(start).lower(): v for k, v in self.environment.items() if k.startswith(start)}

    @property
    def config(self) -> LakeConfig:
        return LakeConfig.model_validate(self.words())

    def state(self) -> LakeState:
        return LakeState(self.environment["HALO_LAKE_CATALOG"])

    def host(self, name: str) -> Host:
        host = Host(self, self.root / name)
        self.hosts.append(host)
        return host

    def spans(self) -> int:
        """How many spans count, copies too."""
        with self.state() as state:
            return sum(one.spans for one in state.visible())


@pytest.fixture
def make_lake(
    tmp_path: Path, postgres: Postgres, s3: S3, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Lake]]:
    made: list[Lake] = []

    def make(**settings: str) -> Lake:
        name = f"lake_{os.getpid()}_{abs(hash(request.node.nodeid)) % 10**9}_{len(made)}"
        given = {"publish_seconds": "0.2", "lease_seconds": "2", **settings}
        environment = {
            **KEYS, "HALO_LAKE_CATALOG": postgres.database(name), "HALO_LAKE_DATA": f"s3://{BUCKET}/{name}/",
            "HALO_LAKE_ENDPOINT": s3.endpoint, "HALO_STORE_ROTATE_SECONDS": "0.3",
            **{f"HALO_LAKE_{key.upper()}": value for key, value in given.items()},
        }  # fmt: skip
        for variable, value in KEYS.items():  # for what the test asks of the lake in its own process
            monkeypatch.setenv(variable, value)
        lake_ = Lake(environment, tmp_path)
        made.append(lake_)
        return lake_

    yield make
    for lake_ in made:
        for host in lake_.hosts:
            for receiver in host.receivers:
                with contextlib.suppress(Exception):
                    receiver.kill()


@pytest.fixture
def company(make_lake: Callable[..., Lake]) -> Lake:
    """A lake that is made."""
    lake_ = make_lake()
    lake_.host("first")("lake", "init")
    return lake_

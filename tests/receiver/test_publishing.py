"""Which segments go into a lake, and when; what of it needs no lake to be seen. The lake itself: tests/lake."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from halo_receiver.config import LakeConfig
from halo_receiver.errors import ConfigError
from halo_receiver.publishing import Publishing
from halo_receiver.store.clock import TrustedClock
from halo_receiver.store.manifest import Entry
from halo_receiver.store.retention import DAY_NS, Keep, Retention
from halo_receiver.store.schema import SCHEMA_VERSION
from tests.generator.load import store
from tests.small_spans import START, agent

CONFIG = LakeConfig.model_validate({"catalog": "dbname=halo", "data": "s3://spans/", "publish_bytes": 2**20})
SIZE = 2**19


def entry(number: int, *replaces: int) -> Entry:
    return Entry(name(number), SIZE, spans=1, last_received_ns=number, replaces=[name(each) for each in replaces])


def name(number: int) -> str:
    return f"spans-20261127T000000Z-{number:06d}.duckdb"


def due(publishing: Publishing, entries: list[Entry], *, open_rows: int = 0) -> list[str] | None:
    told = publishing.due(entries, open_rows=open_rows, now_ns=10**18)
    return told and told["names"]


def test_the_oldest_are_published_first_up_to_a_size_and_again_after_a_while(tmp_path: Path) -> None:
    publishing = Publishing(tmp_path, CONFIG)
    assert due(publishing, [entry(number) for number in (3, 1, 2)]) == [name(1), name(2)]
    publishing.done([name(1), name(2)])
    assert due(publishing, [entry(number) for number in (1, 2, 3)]) is None
    assert due(publishing, [entry(number) for number in (1, 2, 3, 4)]) == [name(3), name(4)]  # so much waits


def test_what_a_later_build_wrote_waits_for_one_that_reads_it(tmp_path: Path) -> None:
    later = replace(entry(1), schema=SCHEMA_VERSION + 1)
    assert due(Publishing(tmp_path, CONFIG), [later, entry(2)]) == [name(2)]


def test_a_failure_is_followed_by_longer_and_longer_waits(tmp_path: Path) -> None:
    publishing = Publishing(tmp_path, CONFIG)
    assert [publishing.failed() for _ in range(6)] == [15, 30, 60, 120, 240, 300]
    assert due(publishing, [entry(number) for number in range(1, 9)]) is None


def test_what_is_published_outlives_the_process_and_a_merge(tmp_path: Path) -> None:
    """A segment that was made of published ones is published; one made of others too is not."""
    publishing = Publishing(tmp_path, CONFIG)
    publishing.done([name(1), name(2)])
    publishing.look([entry(4, 1, 2), entry(5, 2, 3)])
    again = Publishing(tmp_path, CONFIG)
    assert again.receiver == publishing.receiver
    assert [number for number in range(1, 6) if again.may_go(name(number))] == [1, 2, 4]
    again.look([entry(4), entry(5)])
    assert [number for number in range(1, 6) if again.may_go(name(number))] == [4]


@pytest.mark.parametrize(("open_rows", "reached"), [(0, 10**18), (1, 2)])
def test_a_receiver_says_up_to_when_all_is_published(tmp_path: Path, open_rows: int, reached: int) -> None:
    told = Publishing(tmp_path, CONFIG).due([entry(1), entry(2)], open_rows=open_rows, now_ns=10**18)
    assert told is not None
    assert told["reached_ns"] == reached
    assert "catalog" not in told["lake"]  # it may hold a password, which others see in a command line


def test_no_password_is_in_what_is_shown_of_the_settings() -> None:
    config = LakeConfig.model_validate({"catalog": "host=pg password=hunter2", "data": "s3://spans/"})
    assert "hunter2" not in f"{config!r}{config.model_dump_json()}"


@pytest.mark.parametrize("data", ["", "spans", "http://host/spans"])
def test_a_lake_needs_a_place(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from halo_worker.config import load_settings

    with pytest.raises(ConfigError, match="data"):
        load_settings(environment={"HALO_LAKE_CATALOG": "dbname=halo", "HALO_LAKE_DATA": data})


def test_retention_deletes_only_what_the_lake_has(tmp_path: Path) -> None:
    """However old, and however large all of it is: a host may be cut off for long."""
    paths = [store([agent(number)], tmp_path, number=number) for number in (1, 2, 3)]
    keep = Keep(days=0.001, total_bytes=1)
    clock = TrustedClock(tmp_path, wall=lambda: START + DAY_NS)
    assert Retention(tmp_path, keep, clock, may_go=lambda found: found != paths[0].name).look() == 2
    assert [path.exists() for path in paths] == [True, False, False]


def test_where_the_disk_fills_the_oldest_of_what_the_lake_has_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before clients are told to come back; without a lake, nothing goes before its time."""
    paths = [store([agent(number)], tmp_path, number=number) for number in (1, 2, 3, 4)]
    sizes = [path.stat().st_size for path in paths]
    keep, clock = Keep(days=0, total_bytes=0, free_bytes=10**9), TrustedClock(tmp_path, wall=lambda: START + DAY_NS)
    free = 10**9 - sizes[1] - 1
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    assert Retention(tmp_path, keep, clock).look() == 0
    assert Retention(tmp_path, keep, clock, may_go=lambda found: found != paths[0].name).look() == 2
    assert [path.exists() for path in paths] == [True, False, False, True]
    free = 10**9
    assert Retention(tmp_path, keep, clock, may_go=lambda _: True).look() == 0


def test_without_a_lake_nothing_of_it_is_loaded() -> None:
    program = (
        "import sys, halo_receiver.loader_process, halo_receiver.receiver, halo_worker.window_reader, "
        "halo_worker.doctor, halo_worker.cli.data, halo_worker.deletion.conductor\n"
        "assert not {'psycopg', 'halo_receiver.store.lake', 'halo_receiver.store.lake_state'} & sys.modules.keys()"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=120).returncode == 0

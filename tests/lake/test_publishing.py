"""Each segment is published exactly once, whatever happens to who publishes; a lake that is away breaks nothing."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from halo_receiver.config import LakeConfig
from halo_receiver.errors import LakeUnavailable, StoreError
from halo_receiver.segment_publish import publish
from halo_receiver.store import lake
from halo_receiver.store.lake_reader import LakeReader, Span, pull
from halo_receiver.store.reader import Reader
from halo_receiver.store.settling import Settle
from halo_worker import window_reader
from halo_worker.config import load_settings
from halo_worker.request import Request
from halo_worker.window import last
from tests.generator.load import store
from tests.lake.conftest import Lake
from tests.lake.services import S3, Postgres
from tests.small_spans import agent

pytestmark = pytest.mark.lake

OPTIONS = {"memory_limit": "256MiB", "threads": 1}
SECOND = 10**9
# Where a publication is killed: Python that is run in its process before it begins.
KILLED = "import os; from halo_receiver.store import lake, lake_state; die = lambda *a, **k: os.kill(os.getpid(), 9)\n"
STEPS = {
    "the number is claimed": "lake.publish = die",
    "rows are written and not committed": "lake._counted = die",
    "rows are committed": "lake_state.LakeState.finish = die",
    "they count, and the directory does not know": "lake_state.LakeState.seen = die",
}


def published(config: LakeConfig, directory: Path, *names: str, receiver: str = "here") -> int:
    """Publish segments as a receiver does; return how many spans were written."""
    return int(publish(config, directory, receiver, names, reached_ns=0, **OPTIONS)["spans"])


def counted(config: LakeConfig) -> tuple[int, int]:
    """How many spans the lake shows, and how many rows of spans it has."""
    with LakeReader.of(config) as reader:
        [shown] = reader.query("SELECT count(*) AS n FROM spans")
        [rows] = reader.query("SELECT count(*) AS n FROM lake.span_rows")
    return shown["n"], rows["n"]


@pytest.fixture
def local(make_lake: Callable[..., Lake]) -> Lake:
    """A lake whose files are in a directory: what is tested here is who may write, not where to."""
    found = make_lake(data="/", lease_seconds="1", buckets="4")
    found.environment["HALO_LAKE_DATA"] = str(found.root / "lake")
    lake.create(found.config)
    with found.state() as state:
        state.create(found.config.data, found.config.buckets)
    return found


def test_a_publication_that_is_killed_at_any_step_is_there_once_after_the_next(local: Lake, tmp_path: Path) -> None:
    config, directory = local.config, tmp_path / "segments"
    for number, (step, dies) in enumerate(STEPS.items(), 1):
        name = store([agent(number)], directory, number=number).name
        program = (
            f"{KILLED}{dies}\nimport sys; from pathlib import Path; from halo_receiver.segment_publish import publish\n"
            "from halo_receiver.config import LakeConfig\n"
            f"publish(LakeConfig.model_validate({local.words()!r}), Path({str(directory)!r}), 'here', [{name!r}], "
            f"reached_ns=0, **{OPTIONS!r})"
        )
        done = subprocess.run([sys.executable, "-c", program], check=False, timeout=60)
        assert done.returncode == -9, step
        while True:  # its lease ends by itself
            try:
                published(config, directory, name)
                break
            except StoreError:
                time.sleep(0.1)
        assert counted(config)[0] == number, step
    with local.state() as state:
        assert (state.unfinished("here"), sum(one.spans for one in state.visible())) == ([], len(STEPS))


def test_of_two_that_publish_one_segment_at_once_one_counts(local: Lake, tmp_path: Path) -> None:
    """A publisher that was stopped longer than its lease writes its rows when it wakes up, and nobody reads them."""
    config, directory = local.config, tmp_path / "segments"
    name = store([agent(1)], directory).name
    with local.state() as paused:
        epoch = paused.lease("receiver:here", "paused", 0.01)
        assert epoch is not None
        number = paused.claim("here", epoch, [name])
        while paused.lease("receiver:here", "the next", 0) is None:
            time.sleep(0.01)
        assert published(config, directory, name) == 1
        lake.publish(config, number, [directory / name], buckets=4, **OPTIONS)
        assert not paused.finish(number, "receiver:here", epoch, spans=1, logs=0)
    assert counted(config) == (1, 2)
    local.host("desk")("lake", "merge")
    assert counted(config)[0] == 1


def test_a_segment_is_published_by_its_holder_alone(local: Lake, tmp_path: Path) -> None:
    config, directory = local.config, tmp_path / "segments"
    name = store([agent(1)], directory).name
    with local.state() as state:
        state.lease("receiver:here", "another process", 60)
    with pytest.raises(StoreError, match="another process"):
        published(config, directory, name)


def test_a_host_that_publishes_late_is_in_the_next_window_once(local: Lake, tmp_path: Path) -> None:
    """Windows are cut on when spans became visible; a trace that was judged stays judged, whatever comes late."""
    config, directory = local.config, tmp_path / "segments"
    settle = Settle(SECOND // 1000, SECOND // 1000)
    ends: list[int] = []
    for number, spans in enumerate(([agent(1)], [agent(2)], [agent(1, 2)]), 1):
        published(config, directory, store(spans, directory, number=number).name, receiver=f"host {number}")
        with local.state() as state:
            ends.append(state.visible()[-1].visible_ns + SECOND // 100)
    windows = zip([0, *ends], ends, strict=False)
    found = [traces(config, Span(start, end, settle), tmp_path / str(end)) for start, end in windows]
    assert [len(one) for one in found] == [1, 1, 0]
    assert found[0].isdisjoint(found[1])


def traces(config: LakeConfig, span: Span, folder: Path) -> set[str]:
    folder.mkdir()
    with Reader(pull(config, span, folder, **OPTIONS).segments) as reader:
        return {row["trace_id"] for row in reader.query("SELECT trace_id FROM traces")}


def test_a_report_says_how_far_a_host_that_is_gone_has_published(local: Lake) -> None:
    """Its disk may come back, or not: what it had acknowledged and not published is not in the window."""
    with local.state() as state:
        state.seen("gone", host="edge-7", data_dir="/srv/halo", published_until_ns=SECOND)
        state.seen("here", host="edge-8", data_dir="/srv/halo", published_until_ns=time.time_ns())
    current = load_settings(environment=local.environment)
    window = last(3600, time.time_ns())
    with window_reader.opened(current, Request(window=window), time.time_ns()) as opened:
        assert (opened.reader.query("SELECT * FROM traces"), opened.window) == ([], window)
    assert opened.problems == ["receiver edge-7 (/srv/halo) has published up to 1970-01-01T00:00:01.000000000Z"]


def test_no_error_repeats_the_catalogs_password(local: Lake) -> None:
    words = local.words()
    wrong = LakeConfig.model_validate(
        {**words, "catalog": f"{words['catalog']} port=1 password=hunter2 connect_timeout=2"}
    )
    with pytest.raises(LakeUnavailable) as told:
        lake.size(wrong)
    assert "hunter2" not in str(told.value)


@pytest.mark.parametrize(("by", "hint"), [(-1, "make a new one"), (1, "upgrade halo")])
def test_a_lake_of_another_build_is_told_from_one_of_this(local: Lake, by: int, hint: str) -> None:
    import psycopg  # which only the environment of these tests has

    with psycopg.connect(local.words()["catalog"]) as catalog:
        catalog.execute("UPDATE halo.lake SET version = version + %s", [by])
    with pytest.raises(StoreError) as told, local.state() as state:
        state.check(local.config.data)
    assert hint in told.value.hint


def test_a_trace_is_in_its_bucket_and_in_one_part_of_a_window(local: Lake, tmp_path: Path) -> None:
    config, directory = local.config, tmp_path / "segments"
    published(
        config, directory, store([agent(trace, number) for trace in range(1, 21) for number in (1, 2)], directory).name
    )
    with LakeReader.of(config, trace_id=f"{3:032x}") as reader:
        [plan] = reader.query("EXPLAIN ANALYZE SELECT * FROM _span_rows")
        assert "Total Files Read: 1" in str(plan)  # its bucket's, of four
        assert reader.query("SELECT count(*) AS n FROM spans") == [{"n": 2}]
    parts = [traces(config, Span(0, 2**62, None, part, 3), tmp_path / str(part)) for part in range(3)]
    assert sum(len(part) for part in parts) == len(set.union(*parts)) == 20


def test_more_buckets_than_memory_has_room_for_are_written_one_after_another(
    make_lake: Callable[..., Lake], tmp_path: Path
) -> None:
    """Each open file in S3 takes memory of its own: what DuckDB sets aside for thirty by itself is 2.3 GiB."""
    config, directory = (found := make_lake(buckets="30")).config, tmp_path / "segments"
    lake.create(config)
    with found.state() as state:
        state.create(config.data, config.buckets)
    texts = random.Random(1)
    spans = [agent(trace, answer=texts.randbytes(8_000).hex()) for trace in range(1, 10_001)]
    name = store(spans, directory).name
    assert publish(config, directory, "here", [name], reached_ns=0, memory_limit="512MiB", threads=2)["spans"] == 10_000
    with LakeReader.of(config) as reader:
        wrong = f"bucket <> {lake.bucket_of('trace_id', 30)}"
        [rows] = reader.query(
            "SELECT count(*) AS n, count(DISTINCT bucket) AS buckets, count(*) FILTER (wrong) AS wrong "
            f"FROM (SELECT bucket, {wrong} AS wrong FROM lake.span_rows)"
        )
    assert rows == {"n": 10_000, "buckets": 30, "wrong": 0}


def test_a_lake_that_is_away_is_said_and_nothing_is_half_done(
    make_lake: Callable[..., Lake], postgres: Postgres, s3: S3, tmp_path: Path
) -> None:
    away = make_lake()
    config, directory = away.config, tmp_path / "segments"
    lake.create(config)
    with away.state() as state:
        state.create(config.data, config.buckets)
    name = store([agent(1)], directory).name
    for service in (s3, postgres):
        service.stop()
        try:
            with pytest.raises(LakeUnavailable, match="does not answer"):
                published(config, directory, name)
        finally:
            service.start()
    assert published(config, directory, name) == 1
    assert counted(config)[0] == 1

"""Small segments become one, old meanings are derived again: readers see the same all the while."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from halo_receiver import conventions, segment_rewrite
from halo_receiver.housekeeping import Housekeeping
from halo_receiver.otlp_messages import TraceRequest
from halo_receiver.store import manifest, merge, retention, schema, trace_filter
from halo_receiver.store.clock import TrustedClock
from halo_receiver.store.manifest import Entry
from halo_receiver.store.merge import DAY_NS, MIN_SEGMENTS
from halo_receiver.store.reader import Reader
from halo_receiver.store.segment import listed
from halo_receiver.store.segments import Segments
from tests.fixtures_receiver import eventually, trace_request
from tests.receiver.loading import ARRIVAL, append, load, made_version_1, numbers

MIB = 2**20
NOW = ARRIVAL // DAY_NS * DAY_NS + 20 * 3_600_000_000_000  # in the evening
OPTIONS = {"memory_limit": "256MiB", "threads": 1}


def segments(directory: Path) -> list[str]:
    return [path.name for path in listed(directory / "segments")]


def several(data_dir: Path, count: int = 3) -> list[str]:
    """Seal so many segments: one trace over all of them, one span that came twice, a log record in each."""
    log = {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": "x"}}]}]}]}
    for number in range(1, count + 1):
        append(data_dir, trace_request((1, number), (number + 1, 1), (99, 99)), arrival_ns=ARRIVAL + number)
        append(data_dir, json.dumps(log).encode(), kind="logs", encoding="json", arrival_ns=ARRIVAL + number)
        load(data_dir)
    return segments(data_dir)


def seen(data_dir: Path) -> list[Any]:
    with Reader.open(data_dir) as reader:
        spans = reader.query("SELECT trace_id, span_id, received_at FROM spans ORDER BY ALL")
        traces = reader.query("SELECT trace_id, span_count FROM traces ORDER BY ALL")
        return [spans, traces, reader.query("SELECT count(*) AS n FROM logs")]


def merged(data_dir: Path, names: list[str]) -> Path:
    return segment_rewrite.rewrite(data_dir / "segments", names, **OPTIONS)  # type: ignore[arg-type]


def test_a_merge_changes_nothing_that_is_seen(tmp_path: Path) -> None:
    names = several(tmp_path)
    before = seen(tmp_path)
    made = merged(tmp_path, names)
    assert seen(tmp_path) == before, "an unpublished merge is not seen"
    merge.publish(tmp_path / "segments", made)
    assert seen(tmp_path) == before
    assert len(segments(tmp_path)) == 1
    entry = manifest.describe(listed(tmp_path / "segments")[0])
    assert entry is not None
    assert (entry.replaces, entry.spans, entry.logs, entry.mapping) == (names, 7, 3, conventions.MAPPING_VERSION)
    assert entry.position[0] > 0


def test_a_reader_that_is_open_goes_on_while_its_files_are_merged_away(tmp_path: Path) -> None:
    names = several(tmp_path)
    with Reader.open(tmp_path) as reader:
        merge.publish(tmp_path / "segments", merged(tmp_path, names))
        assert reader.query("SELECT count(*) AS n FROM spans") == [{"n": 7}]


class Crash(BaseException):
    """The process ends here."""


# Each is a moment of a merge at which the process is killed: before the renaming, before it is durable, before each
# deletion.
MOMENTS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "rename": lambda patched: patched.setattr(Path, "rename", crash),
    "sync": lambda patched: patched.setattr(merge, "sync_directory", crash),
    "first deletion": lambda patched: patched.setattr(Path, "unlink", crash),
    "second deletion": lambda patched: patched.setattr(Path, "unlink", crash_at_second(Path.unlink)),
}


def crash(*_: Any, **__: Any) -> None:
    raise Crash


def crash_at_second(act: Any) -> Any:
    calls: list[int] = []

    def maybe(path: Path, **options: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise Crash
        act(path, **options)

    return maybe


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_at_each_step_of_a_merge_is_finished_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    names = several(tmp_path)
    before = seen(tmp_path)
    made = merged(tmp_path, names)
    with monkeypatch.context() as patched:
        MOMENTS[moment](patched)
        with pytest.raises(Crash):
            merge.publish(tmp_path / "segments", made)
    assert seen(tmp_path) == before, "a reader between the crash and the next start"
    Segments(tmp_path, memory_limit_bytes=2**28, threads=1).close()
    assert seen(tmp_path) == before
    assert len(segments(tmp_path)) in (1, 3)
    assert not list((tmp_path / "segments" / merge.WORK).glob("*"))


def test_what_expired_while_it_was_merged_does_not_come_back(tmp_path: Path) -> None:
    names = several(tmp_path)
    made = merged(tmp_path, names)
    (tmp_path / "segments" / names[0]).unlink()
    assert merge.publish(tmp_path / "segments", made) is None
    assert segments(tmp_path) == names[1:]


def housekeeping(data_dir: Path, counts: dict[str, int], **options: Any) -> Housekeeping:
    def count(name: str, number: int) -> None:
        counts[name] = counts.get(name, 0) + number

    clock = TrustedClock(data_dir / "segments", wall=lambda: NOW)
    settings: dict[str, Any] = {
        "keep": retention.Keep(days=0, total_bytes=0), "merge_bytes": 512 * MIB, "memory_limit_bytes": 2**28,
        "mapping": conventions.MAPPING_VERSION, "log_level": "info", "count": count, "clock": clock,
    }  # fmt: skip
    opened = Segments(data_dir, memory_limit_bytes=2**28, threads=1, mapping=conventions.MAPPING_VERSION)
    return Housekeeping(opened, **{**settings, **options})


def until_idle(keeper: Housekeeping) -> None:
    def idle() -> bool:
        keeper.look()
        return not keeper.busy

    eventually(idle)


def test_housekeeping_merges_in_a_process_of_its_own(tmp_path: Path) -> None:
    several(tmp_path, MIN_SEGMENTS)
    before, counts = seen(tmp_path), {}
    keeper = housekeeping(tmp_path, counts)
    keeper.tidy()
    assert keeper.busy
    until_idle(keeper)
    assert (len(segments(tmp_path)), counts["merged_segments"]) == (1, MIN_SEGMENTS)
    assert seen(tmp_path) == before


def damage_inside(path: Path) -> None:
    """Flip a bit where only reading the rows finds it: the file opens, and says what it holds."""
    whole = path.read_bytes()
    for block in range(3 * 4096 + 1000, len(whole), 2**18):
        path.write_bytes(whole[:block] + bytes([whole[block] ^ 1]) + whole[block + 1 :])
        if manifest.describe(path) is not None and merge.damaged(path.parent, [path.name]):
            return
    raise AssertionError("no block of it holds rows alone")


def test_a_segment_that_is_damaged_inside_is_set_aside_when_it_is_merged(tmp_path: Path) -> None:
    """And not by making every merge fail from then on."""
    for number in range(MIN_SEGMENTS):
        append(tmp_path, trace_request(*((number + 1, span + 1) for span in range(300)), size=600))
        load(tmp_path)
    victim = tmp_path / "segments" / segments(tmp_path)[2]
    damage_inside(victim)
    assert merge.damaged(tmp_path / "segments", segments(tmp_path)) == [victim.name]
    counts: dict[str, int] = {}
    keeper = housekeeping(tmp_path, counts)
    keeper.tidy()
    until_idle(keeper)
    assert counts.get("damaged_segments") == 1
    assert [path.name for path in listed(tmp_path / "segments", "broken")] == [f"{victim.name}.broken"]
    assert len(set(numbers(tmp_path))) == MIN_SEGMENTS - 1


@pytest.mark.parametrize("version", [1, schema.SCHEMA_VERSION])
def test_old_meanings_are_derived_again_and_nothing_else_changes(tmp_path: Path, captures: Path, version: int) -> None:
    """With the mapping's version in each segment: what an older one made of the same attributes is replaced."""
    bodies = [path.read_bytes() for path in sorted(captures.glob("*/traces-001.pb"))]
    append(tmp_path, *bodies)
    append(tmp_path, *(path.read_bytes() for path in sorted(captures.glob("*/logs-001.pb"))), kind="logs")
    load(tmp_path)
    everything = "SELECT * FROM spans ORDER BY trace_id, span_id"
    with Reader.open(tmp_path) as reader:
        wanted, logs = reader.query(everything), reader.query("SELECT * FROM logs ORDER BY ALL")
    path = listed(tmp_path / "segments")[0]
    if version == 1:
        made_version_1(path)
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "UPDATE span_rows SET model = 'wrong', input_tokens = 1, convention = NULL, span_type = NULL"
        )
        connection.execute("UPDATE log_rows SET span_facts = NULL")
        connection.execute("UPDATE meta SET value = '0' WHERE key = 'mapping_version'")
    (tmp_path / "segments" / manifest.CACHE_FILE).unlink(missing_ok=True)
    counts: dict[str, int] = {}
    keeper = housekeeping(tmp_path, counts)
    keeper.tidy()
    until_idle(keeper)
    assert counts["derived_segments"] == 1
    with Reader.open(tmp_path) as reader:
        assert reader.query(everything) == wanted
        assert reader.query("SELECT * FROM logs ORDER BY ALL") == logs
    assert any(row["model"] for row in wanted)
    keeper.tidy()
    assert not keeper.busy, "once is enough"


# What is worth a merge


def entry(number: int, *, size: int = MIB // 2, at: int = NOW - 3_600_000_000_000) -> Entry:
    received = at + number * 60_000_000_000
    name = f"spans-20260101T000000Z-{number:06d}.duckdb"
    return Entry(name, size, 10, 0, received, received + 1, schema=schema.SCHEMA_VERSION, mapping=1)


def test_a_run_of_small_neighbours_is_merged_oldest_first() -> None:
    entries = [entry(number) for number in range(20)]
    assert len(merge.choose(entries, 512 * MIB, NOW)) == 20
    assert merge.choose(entries[: MIN_SEGMENTS - 1], 512 * MIB, NOW) == []
    assert merge.choose(entries, MIB, NOW) == [], "two would not fit"


def test_rows_are_rewritten_once_a_size_class_and_not_with_every_new_segment() -> None:
    """A day of a segment a minute, as housekeeping goes along: each byte is written a few times."""
    entries: list[Entry] = []
    written = 0
    start = NOW // DAY_NS * DAY_NS
    for minute in range(1200):
        at = start + minute * 60_000_000_000
        entries.append(replace(entry(minute), first_received_ns=at, last_received_ns=at))
        while chosen := merge.choose(entries, 512 * MIB, at):
            size = sum(item.bytes for item in chosen)
            written += size
            entries = [item for item in entries if item not in chosen]
            entries.append(replace(chosen[0], bytes=size))
    assert written < 5 * 1200 * MIB // 2
    assert len(entries) < 30
    day_after = start + DAY_NS + 2 * merge.DAY_OVER_NS
    assert len(merge.choose(entries, 4096 * MIB, day_after)) == len(entries), "when the day is over, all become one"


def test_a_segment_never_holds_two_days() -> None:
    """Retention deletes whole segments: it would keep the older day as long as the newer."""
    entries = [entry(n, at=NOW - day * DAY_NS) for day in (3, 2) for n in range(4)]
    assert [item.first_received_ns // DAY_NS for item in merge.choose(entries, 512 * MIB, NOW)] == [
        (NOW - 3 * DAY_NS) // DAY_NS
    ] * 4


# The manifest


def test_a_question_for_one_trace_opens_only_the_segments_that_may_hold_it(tmp_path: Path) -> None:
    for number in range(1, 11):
        append(tmp_path, trace_request(*((number * 100 + n, 1) for n in range(50))), arrival_ns=ARRIVAL + number)
        load(tmp_path)
    wanted = f"{7 * 100 + 3:032x}"
    with Reader.open(tmp_path, trace_id=wanted) as reader:
        assert len(reader.segments) <= 2
        assert reader.query("SELECT count(*) AS n FROM spans WHERE trace_id = ?", [wanted]) == [{"n": 1}]
    with Reader.open(tmp_path, trace_id="f" * 32) as reader:
        assert len(reader.segments) <= 1
    with Reader.open(tmp_path, start_ns=ARRIVAL + 5, end_ns=ARRIVAL + 7) as reader:
        assert len(reader.segments) == 2


def test_a_log_record_leads_to_its_segment_too(tmp_path: Path) -> None:
    """It may say what the model answered, of a span that lies elsewhere."""
    log = {"body": {"stringValue": "x"}, "traceId": "ab" * 16, "spanId": "cd" * 8}
    body = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [log]}]}]}).encode()
    append(tmp_path, body, kind="logs", encoding="json")
    load(tmp_path)
    with Reader.open(tmp_path, trace_id="ab" * 16) as reader:
        assert len(reader.segments) == 1


def test_a_question_for_one_service_opens_only_its_segments(tmp_path: Path) -> None:
    for service in ("one", "two", "one"):
        append(tmp_path, trace_request((1, len(segments(tmp_path)) + 1), service=service))
        load(tmp_path)
    with Reader.open(tmp_path, service="two") as reader:
        assert len(reader.segments) == 1


def test_the_filter_forgets_no_trace_and_invents_few() -> None:
    generator = random.Random(5)
    ids = [f"{generator.getrandbits(128):032x}" for _ in range(3000)] + [f"{n:032x}" for n in range(3000)]
    text = trace_filter.build(ids, len(ids))
    assert all(trace_filter.may_hold(text, trace_id) for trace_id in ids)
    others = [f"{generator.getrandbits(128):032x}" for _ in range(3000)]
    assert sum(trace_filter.may_hold(text, trace_id) for trace_id in others) < 3000 * 0.03
    assert len(text) < 1.8 * len(ids)
    assert not trace_filter.may_hold(trace_filter.build([], 0), ids[0])


def test_a_manifest_that_is_damaged_or_from_an_early_build_is_made_again(tmp_path: Path) -> None:
    several(tmp_path, 2)
    directory = tmp_path / "segments"
    wanted = manifest.load(directory, listed(directory), write=True)
    for text in ("", "[", '[{"name": "x"}]', json.dumps([{"name": wanted[0].name, "bytes": wanted[0].bytes}])):
        (directory / manifest.CACHE_FILE).write_text(text)
        assert manifest.load(directory, listed(directory), write=True) == wanted
        assert json.loads((directory / manifest.CACHE_FILE).read_text())[0]["spans"] == wanted[0].spans


def test_one_trace_over_requests_and_segments_is_one_trace(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        request = TraceRequest.FromString(trace_request((5, number)))
        span = request.resource_spans[0].scope_spans[0].spans[0]
        span.start_time_unix_nano, span.end_time_unix_nano = 10**18 + number, 10**18 + number * 1000
        append(tmp_path, request.SerializeToString())
        load(tmp_path)
    with Reader.open(tmp_path) as reader:
        rows = reader.query("SELECT span_count, duration_ns FROM traces")
    assert rows == [{"span_count": 3, "duration_ns": 3000 - 1}]

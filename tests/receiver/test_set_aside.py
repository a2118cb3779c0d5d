"""Memory that is short costs no request: it is tried in smaller batches, again, and once more at each start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from halo_receiver import batch_tables, commits, spool
from halo_receiver import set_aside as asides
from halo_receiver.decode import Undecodable
from halo_receiver.loader import Loader
from halo_receiver.store import writer
from halo_receiver.store.reader import Reader
from tests.fixtures_receiver import trace_request
from tests.receiver.loading import append, append_spans, aside, load, numbers
from tests.receiver.test_recovery import Crash, abandoned, commit, poisoned

LOG = b'{"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": "poison"}}]}]}]}'


def logs(data_dir: Path) -> int:
    with Reader.open(data_dir) as reader:
        return int(reader.query("SELECT count(*) AS n FROM logs")[0]["n"])


def retry(found: Loader) -> None:
    while found.retry_aside():
        pass


def short_of_memory(monkeypatch: pytest.MonkeyPatch, *, rows: int, times: int = 10**9) -> list[int]:
    """Have the store refuse batches of more than so many rows for want of memory; return the sizes it refused."""
    as_it_is, refused = writer.SegmentWriter.append, []

    def append(made: Any, *, spans: Any, **rest: Any) -> None:
        if spans is not None and spans.num_rows > rows and len(refused) < times:
            refused.append(spans.num_rows)
            raise MemoryError("could not allocate block")
        as_it_is(made, spans=spans, **rest)

    monkeypatch.setattr(writer.SegmentWriter, "append", append)
    monkeypatch.setattr(commits, "MEMORY_SECONDS", 0)
    return refused


def test_a_batch_for_which_memory_is_short_is_stored_in_halves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = short_of_memory(monkeypatch, rows=2)
    append_spans(tmp_path, *range(1, 9))
    load(tmp_path)
    assert (numbers(tmp_path), aside(tmp_path)) == (list(range(1, 9)), [])
    assert refused == [8, 4, 4]


def test_one_request_for_which_memory_is_short_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, Any]] = []
    short_of_memory(monkeypatch, rows=1, times=3)
    append(tmp_path, trace_request((1, 1), (1, 2)))
    load(tmp_path, tell=told.append)
    assert (numbers(tmp_path), aside(tmp_path)) == ([1, 1], [])
    assert "memory is short" in str(told[0]["trouble"])
    assert told[-1] == {"trouble": None}


def test_decoding_that_runs_out_of_memory_once_costs_no_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_it_is, failed = batch_tables.Tables.add, []

    def add(made: Any, kind: str, encoding: Any, body: bytes, arrival_ns: int) -> dict[str, int]:
        if b"poison" in body and not failed:
            failed.append(body)
            raise MemoryError
        return as_it_is(made, kind, encoding, body, arrival_ns)

    monkeypatch.setattr(batch_tables.Tables, "add", add)
    append(tmp_path, trace_request((1, 1)), trace_request((2, 2), name="poison"), trace_request((3, 3)))
    found = load(tmp_path)
    assert (numbers(tmp_path), aside(tmp_path), len(failed)) == ([1, 2, 3], [], 1)
    assert found.counters["loaded_spans"] == 3


def test_duckdb_out_of_memory_is_a_memory_error_and_nothing_of_the_batch_stays(tmp_path: Path) -> None:
    append(tmp_path, trace_request(*((n, 1) for n in range(1, 400)), size=100_000))
    append(tmp_path)
    found = Loader(
        tmp_path, rotate_seconds=60, rotate_bytes=2**27, max_request_bytes=2**26, max_attribute_bytes=2**20,
        memory_limit_bytes=12 * 2**20, threads=1, tell=lambda _: None,
    )  # fmt: skip
    frame = next(iter(found._frames()))
    made = batch_tables.Tables(max_attribute_bytes=2**20, span_time=False)
    made.add(frame.kind, frame.encoding, frame.body, frame.arrival_ns)
    spans, records = made.take()
    with pytest.raises(MemoryError):
        found.segments.append(spans=spans, logs=records, position=frame.end)
    assert found.segments.open_rows <= 1
    found.segments.close()


def set_aside(data_dir: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    with monkeypatch.context() as patched:
        poisoned(patched, error)
        patched.setattr(commits, "MEMORY_SECONDS", 0)
        append_spans(data_dir, 1)
        append(data_dir, LOG, kind="logs", encoding="json")
        load(data_dir)
    assert (logs(data_dir), len(aside(data_dir))) == (0, 1)


@pytest.mark.parametrize("error", [MemoryError(), Undecodable("by an earlier build")])
def test_what_was_set_aside_is_stored_at_a_later_start_as_of_its_arrival(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    set_aside(tmp_path, monkeypatch, error)
    found = load(tmp_path, before_seal=retry)
    assert (logs(tmp_path), aside(tmp_path), found.counters["retried_requests"]) == (1, [], 1)
    with Reader.open(tmp_path) as reader:
        assert reader.query("SELECT count(DISTINCT received_at) AS n FROM (FROM logs SELECT received_at UNION ALL "
                            "FROM spans SELECT received_at)") == [{"n": 1}]  # fmt: skip
    load(tmp_path, before_seal=retry)
    assert logs(tmp_path) == 1


def test_what_still_fails_stays_and_is_tried_once_at_each_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_aside(tmp_path, monkeypatch, KeyError("x"))
    kept = aside(tmp_path)
    with monkeypatch.context() as patched:
        poisoned(patched, KeyError("y"))
        found = load(tmp_path, before_seal=retry)
        assert not found.retry_aside()
    assert (logs(tmp_path), aside(tmp_path)) == (0, kept)
    load(tmp_path, before_seal=retry)
    assert (logs(tmp_path), aside(tmp_path)) == (1, [])


def test_what_kills_the_loader_when_it_is_tried_again_is_skipped_by_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_aside(tmp_path, monkeypatch, KeyError("x"))
    with monkeypatch.context() as patched:
        poisoned(patched, Crash())
        abandoned(tmp_path, commit, retry)
        load(tmp_path, before_seal=retry)
    assert (numbers(tmp_path), logs(tmp_path), len(aside(tmp_path))) == ([1], 0, 1)


def test_a_kill_between_storing_and_deleting_stores_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_aside(tmp_path, monkeypatch, KeyError("x"))
    with monkeypatch.context() as patched:
        patched.setattr(asides.Aside, "done", crash)
        abandoned(tmp_path, commit, retry)
    assert len(aside(tmp_path)) == 1
    load(tmp_path, before_seal=retry)
    assert (logs(tmp_path), aside(tmp_path)) == (1, [])


def crash(*_: Any, **__: Any) -> None:
    raise Crash


def test_a_kill_before_the_place_was_stored_as_passed_stores_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request is then in the spool, which is read again, and set aside as well."""
    append(tmp_path, LOG, kind="logs", encoding="json")
    append(tmp_path)
    with monkeypatch.context() as patched:
        poisoned(patched, KeyError("x"))
        abandoned(tmp_path, lambda found: found.step())
    assert len(aside(tmp_path)) == 1
    for _ in range(2):
        load(tmp_path, before_seal=retry)
        assert (logs(tmp_path), aside(tmp_path)) == (1, [])


def test_names_in_the_directory_that_are_no_requests_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_aside(tmp_path, monkeypatch, KeyError("x"))
    directory = tmp_path / "spool" / asides.DIRECTORY
    odd = ["x", "1-2.traces", f"{3:012d}-1-99999999999999999999.logs.json.none", "notes.logs.json.none", ".hidden"]
    for name in odd:
        (directory / name).write_bytes(LOG)
    (directory / f"{1:012d}-1.logs.json.none").mkdir()
    load(tmp_path, before_seal=retry)
    assert (logs(tmp_path), set(odd) <= set(aside(tmp_path))) == (1, True)
    assert spool.file_numbers(directory) == []

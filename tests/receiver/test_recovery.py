"""The ordinary start after every kind of end: what was acknowledged is readable exactly once."""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from halo_receiver import batch_tables, commits, conventions, spool_files
from halo_receiver.decode import Undecodable
from halo_receiver.errors import Unstorable
from halo_receiver.loader import Loader
from halo_receiver.store import merge, writer
from halo_receiver.store.reader import Reader
from halo_receiver.store.segment import SegmentName, listed
from halo_receiver.store.segments import POSITION_FILE, Segments
from tests.fixtures_receiver import small_disk, trace_request
from tests.receiver.loading import append, append_spans, aside, load, numbers, open_loader

LOG = b'{"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": "once"}}]}]}]}'


class Crash(BaseException):
    """The process ends here."""


def abandoned(data_dir: Path, *steps: Callable[[Loader], None], **options: Any) -> None:
    """Run a loader up to a moment, and leave the directory as a kill at that moment does.

    What the files hold then is copied; what an orderly end writes afterwards is thrown away.
    """
    found = None
    try:
        found = open_loader(data_dir, **options)
        for step in steps:
            step(found)
    except Crash:
        pass
    image = data_dir.with_name(f"{data_dir.name}-image")
    shutil.copytree(data_dir, image)
    if found is not None:
        with contextlib.suppress(Crash):
            found.segments._let_go()
    del found
    gc.collect()  # also what a crash left open in the midst of it
    shutil.rmtree(data_dir)
    image.rename(data_dir)


def commit(found: Loader) -> None:
    found.step()
    found.commit()


def logs(data_dir: Path) -> int:
    with Reader.open(data_dir) as reader:
        return int(reader.query("SELECT count(*) AS n FROM logs")[0]["n"])


def test_a_kill_after_the_commit_loads_nothing_twice(tmp_path: Path) -> None:
    append_spans(tmp_path, 1, 2)
    append(tmp_path, LOG, kind="logs", encoding="json")
    append(tmp_path)
    abandoned(tmp_path, commit)
    assert list((tmp_path / "segments").glob("*.open.wal"))
    load(tmp_path)
    assert (numbers(tmp_path), logs(tmp_path)) == ([1, 2], 1)


def test_a_lost_write_ahead_log_is_loaded_again_from_the_spool(tmp_path: Path) -> None:
    append_spans(tmp_path, 1, 2)
    append(tmp_path)
    abandoned(tmp_path, commit)
    next((tmp_path / "segments").glob("*.open.wal")).unlink()
    load(tmp_path)
    assert numbers(tmp_path) == [1, 2]


def test_a_flipped_write_ahead_log_sets_the_segment_aside_and_loads_it_again(tmp_path: Path) -> None:
    append_spans(tmp_path, *range(1, 40))
    append(tmp_path)
    abandoned(tmp_path, commit)
    wal = next((tmp_path / "segments").glob("*.open.wal"))
    content = bytearray(wal.read_bytes())
    content[len(content) // 2] ^= 0xFF
    wal.write_bytes(content)
    load(tmp_path)
    assert numbers(tmp_path) == list(range(1, 40))
    broken = listed(tmp_path / "segments", "broken")
    assert len(broken) == 1
    assert broken[0].with_name(f"{broken[0].name}.wal").exists()


def crash(*_: Any, **__: Any) -> None:
    raise Crash


def test_a_kill_between_the_creation_of_a_file_and_its_tables_leaves_nothing_that_a_reader_sees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_spans(tmp_path, 1)
    append(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(writer.SegmentWriter, "_make", crash)
        abandoned(tmp_path, commit)
    assert numbers(tmp_path) == []
    assert list((tmp_path / "segments").glob("*.making"))
    load(tmp_path)
    assert numbers(tmp_path) == [1]
    assert not list((tmp_path / "segments").glob("*.making*"))


# Each name is a place in the sealing of a segment before which the process is killed.
SEALING = {
    "describe": (writer.SegmentWriter, "_describe"),
    "checkpoint": (writer.SegmentWriter, "close"),
    "rename": (writer, "sync_directory"),
    "remember": (Segments, "_remember"),
    "drop": (spool_files, "drop_loaded"),
}


@pytest.mark.parametrize("place", SEALING)
def test_a_kill_at_each_step_of_sealing_leaves_everything_readable_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    append_spans(tmp_path, 1, 2)
    append(tmp_path, LOG, kind="logs", encoding="json")
    append(tmp_path)
    owner, name = SEALING[place]
    with monkeypatch.context() as patched:
        abandoned(tmp_path, commit, lambda _: patched.setattr(owner, name, crash), lambda found: found.seal())
    load(tmp_path)
    assert (numbers(tmp_path), logs(tmp_path)) == ([1, 2], 1)
    with Reader.open(tmp_path) as reader:
        assert reader.query("SELECT count(*) AS n, sum(span_count) AS spans FROM traces") == [{"n": 2, "spans": 2}]


def test_a_lost_position_is_known_from_the_segments(tmp_path: Path) -> None:
    append(tmp_path, LOG, kind="logs", encoding="json")
    load(tmp_path)
    (tmp_path / "segments" / POSITION_FILE).unlink()
    append(tmp_path, LOG, kind="logs", encoding="json")
    load(tmp_path)
    assert logs(tmp_path) == 2


POISONED = trace_request((1, 1)), trace_request((2, 2), name="poison"), trace_request((3, 3))


@pytest.mark.parametrize("error", [Unstorable("no"), TypeError("a bug of ours")])
def test_a_request_that_cannot_be_stored_is_set_aside_and_its_neighbours_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    as_it_is = writer.SegmentWriter.append

    def fail(made: Any, *, spans: Any, **rest: Any) -> None:
        if spans is not None and "poison" in spans.column("name").to_pylist():
            raise error
        as_it_is(made, spans=spans, **rest)

    monkeypatch.setattr(writer.SegmentWriter, "append", fail)
    append(tmp_path, *POISONED)
    append(tmp_path, LOG, kind="logs", encoding="json")
    found = load(tmp_path)
    assert (numbers(tmp_path), logs(tmp_path)) == ([1, 3], 1)
    assert (found.counters["set_aside_requests"], len(aside(tmp_path))) == (1, 1)


def poisoned(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Have decoding throw at a request that is poison."""
    as_it_is = batch_tables.Tables.add

    def fail(made: Any, kind: str, encoding: Any, body: bytes, arrival_ns: int) -> dict[str, int]:
        if b"poison" in body:
            raise error
        return as_it_is(made, kind, encoding, body, arrival_ns)

    monkeypatch.setattr(batch_tables.Tables, "add", fail)


@pytest.mark.parametrize("error", [Unstorable("no"), Undecodable("no"), MemoryError(), RecursionError(), KeyError("x")])
def test_whatever_decoding_throws_costs_one_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    poisoned(monkeypatch, error)
    append(tmp_path, *POISONED)
    load(tmp_path)
    assert numbers(tmp_path) == [1, 3]
    assert [name.split(".", 1)[1] for name in aside(tmp_path)] == ["traces.protobuf.none"]


def test_tables_that_cannot_be_made_of_a_batch_cost_nothing_but_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what they still hold does not come a second time."""
    as_it_is, calls = batch_tables.Tables.take, []

    def fail_once(made: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise OverflowError("once")
        return as_it_is(made)

    monkeypatch.setattr(batch_tables.Tables, "take", fail_once)
    append_spans(tmp_path, 1, 2)
    append(tmp_path, LOG, kind="logs", encoding="json")
    load(tmp_path)
    assert (numbers(tmp_path), logs(tmp_path), aside(tmp_path)) == ([1, 2], 1, [])


def test_a_request_that_kills_the_loader_is_found_out_and_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A careful loader leaves a note of what it tries; what it did not survive twice is not tried again."""
    poisoned(monkeypatch, Crash())
    append(tmp_path, *POISONED)
    append(tmp_path)
    for _ in range(2):
        abandoned(tmp_path, commit, careful=True)
    load(tmp_path, careful=True)
    assert numbers(tmp_path) == [1, 3]
    assert len(aside(tmp_path)) == 1


class Refusal:
    """A disk that is full for some time: a method that raises what DuckDB's refusal becomes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, times: int) -> None:
        self.left = times
        as_it_is = getattr(writer.SegmentWriter, name)

        def refuse(made: Any, *arguments: Any, **options: Any) -> Any:
            if self.left:
                self.left -= 1
                raise OSError(errno.ENOSPC, "No space left on device")
            return as_it_is(made, *arguments, **options)

        monkeypatch.setattr(writer.SegmentWriter, name, refuse)


def test_a_disk_that_refuses_a_batch_is_waited_for_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(commits, "RETRY_SECONDS", 0)
    append_spans(tmp_path, 1, 2)
    refusal = Refusal(monkeypatch, "append", 3)
    load(tmp_path, tell=told.append)
    assert (numbers(tmp_path), refusal.left) == ([1, 2], 0)
    assert "No space left" in str(told[0]["trouble"])
    assert told[-1] == {"trouble": None}


def test_what_may_make_room_is_done_while_a_batch_waits_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a store that could delete something would wait for ever."""
    monkeypatch.setattr(commits, "RETRY_SECONDS", 0)
    append_spans(tmp_path, 1, 2)
    refusal = Refusal(monkeypatch, "append", 10**9)
    loader = open_loader(tmp_path)
    loader.while_the_disk_refuses(lambda: setattr(refusal, "left", 0))
    loader.step()
    loader.seal()
    assert numbers(tmp_path) == [1, 2]


def test_a_segment_that_a_full_disk_does_not_take_leaves_nothing(tmp_path: Path) -> None:
    """It is tried every few seconds, each time under another name."""
    with small_disk(tmp_path / "disk", "size=64k") as disk:
        with pytest.raises(OSError, match="Errno 28"):
            writer.SegmentWriter(disk, SegmentName.at(10**18, 1))
        assert list(disk.iterdir()) == []


def test_a_disk_that_refuses_the_sealing_keeps_the_segment_for_the_next_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_spans(tmp_path, 1)
    append(tmp_path)
    refusal = Refusal(monkeypatch, "_finish", 2)
    found = open_loader(tmp_path)
    found.step()
    for _ in range(2):
        with pytest.raises(OSError, match="No space"):
            found.seal()
    append_spans(tmp_path, 2)
    append(tmp_path)
    found.step()
    found.seal()
    found.segments.close()
    assert (numbers(tmp_path), refusal.left) == ([1, 2], 0)
    assert len(listed(tmp_path / "segments")) == 1


def test_a_segment_that_another_program_has_open_is_not_taken_for_damaged(tmp_path: Path) -> None:
    append_spans(tmp_path, 1)
    append(tmp_path)
    abandoned(tmp_path, commit)
    left = listed(tmp_path / "segments", "open")[0]
    hold = f"import duckdb, sys; c = duckdb.connect({str(left)!r}); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", hold], stdin=-1, stdout=-1) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(OSError, match="lock"):
            open_loader(tmp_path)
        holder.communicate()
    load(tmp_path)
    assert numbers(tmp_path) == [1]


def test_reading_goes_on_while_a_loader_is_dead(tmp_path: Path) -> None:
    append_spans(tmp_path, 1)
    load(tmp_path)
    append_spans(tmp_path, 2)
    append(tmp_path)
    abandoned(tmp_path, commit)
    assert numbers(tmp_path) == [1]


def test_a_sealed_segment_is_whole_by_itself(tmp_path: Path) -> None:
    append_spans(tmp_path, 1)
    load(tmp_path)
    sealed = listed(tmp_path / "segments")[0]
    assert not list((tmp_path / "segments").glob("*.wal"))
    with duckdb.connect(str(sealed), read_only=True) as connection:
        for view in ("spans", "traces"):
            assert connection.execute(f"SELECT count(*) FROM {view}").fetchone() == (1,)
        assert connection.execute("SELECT count(*) FROM logs").fetchone() == (0,)
        meta = dict(connection.execute("SELECT key, value FROM meta").fetchall())
    assert int(meta["mapping_version"]) == conventions.MAPPING_VERSION
    assert json.loads(meta["facts"])["spans"] == 1
    assert merge.damaged(tmp_path / "segments", [sealed.name]) == []


def test_a_log_without_its_segment_is_not_taken_for_the_next_one_of_that_name(tmp_path: Path) -> None:
    """A kill in the first transaction leaves a log; the empty segment is thrown away, and its name may come again."""
    directory = tmp_path / "segments"
    directory.mkdir()
    name = SegmentName.at(1_790_000_000_000_000_000, 1)
    first = writer.SegmentWriter(directory, name)
    log = directory / f"{name}.open.wal"
    log.write_bytes(b"")
    first.discard()
    assert list(directory.glob(f"{name}*")) == []
    log.write_bytes(b"of a segment that is gone")
    writer.clean_unfinished(directory)
    again = writer.SegmentWriter(directory, name)
    assert list(directory.glob("*.wal")) == []
    again.discard()

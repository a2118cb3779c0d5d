"""What was acknowledged is loaded once, whatever happened to the spool: torn, flipped, deleted, refused by the disk."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from halo_receiver import spool, spool_files, spool_queue
from halo_receiver.spool_queue import CLOCK_BACK_NS, Ingest
from tests.fixtures_receiver import eventually, trace_request
from tests.receiver.loading import ARRIVAL, append, append_spans, aside, load, numbers, open_loader


def newest(data_dir: Path) -> Path:
    return max((data_dir / "spool").glob("*.spool"))


def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


def test_requests_are_loaded_in_order_and_once_over_several_starts(tmp_path: Path) -> None:
    append_spans(tmp_path, 1, 2)
    load(tmp_path)
    append_spans(tmp_path, 3)
    load(tmp_path)
    load(tmp_path)
    assert numbers(tmp_path) == [1, 2, 3]


@pytest.mark.parametrize("cut", [1, 27, 28, 29, 60])
def test_a_torn_tail_is_set_aside_and_what_comes_after_is_loaded(tmp_path: Path, cut: int) -> None:
    ends = append_spans(tmp_path, 1, 2)
    os.truncate(newest(tmp_path), ends[0].offset + cut)
    append_spans(tmp_path, 3)
    loader = load(tmp_path)
    assert numbers(tmp_path) == [1, 3]
    assert aside(tmp_path) == [f"{ends[0].file:012d}-{ends[0].offset}.torn"]
    assert loader.counters["torn_tails"] == 1


@pytest.mark.parametrize("place", ["magic", "length", "body"])
def test_a_flipped_bit_costs_one_request_which_is_kept_for_a_person(tmp_path: Path, place: str) -> None:
    ends = append_spans(tmp_path, 1, 2, 3)
    flip(newest(tmp_path), ends[0].offset + {"magic": 0, "length": 16, "body": 60}[place])
    loader = load(tmp_path)
    assert numbers(tmp_path) == [1, 3]
    assert aside(tmp_path) == [f"{ends[0].file:012d}-{ends[0].offset}.damaged"]
    assert loader.counters["damaged_stretches"] == 1
    load(tmp_path)
    assert len(aside(tmp_path)) == 1


def test_text_that_looks_like_a_frame_is_not_one(tmp_path: Path) -> None:
    """A trace may well hold our own source; a frame that is half written must not be searched for the next."""
    body = trace_request((1, 1), name="HSP2" * 100)
    ends = append(tmp_path, body, trace_request((2, 2)))
    path = newest(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: ends[0].offset - 50])
    loader = open_loader(tmp_path)
    loader.step()
    assert (loader.position, aside(tmp_path)) == ((1, 0), [])
    path.write_bytes(whole)
    loader.step()
    loader.seal()
    loader.segments.close()
    assert numbers(tmp_path) == [1, 2]


def test_what_is_not_synced_is_not_loaded(tmp_path: Path) -> None:
    """A group that the disk refuses is taken back: had it been loaded, the next one would be passed over."""
    ends = append_spans(tmp_path, 1, 2)
    loader = open_loader(tmp_path)
    loader.synced = ends[0]
    loader.step()
    assert loader.position == ends[0]
    loader.synced = ends[1]
    loader.step()
    loader.seal()
    loader.segments.close()
    assert numbers(tmp_path) == [1, 2]


def test_a_spool_file_that_somebody_deleted_is_told_and_the_rest_is_loaded(tmp_path: Path) -> None:
    append_spans(tmp_path, 1)
    append_spans(tmp_path, 2)
    newest(tmp_path).unlink()
    (tmp_path / "spool" / spool.file_name(3)).touch()
    append_spans(tmp_path, 4)
    loader = load(tmp_path)
    assert numbers(tmp_path) == [1, 4]
    assert (loader.counters["missing_spool_files"], aside(tmp_path)) == (1, [f"{2:012d}.missing"])


def test_a_spool_that_was_deleted_as_a_whole_begins_behind_what_is_loaded(tmp_path: Path) -> None:
    """A number that came again would count as loaded."""
    for number in (1, 2, 3):
        append_spans(tmp_path, number)
    position = load(tmp_path).position
    for path in (tmp_path / "spool").glob("*.spool"):
        path.unlink()
    writer = spool.SpoolWriter(tmp_path / "spool", after=position.file)
    assert writer.position.file > position.file
    writer.close()
    append_spans(tmp_path, 4)
    load(tmp_path)
    assert numbers(tmp_path) == [1, 2, 3, 4]


@pytest.mark.parametrize("compression", spool.COMPRESSIONS)
@pytest.mark.parametrize("size", [1, spool.PACK_BYTES - 1, spool.PACK_BYTES, 2**20])
def test_a_request_is_read_as_it_came_and_large_ones_take_less_of_the_disk(
    tmp_path: Path, compression: str, size: int
) -> None:
    """The disk is what an acknowledgement waits for."""
    body = b"a prompt and its answer. " * (size // 25) + b"." * (size % 25)
    frame = spool.encode(kind="traces", encoding="protobuf", compression=compression, arrival_ns=7, body=body)
    writer = spool.SpoolWriter(tmp_path / "spool")
    end = writer.append([frame])
    (read,) = spool.read_file(tmp_path / "spool", end.file, 0)
    assert isinstance(read, spool.Frame)
    assert (read.body, read.compression, read.arrival_ns, read.end) == (body, compression, 7, end)
    packed = compression == "none" and size >= spool.PACK_BYTES
    assert (end.offset < size / 4) == packed
    writer.close()


def test_a_flipped_bit_in_a_packed_request_costs_that_request(tmp_path: Path) -> None:
    large = [trace_request(*((n, span) for span in range(1, 200))) for n in (1, 2, 3)]
    assert min(map(len, large)) > spool.PACK_BYTES
    ends = append(tmp_path, *large)
    flip(newest(tmp_path), ends[1].offset - 100)
    loader = load(tmp_path)
    assert set(numbers(tmp_path)) == {1, 3}
    assert loader.counters["damaged_stretches"] == 1


def test_a_file_that_is_deleted_under_the_writer_is_noticed_before_the_answer(tmp_path: Path) -> None:
    writer = spool.SpoolWriter(tmp_path / "spool")
    frame = spool.encode(
        kind="traces", encoding="protobuf", compression="none", arrival_ns=1, body=trace_request((1, 1))
    )
    newest(tmp_path).unlink()
    assert writer.append([frame]).file == 2
    writer.close()
    load(tmp_path)
    assert numbers(tmp_path) == [1]


@pytest.mark.parametrize("refused", ["writev", "fdatasync", "ftruncate"])
def test_a_disk_that_refuses_takes_nothing_back_that_was_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    frames = [
        spool.encode(kind="traces", encoding="protobuf", compression="none", arrival_ns=1, body=trace_request((n, n)))
        for n in (1, 2, 3)
    ]
    writer = spool.SpoolWriter(tmp_path / "spool")
    writer.append([frames[0]])

    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", refuse)
        if refused != "fdatasync":
            patched.setattr(os, refused, refuse)
        with pytest.raises(OSError, match="No space"):
            writer.append([frames[1]])
    writer.append([frames[2]])
    writer.close()
    load(tmp_path)
    # What could not even be taken back may be found: its client was told to come again, and it is shown once.
    assert numbers(tmp_path) in ([1, 3], [1, 2, 3])


async def test_whatever_is_thrown_in_the_writer_is_answered_and_the_next_request_is_stored(tmp_path: Path) -> None:
    """One exception in the thread that writes would leave every later request unanswered."""
    writer = spool.SpoolWriter(tmp_path / "spool")
    append_as_it_is = writer.append

    def fail(_: Any) -> None:
        raise MemoryError("once")

    writer.append = fail  # type: ignore[method-assign, assignment]
    sink = Ingest(writer, clock=lambda: ARRIVAL, on_synced=lambda _: None)
    request = {"kind": "traces", "encoding": "protobuf", "compression": "none", "body": trace_request((1, 1))}
    with pytest.raises(MemoryError):
        await sink.store(**request)  # type: ignore[arg-type]
    writer.append = append_as_it_is  # type: ignore[method-assign]
    await sink.store(**request)  # type: ignore[arg-type]
    sink.close()
    load(tmp_path)
    assert numbers(tmp_path) == [1]


async def test_a_disk_that_hangs_is_seen_and_too_much_that_waits_is_busy(tmp_path: Path) -> None:
    writer, go_on = spool.SpoolWriter(tmp_path / "spool"), threading.Event()
    append_as_it_is = writer.append

    def hang(frames: Any) -> spool.Position:
        go_on.wait(20)
        return append_as_it_is(frames)

    writer.append = hang  # type: ignore[method-assign]
    sink = Ingest(writer, clock=time.time_ns, on_synced=lambda _: None, max_pending_bytes=150)
    request = {"kind": "traces", "encoding": "protobuf", "compression": "none", "body": trace_request((1, 1))}
    waiting = asyncio.create_task(sink.store(**request))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    eventually(lambda: sink.stalled_for > 0)
    with pytest.raises(spool_queue.Busy):
        await sink.store(**request)  # type: ignore[arg-type]
    go_on.set()
    await waiting
    assert sink.stalled_for == 0
    sink.close()


async def test_who_gives_up_waiting_takes_no_request_back_and_leaves_its_room(tmp_path: Path) -> None:
    """A client that goes away may have been acknowledged for all it knows: what it sent is stored, once."""
    writer, go_on = spool.SpoolWriter(tmp_path / "spool"), threading.Event()
    append_as_it_is = writer.append

    def hang(frames: Any) -> spool.Position:
        go_on.wait(20)
        return append_as_it_is(frames)

    writer.append = hang  # type: ignore[method-assign]
    sink = Ingest(writer, clock=lambda: ARRIVAL, on_synced=lambda _: None, max_pending_bytes=150)
    request = {"kind": "traces", "encoding": "protobuf", "compression": "none"}
    waiting = asyncio.create_task(sink.store(**request, body=trace_request((1, 1))))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    with pytest.raises(spool_queue.Busy):  # what waits for the disk counts until it is written
        await sink.store(**request, body=trace_request((2, 2)))
    go_on.set()
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(spool_queue.Busy):
                await sink.store(**request, body=trace_request((3, 3)))
                break
            await asyncio.sleep(0)
    sink.close()
    load(tmp_path)
    assert numbers(tmp_path) == [1, 3]


def test_arrival_does_not_go_back_with_the_clock_but_follows_one_that_was_wrong(tmp_path: Path) -> None:
    times = iter([100, 90, 101, 101 + 2 * CLOCK_BACK_NS, 200, 199])
    sink = Ingest(spool.SpoolWriter(tmp_path / "spool"), clock=lambda: next(times), on_synced=lambda _: None)
    assert [sink.arrival() for _ in range(6)] == [100, 100, 101, 101 + 2 * CLOCK_BACK_NS, 200, 200]
    sink.close()


def test_arrival_does_not_go_back_over_a_restart(tmp_path: Path) -> None:
    append_spans(tmp_path, 1)
    os.utime(newest(tmp_path), ns=(ARRIVAL, ARRIVAL))
    last = spool_files.last_written_ns(tmp_path / "spool")
    assert last == ARRIVAL
    sink = Ingest(
        spool.SpoolWriter(tmp_path / "spool"), clock=lambda: ARRIVAL - 5, on_synced=lambda _: None, last_arrival_ns=last
    )
    assert sink.arrival() == ARRIVAL
    sink.close()

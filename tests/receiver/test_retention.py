"""What expires, by which clock; a clock that is wrong deletes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from halo_receiver import conventions
from halo_receiver.housekeeping import Housekeeping
from halo_receiver.store import manifest
from halo_receiver.store.clock import AWAY_NS, CLOCK_FILE, JUMP_NS, SECOND, WAIT_NS, TrustedClock
from halo_receiver.store.manifest import Entry
from halo_receiver.store.reader import Reader
from halo_receiver.store.retention import DAY_NS, Keep, Retention, too_much, too_old
from halo_receiver.store.segment import listed
from halo_receiver.store.segments import Segments
from tests.receiver.loading import ARRIVAL, append_spans, load, numbers

NOW = ARRIVAL + DAY_NS // 2
MONTH = Keep(days=30, total_bytes=0)
BOOT = 10**15  # monotonic, at the start of a test


@dataclass
class Machine:
    """The clocks of a machine: `ahead` is how far somebody set the wall clock off."""

    passed: int = 0
    ahead: int = 0
    boot: str = "one"
    boot_at: int = 0

    def clock(self, directory: Path) -> TrustedClock:
        return TrustedClock(
            directory,
            wall=lambda: NOW + self.passed + self.ahead,
            monotonic=lambda: BOOT + self.passed - self.boot_at,
            boot=lambda: self.boot,
        )

    def reboot(self, *, off: int = 60 * SECOND) -> None:
        self.passed += off
        self.boot, self.boot_at = f"{self.boot}+", BOOT + self.passed


def entry(number: int, *, at: int, size: int = 100) -> Entry:
    return Entry(f"spans-20260101T000000Z-{number:06d}.duckdb", size, 1, 0, at, at)


@pytest.mark.parametrize(
    ("keep", "gone"),
    [
        (Keep(days=0, total_bytes=0), []),
        (Keep(days=2.5, total_bytes=0), [4, 3]),
        (Keep(days=0, total_bytes=250), [4, 3, 2]),
        (Keep(days=0, total_bytes=1), [4, 3, 2, 1]),  # the newest stays
    ],
)
def test_the_oldest_expire_by_age_and_by_size(keep: Keep, gone: list[int]) -> None:
    entries = [entry(day, at=NOW - day * DAY_NS) for day in range(5)]
    found = [*too_old(entries, keep, NOW), *too_much(entries, keep, NOW)]
    assert [int(item.name[-13:-7]) for item in found] == gone


def test_what_a_wrong_clock_stamped_ahead_of_time_does_not_outlive_newer_data_when_the_disk_is_short() -> None:
    entries = [entry(1, at=NOW + 40 * DAY_NS), entry(2, at=NOW - 1), entry(3, at=NOW)]
    assert too_much(entries, Keep(days=0, total_bytes=250), NOW) == [entries[1]]
    assert too_much(entries, Keep(days=0, total_bytes=250), NOW + 1) == [entries[1]]
    later = [*entries, entry(4, at=NOW + SECOND)]
    assert entries[0] in too_much(later, Keep(days=0, total_bytes=150), NOW + SECOND)


def stored(data_dir: Path, *days: float) -> None:
    """Seal a segment for each age in days, of one span in a trace of the segment's number."""
    for number, days_old in enumerate(days, 1):
        append_spans(data_dir, number, arrival_ns=NOW - int(days_old * DAY_NS))
        load(data_dir)


def keeper(data_dir: Path, machine: Machine, keep: Keep = MONTH) -> Retention:
    directory = data_dir / "segments"
    return Retention(directory, keep, machine.clock(directory))


def test_expired_segments_are_deleted_by_the_housekeeping_and_stay_with_who_reads_them(tmp_path: Path) -> None:
    stored(tmp_path, 40, 0.2, 0.1)
    counts: dict[str, int] = {}
    opened = Segments(tmp_path, memory_limit_bytes=2**28, threads=1, mapping=conventions.MAPPING_VERSION)
    housekeeping = Housekeeping(
        opened, keep=MONTH, merge_bytes=0, memory_limit_bytes=2**28, mapping=conventions.MAPPING_VERSION,
        log_level="info", count=lambda name, number: counts.update({name: counts.get(name, 0) + number}),
        clock=Machine().clock(opened.directory),
    )  # fmt: skip
    with Reader.open(tmp_path) as reader:
        housekeeping.tidy()
        assert counts == {"expired_segments": 1, "clock_jumps": 0}
        assert reader.query("SELECT count(*) AS n FROM spans") == [{"n": 3}]
    opened.close()
    assert numbers(tmp_path) == [2, 3]
    append_spans(tmp_path, 7)
    load(tmp_path)
    assert numbers(tmp_path) == [2, 3, 7], "what expired is not loaded again"


def running(machine: Machine, retention: Retention, seconds: int, *, every: int = 600) -> int:
    """Let time pass and look every so often; return how many segments went."""
    gone = 0
    for _ in range(seconds // every):
        machine.passed += every * SECOND
        gone += retention.look()
    return gone


def stepped(machine: Machine, retention: Retention) -> None:
    """A clock that is set ahead by steps, each of them smaller than what counts as a jump."""
    for _ in range(20):
        machine.ahead += JUMP_NS - SECOND
        machine.passed += SECOND
        retention.look()
    machine.ahead = 40 * DAY_NS


JUMPS: dict[str, Callable[[Machine, Retention], Any]] = {
    "ahead": lambda machine, _: setattr(machine, "ahead", 40 * DAY_NS),
    "ahead by years": lambda machine, _: setattr(machine, "ahead", 30_000 * DAY_NS),
    "back": lambda machine, _: setattr(machine, "ahead", -40 * DAY_NS),
    "ahead by small steps": stepped,
}


@pytest.mark.parametrize("jump", JUMPS)
def test_a_clock_that_jumps_deletes_nothing_and_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, jump: str
) -> None:
    stored(tmp_path, 0.3, 0.2, 0.1)
    machine = Machine()
    retention = keeper(tmp_path, machine)
    retention.look()
    JUMPS[jump](machine, retention)
    assert running(machine, retention, 600) == 0
    machine.ahead = 0
    assert running(machine, retention, 2 * 3600) == 0
    assert numbers(tmp_path) == [1, 2, 3]
    assert "clock jumped" in caplog.text


@pytest.mark.parametrize("reboot", [False, True])
def test_a_start_while_the_clock_is_wrong_deletes_nothing(tmp_path: Path, *, reboot: bool) -> None:
    stored(tmp_path, 0.3, 0.2, 0.1)
    machine = Machine()
    running(machine, keeper(tmp_path, machine), 1200)
    if reboot:
        machine.reboot()
    machine.ahead = 40 * DAY_NS
    for _ in range(3):
        assert running(machine, keeper(tmp_path, machine), 600) == 0
    assert numbers(tmp_path) == [1, 2, 3]


def test_a_start_without_a_record_of_the_clock_compares_with_what_has_arrived(tmp_path: Path) -> None:
    stored(tmp_path, 0.3, 0.2, 0.1)
    machine = Machine(ahead=40 * DAY_NS)
    assert running(machine, keeper(tmp_path, machine), 3000) == 0
    for text in ("", "[]", '{"boot": 1}', json.dumps({"boot": "one", "wall": 2**70})):
        (tmp_path / "segments" / CLOCK_FILE).write_text(text)
        assert running(machine, keeper(tmp_path, machine), 600) == 0
    assert numbers(tmp_path) == [1, 2, 3]


def test_a_clock_that_stays_wrong_counts_as_what_arrived_last_and_the_time_that_passed_since(tmp_path: Path) -> None:
    """Nothing arrives, and the clock says that more than a month has passed: it has not."""
    stored(tmp_path, 29.5, 0.2, 0.1)
    machine = Machine()
    retention = keeper(tmp_path, machine)
    retention.look()
    machine.ahead = 100 * DAY_NS
    running(machine, retention, int(WAIT_NS / SECOND) + 7200)
    assert numbers(tmp_path) in ([1, 2, 3], [2, 3])
    assert {2, 3} <= set(numbers(tmp_path)), "a day beyond what is confirmed, at most"
    assert AWAY_NS == DAY_NS


def test_after_a_jump_segments_expire_again_when_the_clock_was_steady_for_an_hour(tmp_path: Path) -> None:
    stored(tmp_path, 40, 0.2, 0.1)
    machine = Machine(ahead=-10 * DAY_NS)
    retention = keeper(tmp_path, machine)
    retention.look()
    machine.ahead = 0
    assert running(machine, retention, 3600) == 0
    assert running(machine, retention, 1200) == 1
    assert numbers(tmp_path) == [2, 3]


def test_daylight_saving_and_a_corrected_drift_are_no_jumps(tmp_path: Path) -> None:
    stored(tmp_path, 40, 0.2, 0.1)
    machine = Machine()
    clock = machine.clock(tmp_path / "segments")
    retention = Retention(tmp_path / "segments", Keep(days=60, total_bytes=0), clock)
    for _ in range(50):
        machine.passed += 600 * SECOND
        machine.ahead += SECOND
        retention.look()
    assert clock.jumps == 0


def test_most_of_the_store_never_goes_at_one_look(tmp_path: Path) -> None:
    """As when retention is set shorter, or after a long pause: half of it an hour, oldest first."""
    stored(tmp_path, 8, 7, 6, 5)
    machine = Machine()
    retention = keeper(tmp_path, machine, Keep(days=1, total_bytes=0))
    hour = 2 * int(WAIT_NS / SECOND)  # the clock is compared with the newest arrival first
    assert running(machine, retention, 3600) == 0
    running(machine, retention, hour)
    assert numbers(tmp_path) in ([3, 4], [4])
    running(machine, retention, 5 * hour)
    assert numbers(tmp_path) == []


def test_a_segment_is_deleted_by_what_it_says_itself_not_by_the_cache_beside_it(tmp_path: Path) -> None:
    stored(tmp_path, 0.4, 0.3, 0.2, 0.1)
    directory = tmp_path / "segments"
    entries = manifest.load(directory, listed(directory), write=True)
    aged = [replace(item, last_received_ns=0) for item in entries[:1]] + entries[1:]
    (directory / manifest.CACHE_FILE).write_text(json.dumps([_fields(item) for item in aged]))
    retention = keeper(tmp_path, Machine())
    assert (retention.look(), numbers(tmp_path)) == (0, [1, 2, 3, 4])
    assert manifest.load(directory, listed(directory)) == entries


def _fields(item: Entry) -> dict[str, Any]:
    return {name: getattr(item, name) for name in Entry.__slots__}

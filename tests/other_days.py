"""Run the tests as on other days: .ci/other-days [--list] [DAY …] [-- PYTEST ARGUMENTS]

A test that hides a date passes on the day on which it was written. libfaketime moves the wall clock of pytest and of
every process that it starts by one offset: they agree with each other, and the clock goes on. Two clocks stay real,
the monotonic one, without which a run hangs, and the kernel's, which dates files.

Every day is at least a year ahead. Three of them begin a minute before the year ends or the clocks change, so that
this happens while the tests run. Exits 1 when a test fails on one of them, or when a run did not take place on its day.
"""

from __future__ import annotations

import argparse
import calendar
import glob
import os
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from benchmarks import watched

REPOSITORY = Path(__file__).resolve().parent.parent
LIBRARIES = ("/usr/lib/*/faketime", "/usr/lib*/faketime", "/usr/local/lib/faketime")
DAY_SECONDS = 900  # after which a day's run is ended and has failed
A_YEAR = timedelta(days=366)
BEFORE = timedelta(minutes=1)  # pytest has collected by then, and the larger part of the tests is still to come
PARALLEL = ["-n", "auto", "--maxprocesses", "4", "--dist", "worksteal"]

# The selection says what is left out, so that a new test runs on all days until someone lists it here.
MARKS = ["-m", "not slow and not long and not peer and not lake and not browser"]
# No date matters to these: bytes that become rows, processes that start, die and recover, the engine's loop, words.
NO_DATE = [
    "tests/test_architecture.py", "tests/test_child_processes.py", "tests/test_deploy.py", "tests/test_docs.py",
    "tests/test_loop.py", "tests/test_parsers.py", "tests/test_permissions.py", "tests/page/test_page.py",
    "tests/page/test_trace*.py", "tests/receiver/test_tail.py",
    "tests/end_to_end/test_backlog.py",
    "tests/end_to_end/test_import.py", "tests/end_to_end/test_up.py", "tests/end_to_end/test_wheel.py",
    "tests/receiver/test_agents.py", "tests/receiver/test_check_client.py", "tests/receiver/test_conventions*.py",
    "tests/receiver/test_copies.py", "tests/receiver/test_decode*.py", "tests/receiver/test_files.py",
    "tests/receiver/test_json_document.py", "tests/receiver/test_media.py", "tests/receiver/test_merge.py",
    "tests/receiver/test_message_summary.py", "tests/receiver/test_protocol.py", "tests/receiver/test_publishing.py",
    "tests/receiver/test_recovery.py",
    "tests/receiver/test_schema.py", "tests/receiver/test_scratch.py", "tests/receiver/test_slow_clients.py",
    "tests/receiver/test_spool.py", "tests/receiver/test_spool_queue.py", "tests/receiver/test_start.py",
    "tests/receiver/test_supervision.py", "tests/receiver/test_wire*.py", "tests/worker/test_calibration.py",
    "tests/worker/test_conventions_alike.py",
    "tests/worker/test_parts.py", "tests/worker/test_capture.py", "tests/worker/test_clickhouse.py",
    "tests/worker/test_setup.py",
    "tests/end_to_end/test_examples.py", "tests/worker/test_documented_commands.py",
    "tests/worker/test_first_guesses.py",
    "tests/worker/test_contrast.py", "tests/worker/test_control_flow.py", "tests/worker/test_detector*.py",
    "tests/worker/test_display.py", "tests/worker/test_final_answer.py", "tests/worker/test_outcomes.py",
    "tests/worker/test_pull.py", "tests/worker/test_quotes.py",
    "tests/worker/test_same_call.py", "tests/worker/test_surroundings.py", "tests/worker/test_transcripts.py",
    "tests/worker/test_cases.py", "tests/worker/test_verify.py", "tests/worker/report/test_comparison.py",
    "tests/worker/analysis/test_affected_spans.py", "tests/worker/analysis/test_claim_verification.py",
    "tests/worker/analysis/test_hypotheses.py", "tests/worker/analysis/test_judging.py",
    "tests/worker/analysis/test_lexicon.py", "tests/worker/analysis/test_lossless.py",
    "tests/worker/analysis/test_verdicts.py",
    "tests/worker/test_detector_examples.py", "tests/worker/test_own_detectors.py",
    "tests/worker/analysis/test_questions.py", "tests/worker/analysis/test_repository.py",
    "tests/worker/analysis/test_tools.py", "tests/worker/rlm/*.py",
]  # fmt: skip
# These know dates and no calendar. They take long, and run on one day of .ci/extended.
NO_CALENDAR = [
    "tests/worker/test_alerts.py", "tests/end_to_end/test_alerts.py", "tests/worker/test_delete.py",
    "tests/end_to_end/test_delete.py",
    "tests/end_to_end/test_demo.py", "tests/end_to_end/test_run_with_model.py",
    "tests/end_to_end/test_telemetry.py", "tests/receiver/test_auth.py", "tests/receiver/test_read_limits.py",
    "tests/receiver/test_set_aside.py", "tests/receiver/test_store.py", "tests/receiver/test_tls.py",
    "tests/worker/analysis/*.py", "tests/worker/delivery/test_delivery.py",
    "tests/worker/delivery/test_github.py", "tests/worker/test_api.py", "tests/worker/test_mcp.py",
    "tests/worker/test_command_line.py", "tests/worker/test_decided.py", "tests/worker/test_doctor.py",
    "tests/worker/test_settling.py", "tests/worker/test_story.py", "tests/worker/test_totals.py",
]  # fmt: skip


def leap_day(after: datetime) -> datetime:
    """Noon of the next 29 February."""
    year = next(year for year in range(after.year, after.year + 9) if calendar.isleap(year) and _leap(year) >= after)
    return _leap(year)


def _leap(year: int) -> datetime:
    return datetime(year, 2, 29, 12, tzinfo=UTC)


def end_of_year(after: datetime) -> datetime:
    """A minute before the year ends."""
    return datetime(after.year + 1, 1, 1, tzinfo=UTC) - BEFORE


def clocks_change(month: int) -> Callable[[datetime], datetime]:
    """A minute before 01:00 UTC of the last Sunday of a month: Europe changes its clocks then, in March and October."""

    def next_change(after: datetime) -> datetime:
        for year in (after.year, after.year + 1):
            last = datetime(year, month, calendar.monthrange(year, month)[1], 1, tzinfo=UTC)
            sunday = last - timedelta(days=(last.weekday() + 1) % 7)
            if sunday - BEFORE >= after:
                break
        return sunday - BEFORE

    return next_change


@dataclass(frozen=True, slots=True)
class Day:
    """When a run begins, given a moment that it must not precede; the zone of its machine; what it leaves out."""

    begins: Callable[[datetime], datetime]
    zone: str = "UTC"
    without: Sequence[str] = (*NO_DATE, *NO_CALENDAR)
    seconds: int = DAY_SECONDS
    always: bool = True  # in the gate, which has no time for all; the others are steps of .ci/extended


DAYS = {
    "a-year-ahead": Day(lambda after: after, always=False),
    "leap-day": Day(leap_day),
    "end-of-year": Day(end_of_year),
    "clocks-forward": Day(clocks_change(3), "Europe/Berlin", always=False),
    "clocks-back": Day(clocks_change(10), "Europe/Berlin"),
    "leap-day-whole": Day(leap_day, without=NO_DATE, seconds=2 * DAY_SECONDS, always=False),
}


def library() -> Path | None:
    """Find the libfaketime for programs with threads."""
    found = [name for folder in LIBRARIES for name in glob.glob(f"{folder}/libfaketimeMT.so.1")]
    return Path(found[0]) if found else None


def environment(preloaded: Path, offset: timedelta, zone: str) -> dict[str, str]:
    """An offset, not a start: each process of a run would begin at a start anew."""
    return {
        **os.environ,
        "TZ": zone,
        "LD_PRELOAD": " ".join(filter(None, [str(preloaded), os.environ.get("LD_PRELOAD")])),
        "FAKETIME": f"{int(offset.total_seconds()):+d}",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",  # it moves the times of files for some calls and not for those that Python makes
    }


def run(name: str, preloaded: Path, arguments: Sequence[str]) -> bool:
    """Run one day's tests and say in a line what came of them; the log is printed when something failed."""
    day, now = DAYS[name], datetime.now(UTC)
    begins = day.begins(now + A_YEAR)
    with tempfile.TemporaryDirectory(prefix="halo-day-") as scratch:
        result = Path(scratch, "result.xml")
        # A base folder of its own: pytest removes those of other runs whose locks are days old, by this clock.
        where = [f"--basetemp={scratch}/tests", f"--junitxml={result}", "-p", "no:cacheprovider"]
        left_out = [f"--ignore-glob={REPOSITORY / pattern}" for pattern in day.without]
        argv = [sys.executable, "-m", "pytest", "-q", *PARALLEL, *where, *MARKS, *left_out, *arguments]
        env = environment(preloaded, begins - now, day.zone)
        done = watched.run(argv, env=env, cwd=REPOSITORY, seconds=day.seconds, every=2.0)
        told, right = _told(result, begins, ZoneInfo(day.zone))
    local, took = begins.astimezone(ZoneInfo(day.zone)), f"{done.seconds:.0f} s, {done.cpu_seconds:.0f} of CPU"
    print(f"{name:15} {local:%Y-%m-%d %H:%M %Z}  {told}, {took}", flush=True)
    if done.code or not right:
        print(f"{done.output[-20_000:]}\npytest exited with {done.code}", flush=True)
    return right and not done.code


def _told(result: Path, begins: datetime, zone: ZoneInfo) -> tuple[str, bool]:
    """Read what a run wrote: whether all passed, and whether it took place on its day and in its zone."""
    try:
        suite = next(ET.parse(result).getroot().iter("testsuite"))
    except (OSError, ET.ParseError, StopIteration):
        return "no result", False
    at = datetime.fromisoformat(suite.attrib["timestamp"])
    if abs(at - begins) > BEFORE or at.utcoffset() != at.astimezone(zone).utcoffset():
        return f"took place at {at} instead: the library had no effect, or {zone} is not installed", False
    tests, bad = int(suite.attrib["tests"]), int(suite.attrib["failures"]) + int(suite.attrib["errors"])
    return f"{tests} tests, {suite.attrib['skipped']} skipped, {bad} failed", tests > 0 and not bad


def main() -> int:
    """Run the days that are named, or those of the gate."""
    parser = argparse.ArgumentParser(prog=".ci/other-days", description=__doc__.partition("\n")[0])
    parser.add_argument("--list", action="store_true", help="print the days and end")
    parser.add_argument(
        "days", nargs="*", metavar="DAY", help=", ".join(DAYS) + "; without one, all but the whole of a day"
    )
    words = sys.argv[1:]
    split = words.index("--") if "--" in words else len(words)
    given, arguments = parser.parse_args(words[:split]), words[split + 1 :]
    if unknown := sorted(set(given.days) - set(DAYS)):
        parser.error(f"no such day: {', '.join(unknown)}; there are {', '.join(DAYS)}")
    if given.list:
        for name, day in DAYS.items():
            print(f"{name:15} {day.begins(datetime.now(UTC) + A_YEAR):%Y-%m-%d %H:%M} UTC, TZ={day.zone}")
        return 0
    if (preloaded := library()) is None:
        print("!! NOT INSTALLED: libfaketime\n!! the tests of other days are SKIPPED (apt-get install libfaketime)")
        return 0
    always = [name for name, day in DAYS.items() if day.always]
    passed = [run(name, preloaded, arguments) for name in given.days or always]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())

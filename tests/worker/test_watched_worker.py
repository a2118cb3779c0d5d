"""Whether a worker lives, what is overdue and since when, what it shows to Prometheus, and how it logs."""

from __future__ import annotations

import json
import re
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from halo_receiver.store.lock import DirectoryLock
from halo_worker import run, schedule
from halo_worker.config import Settings, load_settings
from halo_worker.metrics import MetricsServer, WorkerMetrics
from tests.end_to_end.conftest import Halo, Service, eventually
from tests.end_to_end.conftest import serve as serve
from tests.fixtures_receiver import post
from tests.worker.days import DAY, FIRST, FOUND_BY, HOUR, import_day, window
from tests.worker.days import window as day_window

SECOND = 1_000_000_000
HOURLY = '[schedules.daily]\ncron = "0 6 * * *"\nengine = "detectors"\nsinks = ["hook"]\n'
HOOK = '[sinks.hook]\ntype = "webhook"\nurl = "http://127.0.0.1:1/nobody"\ntimeout_seconds = 1\nquiet = false\n'


@pytest.fixture
def halo(tmp_path: Path) -> Halo:
    return Halo(tmp_path, tmp_path / "data")


@pytest.fixture
def reported(halo: Halo) -> Settings:
    """A directory whose schedule has one report, of a day long past, that its sink did not take."""
    (halo.directory / "halo.toml").write_text(HOURLY + HOOK)
    current = load_settings(
        file=halo.directory / "halo.toml", environment={}, overrides={"store": {"data_dir": halo.data_dir}}
    )
    import_day(halo.data_dir, 0, 40)
    result = run.run_schedule(current, "daily", window(0), now_ns=window(0).end_ns)
    assert [finding.detector.name for finding in result.report.findings if finding.detector] == [FOUND_BY]
    return current


def series(text: str) -> dict[str, float]:
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if not line.startswith("#")
    }


def checks(halo: Halo, what: str, *, code: int) -> list[tuple[str, str]]:
    rows = json.loads(halo("doctor", "--format", "json", code=code))
    return [(row["state"], row["says"]) for row in rows if row["check"] == what]


def test_doctor_and_schedules_tell_that_no_worker_lives_and_what_is_overdue_since_when(
    halo: Halo, reported: Settings
) -> None:
    """The day after the reported one was due at 06:00, and nobody was there."""
    since = "2026-11-25 06:00 UTC"
    assert day_window(0).end_ns == (FIRST + DAY) * SECOND
    [(state, says)] = checks(halo, "worker", code=1)
    assert (state, says) == (
        "problem", f"none is running, and reports are overdue since {since}: 'halo up' or 'halo work' catches up"
    )  # fmt: skip
    [(state, says)] = checks(halo, "schedule daily", code=1)
    assert (state, says.endswith(f"; overdue since {since}")) == ("problem", True)
    listed = halo.attempt("schedules", "--format", "json")
    [row] = json.loads(listed.stdout)
    assert (row["overdue_since"], row["running"], row["worker"]) == ("2026-11-25T06:00:00.000000000Z", False, None)
    assert b"no worker is running on this directory" in listed.stderr


def test_a_worker_that_lives_and_a_run_in_progress_are_told(halo: Halo, reported: Settings) -> None:
    with (
        DirectoryLock(schedule.worker_lock(halo.data_dir), "a worker"),
        schedule.run_lock(halo.data_dir, "daily"),
    ):
        [(state, says)] = checks(halo, "worker", code=1)
        assert (state, says.startswith("a worker (process ")) == ("ok", True)
        [(state, says)] = checks(halo, "schedule daily", code=1)
        assert (state, says.endswith("; it is running now")) == ("ok", True)
        [row] = json.loads(halo("schedules", "--format", "json"))
    assert row["worker"].startswith("a worker (process ")
    assert row["running"] is True


@pytest.mark.parametrize(("after", "overdue"), [(-HOUR, False), (30, False), (120, True), (2 * DAY, True)])
def test_what_is_overdue_counts_from_the_first_time_without_a_report(after: int, overdue: bool) -> None:
    """Not from a schedule that has never run, for it is due at its first time after a worker starts."""
    daily = load_settings(environment={}).schedules
    last, due = FIRST * SECOND, (FIRST + DAY) * SECOND
    [item] = schedule.plan(daily, lambda *_: last, due + after * SECOND)
    assert item.overdue_since == (due if overdue else None)
    [never] = schedule.plan(daily, lambda *_: None, due + after * SECOND)
    assert never.overdue_since is None


def test_metrics_are_of_what_is_on_disk(reported: Settings) -> None:
    now = (FIRST + 3 * DAY) * SECOND
    metrics = WorkerMetrics(reported, clock=lambda: now)
    metrics.ran("daily", "complete")
    server = MetricsServer("127.0.0.1:0", metrics)
    try:
        status, headers, body = post(f"http://{server.address}/metrics", None, method="GET")
        assert post(f"http://{server.address}/healthz", None, method="GET")[0] == 200
        assert post(f"http://{server.address}/other", None, method="GET")[0] == 404
    finally:
        server.stop()
    assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    shown = series(body.decode())
    assert shown['halo_last_report_timestamp_seconds{schedule="daily"}'] == FIRST + DAY
    assert shown['halo_schedule_next_run_timestamp_seconds{schedule="daily"}'] == FIRST + 4 * DAY
    assert shown['halo_schedule_overdue_seconds{schedule="daily"}'] == DAY
    assert shown['halo_runs_total{schedule="daily",status="complete"}'] == 1
    assert shown['halo_deliveries{state="waiting"}'] == 1
    assert [value for name, value in shown.items() if re.fullmatch(r'halo_findings\{.*state="new"\}', name)] == [1]
    assert [value for name, value in shown.items() if re.fullmatch(r'halo_build_info\{version=".+"\}', name)] == [1]


def test_a_worker_serves_them_and_logs_as_the_receiver_does(halo: Halo, serve: Callable[..., Service]) -> None:
    """Text and JSON; a port that is taken ends no worker."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"127.0.0.1:{taken.getsockname()[1]}"
        (halo.directory / "halo.toml").write_text(f'[worker]\nmetrics_endpoint = "{endpoint}"\n')
        first = serve("work")
        eventually(lambda: "schedule planned" in first.said, what="the worker plans")
        assert first.stop(signal.SIGTERM) == 0
    lines = first.said.splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (INFO|WARNING) ", line) for line in lines), first.said
    assert any(f"WARNING metrics not served endpoint={endpoint}" in line for line in lines)
    both = '[{}]\nlog_format = "json"\n'
    (halo.directory / "halo.toml").write_text(
        both.format("receiver") + both.format("worker") + 'metrics_endpoint = "127.0.0.1:0"\n'
    )
    second = serve("up")
    told = ("schedule planned", "receiver ready")  # by two processes, in no order
    eventually(lambda: all(what in second.said for what in told), what="both have begun")
    events: list[dict[str, Any]] = [json.loads(line) for line in second.said.splitlines()]
    assert all({"time", "level", "event"} <= event.keys() for event in events)
    assert {"receiver ready", "worker ready", "schedule planned"} <= {event["event"] for event in events}
    [address] = [event["metrics"] for event in events if event["event"] == "worker ready"]
    assert "halo_build_info" in post(f"http://{address}/metrics", None, method="GET")[2].decode()
    assert second.stop() == 0
    assert all(json.loads(line) for line in second.said.splitlines())


def test_without_an_endpoint_nothing_listens(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"metrics_endpoint.*expected HOST:PORT or 'off'"):
        load_settings(environment={"HALO_WORKER_METRICS_ENDPOINT": "4319"})

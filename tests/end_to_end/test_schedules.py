"""Schedules as an operator meets them: listed, run once, run by hand, delivered; and what a wrong setting is told."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

import pytest

from tests.builders import flat_failures
from tests.end_to_end.conftest import Halo, Service, eventually
from tests.webhook import Hook

SETTINGS = """
[analysis]
settle_seconds = 0
[schedules.hourly]
interval = "1h"
sinks = ["hook", "out"]
[schedules.morning]
cron = "0 6 * * 1-5"
timezone = "Europe/Berlin"
[sinks.hook]
type = "webhook"
url = "{url}/hooks/T0K3N"
quiet = false
[sinks.out]
type = "file"
path = "{folder}/out"
format = "markdown"
"""


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook(503)  # down until it is told otherwise
    yield made
    made.close()


def test_schedules_run_deliver_and_are_listed(halo: Halo, hook: Hook) -> None:
    (halo.directory / "halo.toml").write_text(SETTINGS.format(url=hook.url, folder=halo.directory))
    (halo.directory / "traces.jsonl").write_text(flat_failures("plain"))
    halo("import", "traces.jsonl")
    ran = halo.attempt("schedules", "run", "hourly")
    said = ran.stderr.decode()
    assert ran.returncode == 0, said
    assert "run published schedule=hourly status=complete" in said
    assert "delivery done" in said
    assert "delivery waiting" in said, "the hook is down"
    assert "T0K3N" not in said
    [report] = json.loads(halo("reports", "--format", "json"))
    assert len(list((halo.directory / "out").glob("*.md"))) == 1
    rows = {row["name"]: row for row in json.loads(halo("schedules", "--format", "json"))}
    assert rows["hourly"]["last_report"] == report["id"]
    assert rows["morning"]["last_run"] is None
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", row["next_run"]) for row in rows.values())
    doctor = halo("doctor")
    assert "1 wait for their next attempt" in doctor
    hook.status = 200
    assert "hook: done" in halo.attempt("deliver").stderr.decode()
    assert [body["id"] for body in hook.bodies] == [report["id"]]
    once = halo.attempt("work", "--once")
    assert once.returncode == 0
    assert "run published schedule=morning" in once.stderr.decode(), "the hourly one is due only after a full hour"
    assert len(hook.bodies) == 1, "nothing is sent twice"


def test_a_worker_that_was_killed_goes_on_where_it_was(halo: Halo, hook: Hook, serve: Callable[..., Service]) -> None:
    """Killed while its sink is down, started again when the sink is back: each report arrives, once."""
    settings = SETTINGS.format(url=hook.url, folder=halo.directory).replace('interval = "1h"', 'interval = "1s"')
    (halo.directory / "halo.toml").write_text(settings)
    (halo.data_dir / "segments").mkdir(parents=True)
    first = serve("work")
    eventually(lambda: "delivery waiting" in first.said, what="a report waits for its sink")
    first.process.kill()
    first.process.wait()
    hook.status = 200
    calm = settings.replace('interval = "1s"', 'interval = "1h"')
    (halo.directory / "halo.toml").write_text(calm)
    published = {path.parent.name for path in (halo.data_dir / "reports").glob("*/report.json")}
    second = serve("work")
    eventually(lambda: published <= {body["id"] for body in hook.bodies}, what="what was published has arrived")
    assert second.stop() == 0
    ids = [body["id"] for body in hook.bodies]
    assert len(ids) == len(set(ids))


def test_a_schedule_in_another_process_is_not_run_twice(halo: Halo) -> None:
    from halo_worker.schedule import run_lock

    (halo.data_dir / "segments").mkdir(parents=True)
    with run_lock(halo.data_dir, "daily"):
        ran = halo.attempt("schedules", "run", "daily")
    assert ran.returncode == 1
    assert "running already" in ran.stderr.decode()
    assert halo.attempt("schedules", "run", "dayly").returncode == 2

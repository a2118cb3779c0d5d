"""Several workers behind one lake: one runs a schedule, others take over, nothing is reported or delivered twice."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from halo_receiver.store import lake
from halo_receiver.store.lake_reports import Fence, LakeReports
from halo_worker.config import RedactionConfig
from halo_worker.config_delivery import SinkConfig
from halo_worker.delivery.courier import ELSEWHERE, Courier, Delivery
from halo_worker.delivery.sink import Parcel
from halo_worker.delivery.webhook import WebhookSink
from halo_worker.errors import LeaseTaken
from halo_worker.lake import checks
from halo_worker.report.archive import Archive
from halo_worker.report.model import Engine, Report, ReportWindow
from halo_worker.shared_reports import SENDING_SECONDS, SharedReports
from halo_worker.turns import LeasedTurns
from tests.fixtures_receiver import eventually
from tests.lake.conftest import Host, Lake
from tests.lake.services import Postgres
from tests.webhook import Hook

pytestmark = pytest.mark.lake

SECONDS = 120.0

SETTINGS = """
[analysis]
settle_seconds = 0
[schedules.often]
interval = "5s"
sinks = ["hook"]
[sinks.hook]
type = "webhook"
url = "{url}"
quiet = false
[worker]
metrics_endpoint = "off"
"""
# Python that runs before a worker, in its process: it stops itself in the transaction of its first report, or
# dies where it has published and not delivered.
STOPS = """
import os, signal
from halo_receiver.store.lake_reports import LakeReports
publish = LakeReports.publish
def stops(self, *a, files, **k):
    LakeReports.publish = publish
    def stopping():
        os.kill(os.getpid(), signal.SIGSTOP)
        yield from files
    return publish(self, *a, files=stopping(), **k)
LakeReports.publish = stops
"""
DIES = """
import os
from halo_worker.delivery.courier import Courier
Courier.deliver = lambda *a, **k: os.kill(os.getpid(), 9)
"""


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    yield made
    made.close()


class Worker:
    """`halo work` on a host."""

    def __init__(self, host: Host, patch: str) -> None:
        self.path = host.data_dir.parent / f"{host.data_dir.name}-work.log"
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HALO_", "OPENAI_", "OTEL_", "AWS_"))}
        program = f"{patch}\nfrom halo_worker.cli import main; main()"
        with self.path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", program, "work", "--data-dir", str(host.data_dir)],
                cwd=host.data_dir.parent, stdout=log, stderr=log, start_new_session=True,
                env={**kept, **host.lake.environment},
            )  # fmt: skip

    def log(self) -> str:
        return self.path.read_text()

    def says(self, what: str, *, after: str = "") -> None:
        try:
            eventually(lambda: what in self.log()[self.log().find(after) :], seconds=SECONDS)
        except AssertionError:
            raise AssertionError(f"it did not say {what!r}:\n{self.log()}") from None


@pytest.fixture
def work() -> Iterator[Callable[..., Worker]]:
    workers: list[Worker] = []

    def start(host: Host, patch: str = "") -> Worker:
        workers.append(Worker(host, patch))
        return workers[-1]

    yield start
    for worker in workers:
        if worker.process.poll() is None:
            worker.process.kill()
        worker.process.wait(20)


@pytest.fixture
def hosts(make_lake: Callable[..., Lake], hook: Hook) -> tuple[Host, Host]:
    """Two hosts of a lake whose files lie in a directory, and which has no spans: what is tested is who reports."""
    found = make_lake(data="/", lease_seconds="2")
    found.environment["HALO_LAKE_DATA"] = str(found.root / "lake")
    with found.state() as state:
        state.create(found.config.data, found.config.buckets)
    (found.root / "halo.toml").write_text(SETTINGS.format(url=hook.url))
    return found.host("first"), found.host("second")


def reports(host: Host) -> list[tuple[str, str, int]]:
    """The reports of the lake: id, writer and end of the window, oldest first."""
    with host.lake.state() as state:
        return state._rows("SELECT id, writer, window_end_ns FROM halo.reports ORDER BY change")


def archives_of(hosts: tuple[Host, Host]) -> list[Archive]:
    """The reports of each host, as its commands see them."""
    places = [host.data_dir / "reports" for host in hosts]
    return [Archive(place, shared=SharedReports(hosts[0].lake.config, place)) for place in places]


def windows_of(host: Host) -> list[tuple[int, int]]:
    """The windows of the reports that a host has, in order."""
    paths = (host.data_dir / "reports").glob("*/report.json")
    return sorted((one["start"], one["end"]) for one in (json.loads(path.read_text())["window"] for path in paths))


def test_workers_follow_each_other_and_nothing_is_reported_or_delivered_twice(
    hosts: tuple[Host, Host], hook: Hook, work: Callable[..., Worker], postgres: Postgres
) -> None:
    """The first is stopped longer than its lease; the second takes over, publishes and dies; the first, woken, discards
    its run, takes over again, and delivers what the second could not. Then the catalog is away for a while."""
    first, second = hosts
    lake.create(first.lake.config)
    one = work(first, STOPS)
    one.says("run started")
    other = work(second, DIES)
    assert other.process.wait(SECONDS) == -signal.SIGKILL
    [(report, writer, _)] = reports(first)
    with first.lake.state() as state:  # a minute later
        note = json.dumps({"state": "waiting", "next": 0, "attempts": 0})
        state._rows("UPDATE halo.receipts SET note = %s, change = nextval('halo.changes')", note)
    one.process.send_signal(signal.SIGCONT)
    one.says("run discarded")
    one.says("schedule held schedule=often epoch=3")
    eventually(lambda: hook.keys[f"{report}-hook"], seconds=SECONDS)
    one.says("run published", after="run discarded")
    postgres.stop()
    one.says("schedule waits")
    postgres.start()
    one.says("run published", after="schedule waits")
    said = {what: (state, says) for what, state, says in checks(first.lake.config, ["often"])}
    one.process.kill()
    assert said["worker of often"][0] == "ok"
    assert str(first.data_dir) in said["worker of often"][1]
    for archive in archives_of(hosts):
        archive.shared.look(at_once=True)
    assert [who for _, who, _ in reports(first)].count(writer) == 1, "the second has published one report"
    windows = windows_of(first)
    assert windows_of(second) == windows
    assert all(before[1] == after[0] for before, after in itertools.pairwise(windows)), windows
    assert max(hook.keys.values()) == 1, hook.keys


def test_a_delivery_that_began_is_begun_by_nobody_else(hosts: tuple[Host, Host], hook: Hook) -> None:
    """While one host sends, others wait; what one that is gone had begun is sent again by a person alone."""
    archives = archives_of(hosts)
    sinks = {"hook": SinkConfig.model_validate({"type": "webhook", "url": hook.url, "quiet": False})}
    past = Courier(archives[1], sinks, RedactionConfig(), clock=lambda: time.time() + SENDING_SECONDS + 1)
    seen: list[Delivery] = []

    class Meanwhile(WebhookSink):
        def deliver(self, parcel: Parcel) -> dict[str, Any]:
            archives[1].shared.look(at_once=True)
            seen.extend(Courier(archives[1], sinks, RedactionConfig()).deliver(parcel.report.id, ["hook"], again=True))
            if parcel.report.id == "killed":
                raise KeyboardInterrupt
            return super().deliver(parcel)

    sends = Courier(archives[0], sinks, RedactionConfig(), make=Meanwhile)
    for name in ("whole", "killed"):
        archives[0].publish(report_of(name), {}, sinks=sinks)
        with contextlib.suppress(KeyboardInterrupt):
            sends.deliver(name, ["hook"])
    assert [one.reason for one in seen] == [ELSEWHERE] * 2
    assert [one.state for name in ("whole", "killed") for one in past.deliver(name, ["hook"])] == ["done", "failed"]
    assert hook.keys == {"whole-hook": 1}
    assert [one.state for one in past.deliver("killed", ["hook"], again=True)] == ["done"]
    assert hook.keys == {"whole-hook": 1, "killed-hook": 1}
    raced = report_of("raced")
    archives[0].publish(raced, {}, sinks=sinks)
    notes = [archive.shared.receipt("raced", "hook", {}) for archive in archives]
    begun = [archive.shared.begin(raced, "hook", note) for archive, note in zip(archives, notes, strict=True)]
    assert begun == [True, False], "of two that read the same note"


def test_a_window_has_one_report_and_an_epoch_one_worker(hosts: tuple[Host, Host]) -> None:
    """Whoever comes late publishes nothing, and notes no delivery; a report that was made anew comes to all hosts."""
    archives = archives_of(hosts)
    with LakeReports.open(hosts[0].lake.config) as state:
        late = Fence("schedule:daily", state.lease("schedule:daily", "one", 0) or 0)
        eventually(lambda: state.lease("schedule:daily", "other", 60))
        with pytest.raises(LeaseTaken, match="'daily'"):
            state.publish("late", "daily", 9, writer="one", files=(), receipts={}, fence=late)
        with pytest.raises(LeaseTaken, match="'daily'"):
            state.begin("late", "hook", "{}", known=None, fence=late)
    archives[0].publish(report_of("one", schedule="daily"), {})
    with pytest.raises(LeaseTaken, match="has reported this window"):
        archives[1].publish(report_of("other", schedule="daily"), {})
    assert archives[1].ids() == []
    archives[0].publish(report_of("one", schedule="daily"), {"report.md": "whole"}, again=True)
    archives[1].shared.look(at_once=True)
    assert (archives[1].directory / "one" / "report.md").read_text() == "whole"
    (archives[1].directory / "one" / "report.md").write_text("[deleted]")
    archives[1].shared.replaced("one")
    archives[0].shared.look(at_once=True)
    assert (archives[0].directory / "one" / "report.md").read_text() == "[deleted]"


def test_a_schedule_is_run_by_one_host_at_a_time(hosts: tuple[Host, Host]) -> None:
    """A run by hand on its host is under the same lease; one that ends in order lets the next in at once."""
    config = hosts[0].lake.config.model_copy(update={"lease_seconds": 60.0})

    def turns_of(host: Host) -> LeasedTurns:
        return LeasedTurns(
            config, host.data_dir / "reports", ["daily", "hourly"], interrupted=lambda: False, say=lambda *_, **__: None
        )

    one, by_hand, other = turns_of(hosts[0]), turns_of(hosts[0]), turns_of(hosts[1])
    with one.turn("daily"), by_hand.turn("daily"):
        assert by_hand.fence("daily") == one.fence("daily") == Fence("schedule:daily", 1)
        with pytest.raises(LeaseTaken, match=str(hosts[0].data_dir)), other.turn("daily"):
            pass
        with other.turn("hourly"):
            assert one.fence("hourly") == Fence("schedule:hourly", 0)
    by_hand.stop()
    one.stop()
    with other.turn("daily"):
        assert other.fence("daily") == Fence("schedule:daily", 2)
    assert other.fence(None) is None
    other.stop()


def test_a_report_waits_for_a_catalog_that_is_away(hosts: tuple[Host, Host], postgres: Postgres) -> None:
    place = hosts[0].data_dir / "reports"
    asked: list[bool] = []

    def back() -> bool:
        if not asked:
            postgres.start()
        asked.append(True)
        return False

    archive = Archive(place, shared=SharedReports(hosts[0].lake.config, place, interrupted=back))
    postgres.stop()
    archive.shared.look(at_once=True)  # what is here is shown
    archive.publish(report_of("waits"), {})
    assert asked
    assert [name for name, _, _ in reports(hosts[1])] == archive.ids() == ["waits"]


def test_what_is_decided_on_one_host_holds_on_all(hosts: tuple[Host, Host]) -> None:
    """In one order everywhere, also of decisions made at the same moment."""
    archives = archives_of(hosts)
    for n, action in enumerate(("mute", "unmute", "resolve")):
        archives[n % 2].decisions.append("HALO-1", action, now_ns=7, by="me")
    for archive in archives:
        archive.shared.look(at_once=True)
        assert [one.action for one in archive.decisions.read()["HALO-1"]] == ["mute", "unmute", "resolve"]
    archives[0].shared.rewritten("decisions.jsonl", lambda line: line.replace("HALO-1", "HALO-2"))
    joined = hosts[0].lake.host("third").data_dir / "reports"
    third = Archive(joined, shared=SharedReports(hosts[0].lake.config, joined))
    third.shared.look(at_once=True)
    assert list(third.decisions.read()) == ["HALO-2"], "a host that joins has all that was decided, as it is now"


def report_of(name: str, schedule: str | None = None) -> Report:
    return Report(
        id=name, window=ReportWindow(start=0, end=1), created_at=1, engine=Engine(mode="detectors"), summary="",
        schedule=schedule,
    )  # fmt: skip

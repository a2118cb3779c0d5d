"""The checks of `halo doctor`: what is set up and reachable, and what the captured spans can and cannot support."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from halo_receiver import backlog, wire
from halo_receiver.store import manifest
from halo_receiver.store.lock import holder
from halo_receiver.store.reader import Reader
from halo_receiver.store.segment import listed
from halo_worker import counters, freshness, issues, run, schedule, segments_client
from halo_worker.alerts import eligible, standing, watch
from halo_worker.analysis import expectations, overview, repository
from halo_worker.analysis.detectors import DETECTORS, capture
from halo_worker.config import Settings
from halo_worker.delivery.courier import make_sink
from halo_worker.delivery.sink import reach
from halo_worker.display import masked_url
from halo_worker.errors import HaloError, SinkUnavailable
from halo_worker.report.formats import plural
from halo_worker.segments_client import ReceiverAddress
from halo_worker.window import last

Check = counters.Check

MENDED_NS = 86_400_000_000_000  # how far back mended things are shown


def examine(current: Settings) -> Iterator[Check]:
    """Yield every check: what, its state (ok, note or problem), and in words. A check that fails says why."""
    for check in (
        _receiver, _decoder, _directory, _model, _expectations, _repository, _worker, _schedules, _alerts, _sinks,
        _lake, _data,
    ):  # fmt: skip
        yield from _tried(check, current)


def _tried(check: Callable[[Settings], Iterator[Check]], current: Settings) -> Iterator[Check]:
    try:
        yield from check(current)
    except HaloError as error:
        yield check.__name__.strip("_"), "problem", _told(error)


def _decoder(_current: Settings) -> Iterator[Check]:
    yield "decoder", "ok" if wire.available() else "note", wire.description()


def _directory(current: Settings) -> Iterator[Check]:
    directory = current.store.data_dir
    if not directory.is_dir():
        yield "data directory", "note", f"{directory} is not there yet: 'halo up' makes it"
        return
    free = shutil.disk_usage(directory).free
    state = "problem" if free < current.receiver.min_free_bytes else "ok"
    segments = listed(directory / "segments")
    size = sum(path.stat().st_size for path in segments)
    yield "data directory", state, f"{directory}: {len(segments)} segments, {size >> 20} MiB, {free >> 30} GiB free"
    broken = listed(directory / "segments", "broken")
    if broken:
        yield "segments", "problem", f"{len(broken)} set aside as broken, such as {broken[0].name}"
    yield from _set_aside(directory / "spool" / "set-aside")
    yield from _mended(directory / "segments")


def _set_aside(aside: Path) -> Iterator[Check]:
    kept = sorted(aside.iterdir()) if aside.is_dir() else []
    torn = [path for path in kept if path.suffix == ".torn"]
    missing = [path for path in kept if path.suffix == ".missing"]
    damaged = [path for path in kept if path.suffix == ".damaged"]
    requests = len(kept) - len(torn) - len(missing) - len(damaged)
    if requests:
        says = f"{plural(requests, 'request')} could not be read or stored; kept in {aside}"
        yield "set aside", "problem", f"{says}, 'halo import' reads such files"
    if damaged:
        yield (
            "set aside",
            "problem",
            f"{plural(len(damaged), 'part')} of the spool damaged; kept in {aside}",
        )
    if missing:
        yield (
            "set aside",
            "problem",
            f"{plural(len(missing), 'spool file')} deleted before it was loaded: {missing[0].name}",
        )
    if torn:
        yield (
            "set aside",
            "note",
            f"{plural(len(torn), 'write')} unfinished when a process was killed: not acknowledged",
        )


def _mended(segments: Path) -> Iterator[Check]:
    """Show what decoding mended in the last day: it is found after the acknowledgement, so no client was told."""
    since = time.time_ns() - MENDED_NS
    total: dict[str, int] = {}
    for entry in manifest.load(segments, listed(segments)):
        for what, number in entry.mended.items() if entry.last_received_ns >= since else ():
            total[what] = total.get(what, 0) + number
    for what, number in sorted(total.items()):
        yield "mended", "note", f"{what}: {number} in the last 24 hours"


def _receiver(current: Settings) -> Iterator[Check]:
    directory = current.store.data_dir
    address = ReceiverAddress.read(directory)
    status = segments_client.status(address) if address is not None else None
    if address is None or isinstance(status, str) or status is None:
        if address is None:
            yield "receiver", "note", "none is running on this directory: 'halo up' starts one"
        else:
            killed = f"If process {address.pid} was killed, 'halo up' goes on where it ended"
            yield "receiver", "problem", f"{status}. {killed}"
        if waiting := backlog.waiting(directory):
            yield "spool", "problem", f"{waiting}: {freshness.REMEDY}"
        return
    yield "receiver", "ok", f"process {address.pid}, gRPC {address.grpc or 'off'}, HTTP {address.http or 'off'}"
    yield "readiness", "problem" if status.trouble else "ok", status.trouble or "takes requests"
    yield from counters.told(status.metrics)
    segments_client.seal(directory)  # what was mended is told by sealed segments


def _model(current: Settings) -> Iterator[Check]:
    if current.engine_for() == "detectors":
        yield "model", "note", "no key or base URL: detectors alone, at no cost"
        return
    url = current.model.base_url
    where = masked_url(url, path=True) if url else "the provider's default endpoint"
    yield "model", "ok", f"{current.model.name} at {where} ({current.model.api})"
    if url:
        try:
            reach(url, where)
        except SinkUnavailable as error:
            yield "model endpoint", "problem", str(error)


def _expectations(current: Settings) -> Iterator[Check]:
    """Say which expectations nothing measures: those in words alone without a model, those whose SQL does not run."""
    expected = expectations.read(current.analysis.expectations)
    words = [one.id for one in expected if one.sql is None]
    if words and current.engine_for() == "detectors":
        yield "expectations", "note", f"{', '.join(words)}: in words alone, which only a model can judge"
    if not current.store.data_dir.is_dir() or len(words) == len(expected):
        return
    window = last(86_400, time.time_ns())
    with (
        tempfile.TemporaryDirectory(prefix="halo-") as folder,
        Reader.open(current.store.data_dir, start_ns=window.start_ns, end_ns=window.end_ns) as reader,
    ):
        broken, unmeasured = expectations.measured(reader, expected, Path(folder) / "expectations")
    yield from (("expectations", "problem", one) for one in unmeasured)
    yield (
        "expectations",
        "ok",
        f"{len(expected) - len(words) - len(unmeasured)} measured by SQL, {len(broken)} broken in the last 24 hours",
    )


def _repository(current: Settings) -> Iterator[Check]:
    path = current.analysis.repo_path
    if path is not None:
        unread = repository.not_read(path)
        yield "repository", "note" if unread else "ok", unread or f"{path}: its files, and its history where it has one"


def _worker(current: Settings) -> Iterator[Check]:
    """Say whether anybody runs the schedules, and what has not been run since when."""
    worker = holder(schedule.worker_lock(current.store.data_dir))
    late = None
    with contextlib.suppress(HaloError):  # of a schedule that is none, which is said below
        planned = schedule.plan(current.schedules, issues.watermarks(current), time.time_ns())
        late = min((item.overdue_since for item in planned if item.overdue_since), default=None)
    if worker is not None:
        yield "worker", "ok", f"{worker} runs the schedules" + (" that are its turn" if current.lake.on else "")
    elif current.lake.on:
        yield "worker", "note", "none is running on this directory; who runs the schedules of the lake is said below"
    elif late is None:
        yield "worker", "note", "none is running on this directory: 'halo up' or 'halo work' starts one"
    else:
        says = f"none is running, and reports are overdue since {_minute(late)}: 'halo up' or 'halo work' catches up"
        yield "worker", "problem", says


def _minute(unix_nano: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(unix_nano // 10**9))


def _schedules(current: Settings) -> Iterator[Check]:
    now = time.time_ns()
    for name, config in current.schedules.items():
        alone = replace(current, schedules={name: config})
        try:
            schedule.check(alone)
            [item] = schedule.plan(alone.schedules, issues.watermarks(current), now)
        except HaloError as error:
            yield f"schedule {name}", "problem", _told(error)
            continue
        to = f", to {', '.join(config.sinks)}" if config.sinks else ""
        says = f"{item.when}, next {_minute(item.next_run) if item.next_run else 'never'}{to}"
        if holder(schedule.run_lock(current.store.data_dir, name).path) is not None:
            yield f"schedule {name}", "ok", f"{says}; it is running now"
        elif item.overdue_since:
            yield f"schedule {name}", "problem", f"{says}; overdue since {_minute(item.overdue_since)}"
        else:
            yield f"schedule {name}", "ok", says


def _alerts(current: Settings) -> Iterator[Check]:
    watched = holder(schedule.worker_lock(current.store.data_dir)) is not None
    for name, config in current.alerts.items():
        try:
            eligible.check(replace(current, alerts={name: config}))
        except HaloError as error:
            yield f"alert {name}", "problem", _told(error)
            continue
        on_time, says = standing.of_one(current, name, time.time_ns())
        yield f"alert {name}", "ok" if on_time or not watched else "problem", says


def _sinks(current: Settings) -> Iterator[Check]:
    for name, config in current.sinks.items():
        try:
            sink = make_sink(name, config)
            sink.probe()
            yield f"sink {name}", "ok", sink.where()
        except HaloError as error:
            yield f"sink {name}", "problem", _told(error)
    if not current.sinks:
        yield "sinks", "note", "none: reports stay in the data directory"
    used = {sink for schedule_ in current.schedules.values() for sink in schedule_.sinks}
    used |= {sink for alert in current.alerts.values() for sink in alert.sinks}
    for name in current.sinks.keys() - used:
        yield (
            f"sink {name}",
            "note",
            "no schedule and no alert names it: it gets reports by 'halo deliver --sink' alone",
        )
    couriers = (run.courier(current), watch.courier(current))
    waiting = Counter(item.state for one in couriers for item in one.outstanding())
    if waiting["waiting"]:
        yield "deliveries", "note", f"{waiting['waiting']} wait for their next attempt"
    if waiting["failed"]:
        yield "deliveries", "problem", f"{waiting['failed']} failed for good: mend the sink, then 'halo deliver ID'"


def _lake(current: Settings) -> Iterator[Check]:
    if current.lake.on:
        from halo_worker import lake  # and DuckLake with it, which only a lake needs

        yield from lake.checks(current.lake, current.schedules)


def _told(error: HaloError) -> str:
    return f"{str(error).rstrip('.')}; {error.hint}" if error.hint else str(error)


def _data(current: Settings) -> Iterator[Check]:
    directory = current.store.data_dir
    if not directory.is_dir():
        return
    window = last(86_400, time.time_ns())
    with Reader.open(directory, start_ns=window.start_ns, end_ns=window.end_ns) as reader:
        for item in reader.set_aside:
            yield "segments", "problem", f"{item.path.name} cannot be read: {item.reason}"
        overview.prepare(reader)
        found = capture.captured(reader)
        for one in found:
            name = capture.shown_service(one)
            says = f"{one.spans} spans in {one.traces} traces, convention {one.convention or 'none'}"
            if one.genai:
                says += f"; {capture.checks(one, len(DETECTORS))}"
            yield f"service {name}", "ok", says
            for lack in one.lacks:
                yield f"capture {name}", "note", lack.says + (f"; set {lack.how}" if lack.how else "")
            if one.blind:
                yield f"blind {name}", "note", ", ".join(sorted(one.blind))
        if not found:
            yield "spans", "note", "nothing arrived in the last 24 hours"
        elif not any(one.genai for one in found):
            yield (
                "capture",
                "note",
                "no span follows a GenAI convention: only errors, latency and structure can be judged",
            )

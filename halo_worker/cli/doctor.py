"""`halo doctor`: what is set up, what is reachable, and what the captured spans can and cannot support."""

from __future__ import annotations

import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import click

from halo_receiver import wire
from halo_receiver.store import manifest
from halo_receiver.store.reader import Reader
from halo_receiver.store.segment import listed
from halo_worker import run, schedule, segments_client
from halo_worker.analysis import capture, overview, repository
from halo_worker.analysis.detectors import DETECTORS
from halo_worker.cli.common import everywhere, print_rows, settings
from halo_worker.config import Settings
from halo_worker.delivery.courier import make_sink
from halo_worker.delivery.sink import reach
from halo_worker.display import masked_url, one_line
from halo_worker.errors import HaloError, SinkUnavailable
from halo_worker.report.words import plural
from halo_worker.segments_client import ReceiverAddress
from halo_worker.window import last

Check = tuple[str, str, str]  # what, ok | note | problem, in words

MENDED_NS = 86_400_000_000_000  # how far back mended things are shown
LAG_SECONDS = 30.0  # of the loader, above which it is remarked
_SERIES = re.compile(r"([a-z_]+)(?:\{(.*)\})? ([0-9.e+-]+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_TROUBLE = {
    "halo_rejected_total": "items rejected for good, told in partial success",
    "halo_refused_requests_total": "requests told to come back",
    "halo_loader_restarts_total": "times the loader was started again",
    "halo_loader_stuck_total": "times the loader was stuck",
}
_LOADER_TROUBLE = ("set_aside", "damaged", "torn", "missing")  # what was mended is told from the segments


@click.command("doctor")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@everywhere
def doctor_command(form: str, data_dir: Path | None, config: Path | None) -> int:
    """Say what is set up, what is reachable, and what the captured spans can and cannot support."""
    current = settings(data_dir, config)
    checks = [
        item
        for check in (_receiver, _decoder, _directory, _model, _repository, _schedules, _sinks, _data)
        for item in _tried(check, current)
    ]
    rows = [{"check": what, "state": state, "says": says} for what, state, says in checks]
    if form == "json":
        print_rows(rows, "json")
    else:
        width = max(len(row["check"]) for row in rows)
        for row in rows:
            mark = {"ok": "✓", "note": "·", "problem": "✗"}[row["state"]]
            click.echo(one_line(f"{mark} {row['check']:<{width}}  {row['says']}"))
    return 1 if any(state == "problem" for _, state, _ in checks) else 0


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
        says = f"{plural(requests, 'request')} could not be read or stored; kept in {aside}, 'halo import' reads such files"
        yield "set aside", "problem", says
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
    if address is None:
        yield "receiver", "note", "none is running on this directory: 'halo up' starts one"
        return
    status = segments_client.status(address)
    if isinstance(status, str):
        yield "receiver", "problem", f"{status}. If process {address.pid} was killed, 'halo up' goes on where it ended"
        return
    yield "receiver", "ok", f"process {address.pid}, gRPC {address.grpc or 'off'}, HTTP {address.http or 'off'}"
    yield "readiness", "problem" if status.trouble else "ok", status.trouble or "takes requests"
    yield from _counters(_numbers(status.metrics))
    segments_client.seal(directory)  # what was mended is told by sealed segments


Numbers = list[tuple[str, dict[str, str], float]]


def _numbers(text: str) -> Numbers:
    """Read Prometheus text: name, labels, value."""
    found: Numbers = []
    for line in text.splitlines():
        match = _SERIES.fullmatch(line)
        if match:
            found.append((match[1], dict(_LABEL.findall(match[2] or "")), float(match[3])))
    return found


def _counters(numbers: Numbers) -> Iterator[Check]:
    """Tell what /metrics tells, in a person's words."""

    def total(name: str, **labels: str) -> float:
        return sum(n for found, has, n in numbers if found == name and labels.items() <= has.items())

    took, answers = total("halo_acknowledgement_seconds_sum"), total("halo_acknowledgement_seconds_count")
    says = f"{total('halo_accepted_total', signal='traces'):,.0f} spans and {total('halo_accepted_total', signal='logs'):,.0f} log records"
    says += f" in {answers:,.0f} requests, {total('halo_received_bytes_total') / 2**20:,.1f} MiB"
    yield "received", "ok", says + (f", answered in {took / answers * 1000:.1f} ms on average" if answers else "")
    waiting, lag = total("halo_spool_backlog_bytes"), total("halo_loader_lag_seconds")
    state = "note" if lag > LAG_SECONDS else "ok"
    yield "loader", state, f"{waiting / 2**20:,.1f} MiB acknowledged and not loaded, the oldest for {lag:.0f} s"
    for name, words in _TROUBLE.items():
        if number := total(name):
            yield "receiver counters", "note", f"{words}: {number:,.0f}"
    for found, labels, number in numbers:
        if found == "halo_loader_events_total" and number and labels.get("event", "").startswith(_LOADER_TROUBLE):
            yield "receiver counters", "note", f"{labels['event'].replace('_', ' ')}: {number:,.0f}"


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


def _repository(current: Settings) -> Iterator[Check]:
    path = current.analysis.repo_path
    if path is not None:
        unread = repository.not_read(path)
        yield "repository", "note" if unread else "ok", unread or f"{path}: its files, and its history where it has one"


def _schedules(current: Settings) -> Iterator[Check]:
    now = time.time_ns()
    for name, config in current.schedules.items():
        alone = replace(current, schedules={name: config})
        try:
            schedule.check(alone)
            [item] = schedule.plan(alone.schedules, run.watermarks(current), now)
        except HaloError as error:
            yield f"schedule {name}", "problem", _told(error)
            continue
        following = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(item.next_run / 1e9)) if item.next_run else "never"
        to = f", to {', '.join(config.sinks)}" if config.sinks else ""
        yield f"schedule {name}", "ok", f"{item.when}, next {following}{to}"


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
    used = {sink for config in current.schedules.values() for sink in config.sinks}
    for name in current.sinks.keys() - used:
        yield f"sink {name}", "note", "no schedule names it: it gets reports by 'halo deliver --sink' alone"
    waiting = Counter(item.state for item in run.courier(current).outstanding())
    if waiting["waiting"]:
        yield "deliveries", "note", f"{waiting['waiting']} wait for their next attempt"
    if waiting["failed"]:
        yield "deliveries", "problem", f"{waiting['failed']} failed for good: mend the sink, then 'halo deliver ID'"


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

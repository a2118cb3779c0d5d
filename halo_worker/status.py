"""How a data directory stands: what runs, what arrived last, what comes next; for `halo status` and the page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from halo_receiver import backlog
from halo_receiver.store import manifest
from halo_receiver.store.lock import holder
from halo_receiver.store.segment import listed
from halo_worker import freshness, issues, schedule, segments_client, shared_reports, window
from halo_worker.config import Settings
from halo_worker.moments import human_duration
from halo_worker.report import formats, headline
from halo_worker.report.memory import IssueMemory

Row = tuple[str, str]


def rows(current: Settings, now_ns: int, *, known: IssueMemory | None = None) -> Iterator[Row]:
    """Yield how things stand, each with a name. Opens no segment and seals nothing. `known`: the issues, where read."""
    directory = current.store.data_dir
    yield (
        "data",
        _stored(directory, now_ns) if directory.is_dir() else f"{directory} is not there yet: 'halo up' makes it",
    )
    yield "receiver", _receiver(directory)
    yield "worker", holder(schedule.worker_lock(directory)) or "none: 'halo up' starts one with a receiver"
    if held := shared_reports.schedules_of(current.lake):
        yield "schedules", "; ".join(f"'{name}' is run by {who}" for name, who in sorted(held.items()))
    archive = issues.archive(current)
    if every := archive.ids():
        made = archive.until(now_ns)
        report = archive.load(made[0] if made else every[0])
        says = f"{_ago(report.created_at, now_ns)}: {headline.headline(report)} ({report.id})"
        later = len(every) - len(made)
        yield (
            "last report",
            says + (f"; {formats.plural(later, 'report')} dated later: was a clock wrong?" if later else ""),
        )
        memory = known or issues.memory(current)
        open_ = [one for one in memory.issues.values() if one.state != "resolved"]
        yield "issues", f"{len(open_)} open of {len(memory.issues)} followed: 'halo issues' lists them"
    else:
        yield "last report", "none: 'halo run' makes one now"
    yield "next report", _next(current, now_ns)
    if current.alerts:
        from halo_worker.alerts import standing  # with the sinks and all that finds

        yield "alerts", standing.summary(current, now_ns)


def _stored(directory: Path, now_ns: int) -> str:
    entries = manifest.load(directory / "segments", listed(directory / "segments"))
    spans, size = sum(entry.spans for entry in entries), sum(entry.bytes for entry in entries)
    says = f"{directory}: {formats.plural(spans, 'span')}, {size / 2**20:,.1f} MiB"
    newest = max((entry.last_received_ns for entry in entries), default=0)
    return f"{says}, the last arrived {_ago(newest, now_ns)}" if newest else says


def _receiver(directory: Path) -> str:
    address = segments_client.ReceiverAddress.read(directory)
    if address is None:
        waiting = backlog.waiting(directory) if directory.is_dir() else None
        return f"none runs; {waiting}: {freshness.REMEDY}" if waiting else "none runs: 'halo up' starts one"
    answer = segments_client.status(address)
    if isinstance(answer, str):
        return answer
    where = f"process {address.pid}, gRPC {address.grpc or 'off'}, HTTP {address.http or 'off'}"
    return f"{where}; {answer.trouble or 'takes requests'}"


def _next(current: Settings, now_ns: int) -> str:
    planned = schedule.plan(current.schedules, issues.watermarks(current), now_ns)
    due = [(item.next_run, item.name) for item in planned if item.next_run]
    if not due:
        return "never: no schedule is due again"
    at, name = min(due)
    return f"{formats.minute(at)} UTC by schedule '{name}'"


def _ago(moment_ns: int, now_ns: int) -> str:
    if moment_ns > now_ns + window.SECOND:
        return f"{human_duration(moment_ns - now_ns)} from now"
    return f"{human_duration(max(0, now_ns - moment_ns))} ago"

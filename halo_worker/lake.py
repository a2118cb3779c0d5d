"""What is done to a lake from the command line: made, looked at, published to, and kept in order."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from halo_receiver import backlog
from halo_receiver.config import LakeConfig
from halo_receiver.publishing import Publishing, behind_ns
from halo_receiver.segment_publish import publish as publish_segments
from halo_receiver.store import deletion, lake, lake_extensions, manifest
from halo_receiver.store.deletion import Chosen, Selection
from halo_receiver.store.lake_reader import LakeReader
from halo_receiver.store.lake_state import LakeState, ReceiverState
from halo_receiver.store.lock import DirectoryLock
from halo_receiver.store.segment import listed
from halo_worker.config import Settings
from halo_worker.errors import DirectoryInUse, InputError, StoreError
from halo_worker.report.model import iso_nano
from halo_worker.shared_reports import lease_of
from halo_worker.window import SECOND

DAY = 86_400
ABANDONED_SECONDS = 3600.0  # after which what a publication that failed left may be deleted
ENGLISH = ("", "C", "POSIX", "C.UTF-8")
MAINTENANCE = "maintenance"
MAINTENANCE_SECONDS = 3600.0  # a lease of it


@dataclass(frozen=True, slots=True)
class Status:
    """How a lake stands: its receivers, the leases that are held (name, holder, epoch), and counts."""

    receivers: list[ReceiverState]
    leases: list[tuple[str, str, int]]
    totals: dict[str, int]


def init(config: LakeConfig, *, install: bool = False) -> Iterator[str]:
    """Make what is missing of the lake, saying what is done. Called again, it changes nothing."""
    if install:
        yield f"installed: {', '.join(lake_extensions.install_extensions())}"
    made = lake.create(config)
    with LakeState(config.catalog_words() or "") as state:
        state.create(config.data, config.buckets)
    yield f"the lake at {config.data} {'is made' if made else 'was there already'}; 'halo receive' publishes to it"


def status(config: LakeConfig) -> Status:
    """Look at a lake. Raises ConfigError where there is none, LakeUnavailable where it does not answer."""
    with LakeState.open(config) as state:
        visible = state.visible()
        receivers, leases, abandoned = state.receivers(), state.leases(), state.abandoned(0)
    files, size = lake.size(config)
    totals = {
        "spans": sum(one.spans for one in visible), "logs": sum(one.logs for one in visible),
        "publications": len(visible), "unfinished": len(abandoned), "files": files, "bytes": size,
    }  # fmt: skip
    return Status(receivers, leases, totals)


def checks(config: LakeConfig, schedules: Collection[str] = ()) -> Iterator[tuple[str, str, str]]:
    """Yield what `halo doctor` says of a lake and of who runs these schedules: what, state and words.

    Raises as `status` does.
    """
    yield "lake extensions", "ok", lake_extensions.versions(config)
    with LakeState.open(config) as state:
        language = state.messages_language()
        now_ns = state.now_ns()
    if language not in ENGLISH and not language.startswith("en"):
        what = f"PostgreSQL speaks {language}: DuckLake knows conflicts by their English words; set lc_messages = 'C'"
        yield "lake catalog", "problem", what
    found = status(config)
    told = ", ".join(f"{value:,} {name}" for name, value in found.totals.items())
    yield "lake", "ok", f"{config.data}: {told}"
    for one in found.receivers:
        behind = now_ns - one.published_until_ns > behind_ns(config)
        says = f"{one.data_dir} has published up to {iso_nano(one.published_until_ns)}"
        yield f"receiver {one.host}", "problem" if behind else "ok", says
    held = {name: (who, epoch) for name, who, epoch in found.leases}
    for name in schedules:
        who, epoch = held.get(lease_of(name), ("", 0))
        says = f"{who} runs it, epoch {epoch}" if who else "no worker holds its lease: 'halo work' on any host runs it"
        yield f"worker of {name}", "ok" if who else "note", says


def publish(current: Settings, *, now_ns: int) -> str:
    """Publish all sealed segments of this data directory, where no receiver does. Raises InputError where one runs."""
    directory = current.store.data_dir / "segments"
    if not directory.is_dir():
        raise InputError(f"there is no data directory {current.store.data_dir}", hint="--data-dir names another")
    spans = segments = 0
    try:
        with DirectoryLock(backlog.writer_lock(current.store.data_dir), "halo lake publish"):
            publishing = Publishing(directory, current.lake)
            while True:
                entries = manifest.load(directory, listed(directory))
                publishing.look(entries)
                told = publishing.due(entries, open_rows=len(listed(directory, "open")), now_ns=now_ns, at_once=True)
                assert told is not None
                done = publish_segments(
                    current.lake, directory, told["receiver"], told["names"], reached_ns=told["reached_ns"],
                    memory_limit=f"{current.store.memory_limit_bytes}B", threads=current.store.threads,
                )  # fmt: skip
                publishing.done(done["published"])
                spans, segments = spans + done["spans"], segments + len(done["published"])
                if not done["published"]:
                    break
    except DirectoryInUse as error:
        raise InputError(f"the receiver publishes by itself: {error}") from None
    return f"published {spans:,} spans of {segments} segments"


def merge(current: Settings) -> str:
    """Merge small files, and delete what no row needs: rows that never counted, old snapshots, orphans."""
    limit = f"{current.analysis.memory_limit_bytes}B"
    with _maintenance(current.lake) as state:
        gone = _remove(current.lake, state, state.abandoned(ABANDONED_SECONDS))
        made = lake.merge(current.lake, memory_limit=limit, threads=current.store.threads)
        files = lake.tidy(current.lake, older_than_seconds=DAY)
    return f"{made} files written by merging, {gone:,} rows that counted for nothing and {files} old files deleted"


def retain(current: Settings) -> str:
    """Delete what became visible longer ago than `retention_days`."""
    days = current.lake.retention_days
    if not days:
        return "[lake] retention_days is 0: nothing expires"
    with _maintenance(current.lake) as state:
        expired = state.expire(state.now_ns() - int(days * DAY * SECOND))
        gone = _remove(current.lake, state, sorted({*expired, *state.abandoned(ABANDONED_SECONDS)}))
        files = lake.tidy(current.lake, older_than_seconds=DAY)
    return f"{len(expired)} publications with {gone:,} rows expired, {files} old files deleted"


def chosen(current: Settings, selection: Selection) -> Chosen:
    """Look in the lake for what is to be deleted."""
    limit = f"{current.analysis.memory_limit_bytes}B"
    options: dict[str, Any] = {"memory_limit": limit, "threads": current.store.threads}
    with LakeReader.of(current.lake, trace_id=selection.trace, **options) as reader:
        return deletion.chosen_in(reader, selection)


def delete(config: LakeConfig, selection: Selection, traces: Collection[str]) -> None:
    """Delete traces, and the log records of none that are selected: rows, the files they were in, old snapshots.

    Who reads the lake meanwhile may find a file gone, and is told so.
    """
    own, given = deletion.own_logs(selection)
    with _maintenance(config):
        lake.remove(config, "false", traces=sorted(traces), logs=(own, given))
        lake.tidy(config, older_than_seconds=0)


def _remove(config: LakeConfig, state: LakeState, publications: list[int]) -> int:
    """Delete the rows of publications that do not count, and then what is known of them."""
    gone = lake.remove(config, lake.among(publications)) if publications else 0
    state.forget(publications)
    return gone


@contextmanager
def _maintenance(config: LakeConfig) -> Iterator[LakeState]:
    """Only one host at a time keeps the files in order."""
    holder = f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"
    with LakeState.open(config) as state:
        if state.lease(MAINTENANCE, holder, MAINTENANCE_SECONDS) is None:
            raise StoreError("another host keeps the lake's files in order just now", hint="try again later")
        try:
            yield state
        finally:
            state.release(MAINTENANCE, holder)

"""Brings published reports to their sinks: a delivery is done when its receipt is there.

Receipts lie in the report's folder, one file a sink. A receipt that is not `done` says when to try next, so that a
restart, a kill or a sink that is down for a day lose nothing; what is permanent is kept for `halo deliver`.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

from halo_receiver.store.lock import DirectoryLock
from halo_worker.config import RedactionConfig
from halo_worker.config_delivery import SinkConfig
from halo_worker.delivery.file import FileSink
from halo_worker.delivery.github import GitHub
from halo_worker.delivery.redaction import redacted, redactor
from halo_worker.delivery.sink import Parcel, Sink, filtered
from halo_worker.delivery.tracker import TrackerSink
from halo_worker.delivery.webhook import WebhookSink
from halo_worker.errors import (
    ConfigError,
    DeliveryError,
    DirectoryInUse,
    LakeUnavailable,
    LeaseTaken,
    ReportError,
    SinkUnavailable,
)
from halo_worker.links import NONE, Links
from halo_worker.report.archive import Archive
from halo_worker.report.model import Report

FIRST_RETRY_SECONDS = 5.0
LONGEST_RETRY_SECONDS = 3600.0
PENDING_REPORTS = 1000  # newest reports that are looked through for receipts that wait
ELSEWHERE = "it is being delivered by another process"
AWAY_SECONDS = 15.0  # until a catalog of shared reports that did not answer is asked again
LOST = "the worker that delivered it is gone, and it may have arrived: 'halo deliver' sends it again, with the same key"

State = Literal["done", "quiet", "waiting", "failed"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """How one report stands with one sink."""

    report_id: str
    sink: str
    state: State
    reason: str = ""


def _slack(_: str, config: SinkConfig) -> Sink:
    from halo_worker.delivery.slack import SlackSink  # the library takes as long to load as all else of a small command

    return SlackSink(config)


_MAKERS: Mapping[str, Callable[[str, SinkConfig], Sink]] = {
    "file": lambda _, config: FileSink(config),
    "webhook": WebhookSink,
    "slack": _slack,
    "github": lambda _, config: TrackerSink(config, GitHub(config)),
}


def make_sink(name: str, config: SinkConfig) -> Sink:
    """Build a sink. Raises ConfigError that names what is wrong with its settings."""
    return _MAKERS[config.type](name, config)


def unreachable(sinks: Mapping[str, SinkConfig]) -> list[tuple[str, DeliveryError]]:
    """Look whether each sink can be reached now, and return those that cannot. Raises ConfigError as `make_sink`."""
    made = {name: make_sink(name, config) for name, config in sinks.items()}
    found = []
    for name, sink in made.items():
        try:
            sink.probe()
        except DeliveryError as error:
            found.append((name, error))
    return found


class Courier:
    """Delivers the reports of one archive."""

    def __init__(
        self,
        archive: Archive,
        sinks: Mapping[str, SinkConfig],
        redaction: RedactionConfig,
        *,
        links: Links = NONE,
        clock: Callable[[], float] = time.time,
        make: Callable[[str, SinkConfig], Sink] = make_sink,
    ) -> None:
        self._archive = archive
        self._configs = sinks
        self._clock = clock
        self._make = make
        self._mask = redactor(redaction.patterns, enabled=redaction.enabled)
        self._links = links
        self._away_until = 0.0  # while the catalog of shared reports does not answer
        self._settled: dict[str, int] = {}  # reports nothing of which waits, and when their receipts last changed

    def deliver(self, run_id: str, sinks: Sequence[str], *, again: bool = False) -> list[Delivery]:
        """Bring a report to the sinks named; those with a receipt are passed over, unless `again` and it failed."""
        known = [name for name in sinks if name in self._configs]
        unknown = [name for name in sinks if name not in self._configs]
        if unknown:
            raise ConfigError(
                f"there is no sink '{unknown[0]}'", hint=f"configured are: {', '.join(self._configs) or 'none'}"
            )
        report = self._archive.load(run_id) if known else None
        return [self._attempt(report, name, now=again) for name in known] if report is not None else []

    def retry(self, *, stop: Callable[[], bool] = lambda: False) -> list[Delivery]:
        """Try again every delivery whose time has come, until `stop` says so: a dead sink takes its time-out."""
        deliveries: list[Delivery] = []
        for run_id in self._archive.ids()[:PENDING_REPORTS]:
            for name in self._waiting(run_id):
                if stop() or self._clock() < self._away_until:
                    return deliveries
                try:
                    report = self._archive.load(run_id)
                except ReportError:
                    continue
                if self._archive.shared.delivers(report.schedule):
                    deliveries.append(self._attempt(report, name))
        return deliveries

    def outstanding(self) -> list[Delivery]:
        """Return what waits, and what failed for good and was not delivered since; newest report first."""
        found = []
        for run_id in self._archive.ids()[:PENDING_REPORTS]:
            for path in sorted((self._archive.directory / run_id / "receipts").glob("*.json")):
                note = _read(path)
                if note.get("state") in ("waiting", "failed"):
                    found.append(Delivery(run_id, path.stem, note["state"], str(note.get("reason", ""))))
        return found

    def _waiting(self, run_id: str) -> list[str]:
        """Return the sinks whose next attempt is due; a look at the directory is enough where none can be."""
        directory = self._archive.directory / run_id / "receipts"
        try:
            changed = directory.stat().st_mtime_ns
        except OSError:
            return []
        if self._settled.get(run_id) == changed:
            return []
        notes = {path.stem: _read(path) for path in sorted(directory.glob("*.json"))}
        waiting = {name: note for name, note in notes.items() if note.get("state") == "waiting"}
        if not waiting:
            self._settled[run_id] = changed
        now = self._clock()
        return [name for name, note in waiting.items() if name in self._configs and _due(note) <= now]

    def _attempt(self, report: Report, name: str, *, now: bool = False) -> Delivery:
        path = self._archive.directory / report.id / "receipts" / f"{name}.json"
        try:
            with DirectoryLock(path.with_suffix(".lock"), "a courier"):
                return self._attempt_alone(report, name, path, now=now)
        except DirectoryInUse:
            return Delivery(report.id, name, "waiting", ELSEWHERE)
        except (LeaseTaken, LakeUnavailable) as error:
            self._away_until = self._clock() + AWAY_SECONDS
            return Delivery(report.id, name, "waiting", str(error))

    def _attempt_alone(self, report: Report, name: str, path: Path, *, now: bool) -> Delivery:
        config, here = self._configs[name], _read(path)
        note = self._archive.shared.receipt(report.id, name, here)
        if note != here:
            _write(path, note, self._archive)
        state = note.get("state")
        if state in ("done", "quiet") or (state == "failed" and not now):
            return Delivery(report.id, name, state, note.get("reason", ""))
        if note.pop("sending", None):  # by another host, or by this one before it was killed
            if _due(note) > self._clock():
                return Delivery(report.id, name, "waiting", ELSEWHERE)
            if not now and not config.is_repeatable:
                return self._note(path, Delivery(report.id, name, "failed", LOST), note)
        told = filtered(report, config)
        if told is None:
            return self._note(path, Delivery(report.id, name, "quiet"), note)
        try:
            parcel = self._parcel(told, path.parent.parent, name, config, note.get("sink", {}))
        except ValueError:
            reason = "a pattern of [redaction] masks what a report is made of, such as its times or states"
            return self._note(path, Delivery(report.id, name, "failed", reason), note)
        attempts = int(note.get("attempts", 0)) + 1
        note["attempts"] = attempts
        # Noted before it is sent: after a kill the next start knows that it may have arrived, and uses the same key.
        begun = {**note, "state": "waiting", "next": self._clock(), "sink": parcel.receipt}
        if not self._archive.shared.begin(report, name, begun):
            return Delivery(report.id, name, "waiting", ELSEWHERE)
        _write(path, begun, self._archive)
        try:
            note["sink"] = self._make(name, config).deliver(parcel)
        except SinkUnavailable as error:
            note["sink"] = parcel.receipt
            if attempts >= config.max_attempts:
                return self._note(path, Delivery(report.id, name, "failed", f"{error}, {attempts} times"), note)
            wait = min(LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** (attempts - 1)) * random.uniform(0.8, 1.2)  # noqa: S311
            note["next"] = self._clock() + max(wait, error.retry_after or 0.0)
            return self._note(path, Delivery(report.id, name, "waiting", str(error)), note)
        except (DeliveryError, ConfigError) as error:
            note["sink"] = parcel.receipt
            reason = f"{error}. {error.hint}" if error.hint else str(error)
            return self._note(path, Delivery(report.id, name, "failed", reason), note)
        return self._note(path, Delivery(report.id, name, "done"), note)

    def _parcel(self, report: Report, folder: Path, name: str, config: SinkConfig, receipt: dict[str, Any]) -> Parcel:
        document = redacted(json.loads(report.to_json()), self._mask)
        return Parcel(
            report=Report.model_validate(document),
            document=document,
            folder=folder,
            mask=self._mask,
            key=f"{report.id}-{name}",
            receipt=dict(receipt),
            links=self._links.model_copy(update={"report_url": config.report_url or self._links.report_url}),
        )

    def _note(self, path: Path, delivery: Delivery, note: dict[str, Any]) -> Delivery:
        told = {"state": delivery.state, "reason": self._mask(delivery.reason), "at": self._clock()}
        self._archive.shared.settle(delivery.report_id, delivery.sink, {**note, **told})
        _write(path, {**note, **told}, self._archive)
        return delivery


def _due(note: Mapping[str, Any]) -> float:
    due = note.get("next")
    return float(due) if isinstance(due, int | float) else 0.0


def _read(path: Path) -> dict[str, Any]:
    try:
        note = orjson.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def _write(path: Path, note: dict[str, Any], archive: Archive) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(json.dumps(note, indent=2), encoding="utf-8")
    archive.give(temporary)
    temporary.rename(path)

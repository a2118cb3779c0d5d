"""What an alert would have told over the last day: the same rules, conditions and words, in memory."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from halo_receiver.store.reader import Reader
from halo_worker import issues
from halo_worker.alerts import eligible, messages
from halo_worker.alerts.conditions import nanoseconds
from halo_worker.alerts.journal import Event, Look
from halo_worker.alerts.look import Found, find, looks, open_window
from halo_worker.alerts.watch import decided, known_of
from halo_worker.config import Settings
from halo_worker.report.archive import Archive
from halo_worker.report.memory import IssueMemory
from halo_worker.report.model import Finding, Report
from halo_worker.window import SECOND, Window

DAY_NS = 86_400 * SECOND
MOST_LOOKS = 1440  # of a day; `every` is a minute at least


@dataclass(frozen=True, slots=True)
class Told:
    """The messages of a day, and what was looked at for them."""

    events: list[Event]
    looks: int
    traces: int


def last_day(current: Settings, name: str, *, now_ns: int) -> Told:
    """Replay the looks of an alert over the day before `now_ns`, after the time that it compares with.

    Traces count in the look in which they settled, and what reports know is what they knew a day ago. What has not
    settled is left out: the real alert may have told of it earlier.
    """
    config = current.alerts[name]
    every = nanoseconds(config.every)
    end = now_ns // every * every
    begin = end - min(DAY_NS // every, MOST_LOOKS) * every
    learned = nanoseconds(config.window) + (nanoseconds(config.baseline) if config.when == "rate" else 0)
    edges = list(range(begin - -(-learned // every) * every, end + 1, every))
    archive = issues.archive(current)
    memory = issues.open_memory(archive, window=Window(begin, end))
    units = eligible.wanted(config, eligible.units(current))
    window = Window(edges[0], end)
    with (
        open_window(current, window, unsettled=False) as reader,
        tempfile.TemporaryDirectory(prefix="halo-") as folder,
    ):
        found = find(reader, current, units, memory, Path(folder))
        seen = looks(reader, found, name, config, memory, edges)
        return _replayed(current, seen, begin, reader, found, memory, known=archive, window=window)


def _replayed(
    current: Settings, seen: list[Look], begin_ns: int, reader: Reader, found: Found, memory: IssueMemory, *,
    known: Archive, window: Window,
) -> Told:  # fmt: skip
    knows = known_of(memory, known, found)
    made: dict[str, Finding] = {}
    sent: dict[str, Report] = {}

    def reported(wanted: list[str]) -> dict[str, Finding]:
        if missing := [issue_id for issue_id in wanted if issue_id not in made]:
            made.update(messages.reported(reader, found, missing, memory, window))
        return {issue_id: made[issue_id] for issue_id in wanted if issue_id in made}

    past: list[Look] = []
    told: list[Event] = []
    for look in seen:
        if look.end_ns <= begin_ns:
            past.append(look)
            continue
        [look] = decided(current, [look], {look.alert: past}, knows, lambda event: sent.get(event.message), reported)
        sent.update({one.message: Report.model_validate(one.report) for one in look.events if one.report})
        past.append(replace(look, events=tuple(replace(one, report=None) for one in look.events)))
        told += look.events
    counted = [look for look in seen if look.end_ns > begin_ns]
    return Told(told, len(counted), sum(look.of for look in counted))

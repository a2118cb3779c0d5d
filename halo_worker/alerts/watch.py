"""Looks at the planned times, records what each came to, and has the messages of episodes published and delivered.

Recorded, then published, then delivered: a look's line in the journal holds its messages, and how far it looked. After
a kill, what is recorded and not published is published under the same id, what is published and not delivered has a
receipt that waits, and what is not recorded is looked at again.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from halo_worker import issues
from halo_worker.alerts import eligible, messages
from halo_worker.alerts.conditions import Decided, Known, decide, nanoseconds
from halo_worker.alerts.journal import Event, Journal, Look, alerts_dir
from halo_worker.alerts.look import Found, find, looks, open_window
from halo_worker.alerts.sealed import Sealing
from halo_worker.analysis.detectors import Unit, baselines
from halo_worker.analysis.detectors.baselines import Baselines
from halo_worker.config import Settings
from halo_worker.config_alerts import AlertConfig
from halo_worker.delivery.courier import Courier, Delivery
from halo_worker.errors import ReportError
from halo_worker.report.archive import Archive
from halo_worker.report.comparison import Counts
from halo_worker.report.memory import IssueMemory
from halo_worker.report.model import Finding as Reported
from halo_worker.report.model import Report
from halo_worker.report.states import MAX_POOLED, Point
from halo_worker.window import SECOND, Window

LONGEST_NS = 86_400 * SECOND  # that a look reaches back after downtime; what is older is told by reports
PUBLISHED_AGAIN_NS = 86_400 * SECOND  # age up to which a recorded message that is missing is published

Say = Callable[..., None]


def courier(current: Settings) -> Courier:
    """Return what brings messages of alerts to their sinks, and tries again what these could not take."""
    return Courier(Archive(alerts_dir(current)), current.sinks, current.redaction, links=current.links)


@dataclass(frozen=True, slots=True)
class Due:
    """Alerts that look at the same time, and at the same window."""

    names: tuple[str, ...]
    window: Window


class Watch:
    """The alerts of one data directory; one process at a time, which holds the worker's lock."""

    def __init__(
        self, current: Settings, *, clock: Callable[[], int], say: Say, sealing: Sealing | None = None
    ) -> None:
        self._current = current
        self._clock = clock
        self._say = say
        self._sealing = sealing or Sealing(current)
        self._archive = Archive(alerts_dir(current))
        self._courier = courier(current)
        self._journal = Journal(alerts_dir(current))
        self._looks: dict[str, list[Look]] = {name: [] for name in current.alerts}
        for look in self._journal.read():
            self._looks.setdefault(look.alert, []).append(look)
        self._attempted: dict[str, int] = {}
        self._waits = False  # rules that compare have nothing yet to compare with

    def planned(self, now_ns: int) -> list[str]:
        """Return the alerts whose time has come: multiples of `every` since the Unix epoch."""
        return [name for name, config in self._current.alerts.items() if self._plan(name, config, now_ns) is not None]

    def _plan(self, name: str, config: AlertConfig, now_ns: int) -> int | None:
        every = nanoseconds(config.every)
        at = now_ns // every * every
        done = self._looks[name][-1].end_ns if self._looks[name] else 0
        return at if at > max(done, self._attempted.get(name, 0)) else None

    def turn(self) -> list[Delivery]:
        """Do all that is due now: looks, messages, and deliveries that wait."""
        now = self._clock()
        names = self.planned(now)
        told: list[Delivery] = []
        if names:
            self._attempted.update(dict.fromkeys(names, now))
            told += self._publish(now)
            for due in self._due(names, now):
                told += self._look(due, now)
            self._journal.shorten(now)
        return told + self._courier.retry()

    def recover(self) -> list[Delivery]:
        """Publish what an earlier process recorded and did not publish."""
        return self._publish(self._clock())

    def _due(self, names: Sequence[str], now_ns: int) -> Iterator[Due]:
        shortest = min(nanoseconds(self._current.alerts[name].every) for name in names)
        end = self._sealing.readable_until(now_ns, fresh_ns=shortest)
        windows: dict[Window, list[str]] = {}
        for name in names:
            every = nanoseconds(self._current.alerts[name].every)
            start = self._looks[name][-1].end_ns if self._looks[name] else end - every
            if end - start > LONGEST_NS:
                self._say("alert skipped time", alert=name, seconds=(end - start - LONGEST_NS) // SECOND)
                start = end - LONGEST_NS
            if start < end:
                windows.setdefault(Window(start, end), []).append(name)
        for window, group in windows.items():
            yield Due(tuple(group), window)

    def _look(self, due: Due, now_ns: int) -> list[Delivery]:
        current, archive = self._current, issues.archive(self._current)
        memory = issues.open_memory(archive)
        usable = eligible.units(current)
        configs = {name: current.alerts[name] for name in due.names}
        wanted = {name: eligible.wanted(config, usable) for name, config in configs.items()}
        units = {key: unit for rules in wanted.values() for key, unit in rules.items()}
        earlier = self._baselines(archive, units)
        whole = [nanoseconds(configs[name].window) for name, rules in wanted.items() if eligible.reading_window(rules)]
        edges = (due.window.start_ns, due.window.end_ns)
        read = Window(min(edges[0], edges[1] - max(whole, default=0)), edges[1])
        with (
            open_window(current, read) as reader,
            tempfile.TemporaryDirectory(prefix="halo-") as folder,
        ):
            found = find(reader, current, units, memory, Path(folder), earlier)
            seen = [looks(reader, found, name, config, memory, edges)[0] for name, config in configs.items()]
            known = known_of(memory, archive, found)
            recorded = decided(
                current, seen, self._looks, known, self._first,
                lambda begins: messages.reported(reader, found, begins, memory, read),
            )  # fmt: skip
        told: list[Delivery] = []
        for look in recorded:
            self._journal.append(look)
            self._looks[look.alert].append(
                replace(look, events=tuple(replace(one, report=None) for one in look.events))
            )
            for event in look.events:
                self._say(f"alert {event.what}", alert=look.alert, issue=event.issue_id, episode=event.episode)
                told += self._deliver(look.alert, event)
        return told

    def _baselines(self, archive: Archive, units: dict[str, Unit]) -> Baselines | None:
        """Return the counts of the last report; without any, take out the rules that compare with them, and say so."""
        compared = eligible.compared(units)
        if not compared:
            return None
        if (found := last_counts(archive)) is None:
            for name in compared:
                del units[name]
            if not self._waits:
                self._say("alerts wait for a report to compare with", rules=", ".join(compared))
        self._waits = found is None
        return found

    def _first(self, event: Event) -> Report | None:
        """Return the message with which an episode began."""
        try:
            return self._archive.load(event.message)
        except ReportError:
            return None

    def _publish(self, now_ns: int) -> list[Delivery]:
        """Publish the recorded messages that are missing: a process was killed between the two."""
        there, told = set(self._archive.ids()), []
        missing = any(
            event.message and event.message not in there and event.at_ns > now_ns - PUBLISHED_AGAIN_NS
            for alert in self._looks.values()
            for look in alert
            for event in look.events
        )
        for look in self._journal.read() if missing else ():
            for event in look.events:
                if event.message not in there and event.at_ns > now_ns - PUBLISHED_AGAIN_NS:
                    told += self._deliver(look.alert, event)
        return told

    def _deliver(self, alert: str, event: Event) -> list[Delivery]:
        config = self._current.alerts.get(alert)
        if event.report is None or config is None:
            return []
        report = Report.model_validate(event.report)
        if not (self._archive.directory / report.id).exists():
            self._archive.publish(report, {}, sinks=config.sinks)
        return self._courier.deliver(report.id, config.sinks)


def decided(
    current: Settings,
    seen: Iterable[Look],
    past: Mapping[str, Sequence[Look]],
    known: Known,
    first: Callable[[Event], Report | None],
    reported: Callable[[list[str]], Mapping[str, Reported]],
) -> list[Look]:
    """Return looks with what holds and the episodes that begin and end."""
    outcomes = []
    for look in seen:
        config = current.alerts[look.alert]
        narrow = bool(config.agents or config.services)  # reports are of all traffic
        of_all = replace(known, reported={}, whole=Counts(0, 0)) if narrow else known
        outcomes.append((look, decide(config, past.get(look.alert, []), look, of_all)))
    begins = sorted({one.issue_id for _, outcome in outcomes for one in outcome.begins})
    findings = reported(begins) if begins else {}
    return [_with_events(current, look, outcome, findings, first) for look, outcome in outcomes]


def _with_events(
    current: Settings,
    look: Look,
    outcome: Decided,
    findings: Mapping[str, Reported],
    first: Callable[[Event], Report | None],
) -> Look:
    config = current.alerts[look.alert]
    events = [
        messages.opened(look, config, one, findings[one.issue_id], links=current.links)
        for one in outcome.begins
        if one.issue_id in findings and messages.severe_enough(findings[one.issue_id], config)
    ]
    events += [messages.over(look, one, first(one.episode.opened)) for one in outcome.ends]
    return replace(look, holds=tuple(one.issue_id for one in outcome.holds), events=tuple(events))


def known_of(memory: IssueMemory, archive: Archive, found: Found) -> Known:
    """Say what reports and people know of issues, and the rules of those that were found."""
    resolved = {}
    for issue_id, issue in memory.issues.items():
        if issue.state == "resolved":
            decision = issue.standing.resolved
            resolved[issue_id] = decision.at_ns if decision else issue.history[-1].end_ns
    return Known(
        {*memory.issues, *memory.others, *memory.continued},
        resolved,
        {issue_id for issue_id, issue in (memory.issues | memory.others).items() if issue.state in ("muted", "wrong")},
        {issue_id: _counts(issue.history[-MAX_POOLED:]) for issue_id, issue in memory.issues.items() if issue.history},
        Counts(0, sum(report.totals.traces for report in _newest(archive))),
        found.least,
        found.rules,
    )


def last_counts(archive: Archive) -> Baselines | None:
    """Return the counts of the last report that is remembered and kept any."""
    return baselines.last(archive.directory / report.id for report in _newest(archive))


def _newest(archive: Archive) -> list[Report]:
    return [one for one in archive.reports(newest=MAX_POOLED)[0] if one.is_remembered]


def _counts(points: Iterable[Point]) -> Counts:
    counted = [point for point in points if point.counts]
    return Counts(sum(point.traces for point in counted), sum(point.of for point in counted))

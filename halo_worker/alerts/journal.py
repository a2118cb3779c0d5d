"""`alerts/alerts.jsonl`: what each alert has looked at and found, and its episodes. The worker alone writes it.

One JSON object a line, and one line a look: how far it got, what it counted, and which episodes began and ended, with
their messages. So a look is recorded whole or not at all, whenever a process is killed. A line that cannot be read
costs itself alone; `shortened` keeps the file bounded.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from halo_worker.config import Settings
from halo_worker.errors import ReportError
from halo_worker.report.comparison import Counts
from halo_worker.report.record import append_line, read_lines

JOURNAL_FILE = "alerts.jsonl"
RECORD_VERSION = 1
LONGEST_BYTES = 8 * 2**20  # of the file, from which it is written anew
KEPT_NS = 14 * 86_400 * 10**9  # looks that are older are left out then: twice what an alert may reach back
KEPT_EPISODES = 1000  # ends or beginnings of episodes that are kept, the newest

NOTHING = Counts(0, 0)
ByIssue = dict[str, int]  # affected traces


def alerts_dir(current: Settings) -> Path:
    """Return where alerts are recorded and their messages lie."""
    return current.store.data_dir / "alerts"


@dataclass(frozen=True, slots=True)
class Event:
    """An episode that begins or is over. `message` is the id and `report` the JSON of the message that tells of it."""

    what: Literal["opened", "over"]
    episode: str
    issue_id: str
    at_ns: int
    says: str
    severity: str = ""
    counted: Counts = NOTHING  # in the window
    before: Counts | None = None  # the same of what it was compared with
    message: str = ""
    report: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """What one look of an alert counted in `[start_ns, end_ns)` of arrival.

    `of` traces settled there, `found` of them are affected; `early` are affected traces that have not settled, and are
    counted when they do. `holds` are the issues for which the condition held. `rules` ran; None: no record of it.
    """

    alert: str
    start_ns: int
    end_ns: int
    of: int = 0
    found: ByIssue = field(default_factory=dict)
    early: ByIssue = field(default_factory=dict)
    holds: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()
    rules: tuple[str, ...] | None = None

    def ran(self, rule: str | None) -> bool:
        """Say whether a rule looked at the traces of this look, as far as is known."""
        return rule is None or self.rules is None or rule in self.rules


@dataclass(frozen=True, slots=True)
class Episode:
    """An episode of one alert and one issue; times in unix nanoseconds."""

    alert: str
    opened: Event
    over: Event | None = None

    @property
    def is_open(self) -> bool:
        """Whether it goes on."""
        return self.over is None


class Journal:
    """The record of one data directory. Which rules ran is written where the look of the alert before had others."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / JOURNAL_FILE
        self._rules: dict[str, tuple[str, ...] | None] = {}  # by alert, of its last look

    def read(self) -> list[Look]:
        """Return all looks, oldest first. Raises ReportError when the disk refuses."""
        self._rules = {}
        looks = []
        for line in read_lines(self.path):
            if (look := _parsed(line)) is not None:
                rules = self._rules.get(look.alert) if look.rules is None else look.rules
                self._rules[look.alert] = rules
                looks.append(replace(look, rules=rules))
        return looks

    def append(self, look: Look) -> None:
        """Record a look, and return once it is on the disk. Raises ReportError when the disk refuses."""
        append_line(self.path, _written(self._brief(look)))
        self._note(look)

    def _note(self, look: Look) -> None:
        if look.rules is not None:
            self._rules[look.alert] = look.rules

    def _brief(self, look: Look) -> Look:
        return replace(look, rules=None) if look.rules == self._rules.get(look.alert) else look

    def shorten(self, now_ns: int, *, longest: int = LONGEST_BYTES) -> None:
        """Write the file anew without what is too old to matter, once it is long. Nobody else may write meanwhile."""
        try:
            if not self.path.exists() or self.path.stat().st_size <= longest:
                return
            self.rewrite(shortened(self.read(), now_ns))
        except OSError as error:
            raise ReportError(f"{self.path} cannot be shortened: {error.strerror}", hint="free some disk") from None

    def rewrite(self, looks: Iterable[Look]) -> None:
        """Put a whole record in the place of this one. Raises OSError when the disk refuses."""
        temporary = self.path.with_name(f".{self.path.name}.new")
        self._rules = {}
        with temporary.open("w", encoding="utf-8") as file:
            for look in looks:
                file.write(_written(self._brief(look)) + "\n")
                self._note(look)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path)


def shortened(looks: Sequence[Look], now_ns: int) -> list[Look]:
    """Leave out looks that are too old to matter, but for the newest of each alert and the newest episodes."""
    newest = {look.alert: look for look in looks}
    events = sorted(event.at_ns for look in looks for event in look.events)
    since = events[-KEPT_EPISODES] if len(events) > KEPT_EPISODES else 0
    kept = []
    for look in looks:
        told = tuple(event for event in look.events if event.at_ns >= since)
        if look is newest[look.alert] or look.end_ns >= now_ns - KEPT_NS:
            kept.append(replace(look, events=told))
        elif told:
            kept.append(replace(look, events=told, found={}, early={}, of=0, holds=()))
    return kept


def episodes(looks: Iterable[Look]) -> list[Episode]:
    """Return the episodes of a record, in the order in which they began."""
    found: dict[str, Episode] = {}
    for look in looks:
        for event in look.events:
            if event.what == "opened":
                found[event.episode] = Episode(look.alert, event)
            elif event.episode in found:
                found[event.episode] = replace(found[event.episode], over=event)
    return list(found.values())


def _written(look: Look) -> str:
    record = {"version": RECORD_VERSION, **asdict(look)}
    record["events"] = [{key: value for key, value in event.items() if value is not None} for event in record["events"]]
    for key in ("of", "found", "early", "holds", "events"):
        if not record[key]:
            del record[key]
    if look.rules is None:
        del record["rules"]
    return json.dumps(record, ensure_ascii=False)


def _parsed(line: bytes) -> Look | None:
    """Read one line; None when it is not a look, or not as this build writes one."""
    try:
        item = json.loads(line.decode("utf-8"))
        if not isinstance(item, dict) or item.pop("version", None) != RECORD_VERSION:
            return None
        item["events"] = tuple(_event(event) for event in item.get("events", []))
        item["holds"] = tuple(map(str, item.get("holds", [])))
        item["rules"] = tuple(map(str, item["rules"])) if "rules" in item else None
        look = Look(**item)
        counts = [look.start_ns, look.end_ns, look.of, *look.found.values(), *look.early.values()]
        return look if isinstance(look.alert, str) and all(type(number) is int for number in counts) else None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _event(item: dict[str, Any]) -> Event:
    event = Event(**{**item, "counted": _pair(item.get("counted", (0, 0))), "before": _pair(item.get("before"))})
    if event.what not in ("opened", "over") or type(event.at_ns) is not int:
        raise ValueError(event.what)
    return event


def _pair(value: Any) -> Counts | None:
    return None if value is None else Counts(int(value[0]), int(value[1]))

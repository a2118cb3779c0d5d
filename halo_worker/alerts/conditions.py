"""When an alert has something to say: pure functions of what its looks have counted.

`rate`: Fisher's exact test of the window against the time before it, a rise by a quarter or more. A look tests many
issues and comes many times a day, so a p-value counts from FALSE_ALARMS divided by both (Bonferroni): an alert that
watches traffic in which nothing changes tells of something once in twenty days. Looks in which the condition held, or
in which the rule of the issue did not run, are no part of what is compared with. `new`: no report knows the issue, and
no look before the window held it. `regressed`: it was resolved, by a person or by its absence.

An episode is over when its condition has not held for the cooldown, and traces have arrived since; where none has,
after SILENT_NS.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from halo_worker.alerts.journal import NOTHING, Episode, Look, episodes
from halo_worker.config_alerts import AlertConfig
from halo_worker.moments import seconds_of
from halo_worker.report.comparison import Counts
from halo_worker.report.states import CHANGED_BY
from halo_worker.report.statistics import fisher_exact
from halo_worker.window import SECOND

FALSE_ALARMS = 0.05  # a day, of one alert
MIN_BASELINE = 50  # traces before the window, below which the last reports are asked as well
SILENT_NS = 86_400 * SECOND  # without any trace, after which an episode is over
MOST_OPENED = 10  # episodes that one look of an alert begins; what goes on is told by the next
DAY = 86_400


@dataclass(frozen=True, slots=True)
class Known:
    """What reports and people say of issues: which are known at all, which are resolved since when (unix nanoseconds),
    which nobody wants to hear of, and the counts of the last reports."""

    issues: Collection[str] = ()
    resolved: Mapping[str, int] = field(default_factory=dict)
    silenced: Collection[str] = ()
    reported: Mapping[str, Counts] = field(default_factory=dict)
    whole: Counts = NOTHING  # for an issue that they do not have: none of so many traces
    least: Mapping[str, int] = field(default_factory=dict)  # traces that the rule of an issue takes
    rules: Mapping[str, str] = field(default_factory=dict)  # that found an issue in this look

    def enough(self, config: AlertConfig, issue_id: str, counted: Counts) -> bool:
        """Say whether a window holds as many affected traces as the alert and the rule want."""
        return counted.traces >= max(config.least, self.least.get(issue_id, 1))


class Finding(NamedTuple):
    """An issue for which a condition holds: what was counted, what it was compared with, and how sure that is."""

    issue_id: str
    counted: Counts
    before: Counts | None = None
    p_value: float | None = None


class Ended(NamedTuple):
    """An episode that is over, and the traces of its issue and all traces that were looked at since it last held."""

    episode: Episode
    since: Counts
    last_ns: int


class Decided(NamedTuple):
    """What a look comes to."""

    holds: list[Finding]  # all for which the condition holds
    begins: list[Finding]  # those of them that begin an episode
    ends: list[Ended]


def nanoseconds(length: str) -> int:
    """Read a length of the settings."""
    return int(seconds_of(length) * SECOND)


def decide(config: AlertConfig, past: Sequence[Look], look: Look, known: Known) -> Decided:
    """Decide what a look says, after the looks of the same alert before it, oldest first."""
    looks = [*past, look]
    every = episodes(past)
    open_ = {one.opened.issue_id: one for one in every if one.is_open}
    condition: Callable[..., Iterable[Finding]] = {"new": _new, "regressed": _regressed, "rate": _rate}[config.when]
    holds = list(condition(config, looks, known, every))
    holding = {one.issue_id for one in holds}
    shown = {*look.found, *look.early} - {*open_, *known.silenced}  # of which this look has evidence
    begins = [one for one in holds if one.issue_id in shown]
    begins.sort(key=lambda one: (one.p_value if one.p_value is not None else 1.0, -one.counted.traces, one.issue_id))
    ends = [
        ended
        for issue_id, episode in open_.items()
        if issue_id not in holding and (ended := _over(config, looks, episode)) is not None
    ]
    return Decided(holds, begins[:MOST_OPENED], ends)


def counted(
    looks: Iterable[Look], issue_id: str, since_ns: int, until_ns: int, rule: str | None = None
) -> Counts:  # fmt: skip
    """Add up the looks that ended in `(since, until]`; only those in which a rule ran."""
    return _sum((look for look in looks if since_ns < look.end_ns <= until_ns and look.ran(rule)), issue_id)


def _sum(looks: Iterable[Look], issue_id: str) -> Counts:
    inside = list(looks)
    return Counts(sum(look.found.get(issue_id, 0) for look in inside), sum(look.of for look in inside))


def _in_window(config: AlertConfig, looks: Sequence[Look], issue_id: str, known: Known) -> Counts:
    """Count the window; what has not settled in the last look is counted with it."""
    last = looks[-1]
    begins = last.end_ns - nanoseconds(config.window)
    settled = counted(looks, issue_id, begins, last.end_ns, known.rules.get(issue_id))
    early = last.early.get(issue_id, 0)
    return Counts(settled.traces + early, settled.of + early)


def _seen(look: Look) -> list[str]:
    return sorted({*look.found, *look.early})


def _new(config: AlertConfig, looks: Sequence[Look], known: Known, every: Sequence[Episode]) -> Iterable[Finding]:
    last, begins = looks[-1], looks[-1].end_ns - nanoseconds(config.window)
    before = [look for look in looks if look.end_ns <= begins]
    if not known.issues and not known.whole.of and not before:
        return  # the first window of an empty directory: all would be new
    told = {issue_id for look in before for issue_id in look.found} | {one.opened.issue_id for one in every}
    open_ = {one.opened.issue_id for one in every if one.is_open}
    for issue_id in _seen(last):
        if issue_id in open_:
            yield Finding(issue_id, _in_window(config, looks, issue_id, known))
        elif issue_id not in known.issues and issue_id not in told:
            seen = _in_window(config, looks, issue_id, known)
            if known.enough(config, issue_id, seen):
                yield Finding(issue_id, seen)


def _regressed(config: AlertConfig, looks: Sequence[Look], known: Known, every: Sequence[Episode]) -> Iterable[Finding]:
    open_ = {one.opened.issue_id for one in every if one.is_open}
    told = {one.opened.issue_id: one.opened.at_ns for one in every}
    for issue_id in _seen(looks[-1]):
        seen, resolved = _in_window(config, looks, issue_id, known), known.resolved.get(issue_id)
        again = resolved is not None and told.get(issue_id, 0) <= resolved and known.enough(config, issue_id, seen)
        if issue_id in open_ or again:
            yield Finding(issue_id, seen)


def _rate(config: AlertConfig, looks: Sequence[Look], known: Known, every: Sequence[Episode]) -> Iterable[Finding]:
    last = looks[-1]
    begins = last.end_ns - nanoseconds(config.window)
    compared = [look for look in looks if begins - nanoseconds(config.baseline) < look.end_ns <= begins]
    recent = {issue_id for look in looks if look.end_ns > begins for issue_id in look.found}
    open_ = {one.opened.issue_id: one for one in every if one.is_open}
    counts = max(1.0, DAY / seconds_of(config.every)) * max(1, len(recent))
    for issue_id in sorted(recent):
        here = counted(looks, issue_id, begins, last.end_ns, known.rules.get(issue_id))
        if issue_id in open_:  # against what it was compared with when it began
            before = open_[issue_id].opened.before or NOTHING
            level = FALSE_ALARMS
        else:
            before = _before(compared, issue_id, known)
            level = FALSE_ALARMS / counts
        if not known.enough(config, issue_id, here) or not before.of or here.rate <= before.rate * (1 + CHANGED_BY):
            continue
        p = fisher_exact(here.traces, here.of - here.traces, before.traces, before.of - before.traces)
        if p < level:
            yield Finding(issue_id, here, before, p)


def _before(compared: Sequence[Look], issue_id: str, known: Known) -> Counts:
    """Count the time before the window; where that holds little, the last reports as well."""
    rule = known.rules.get(issue_id)
    here = _sum((look for look in compared if issue_id not in look.holds and look.ran(rule)), issue_id)
    if here.of >= MIN_BASELINE:
        return here
    told = known.reported.get(issue_id, Counts(0, known.whole.of))
    both = Counts(here.traces + told.traces, here.of + told.of)
    return both if both.of >= MIN_BASELINE else NOTHING


def _over(config: AlertConfig, looks: Sequence[Look], episode: Episode) -> Ended | None:
    """Say whether an open episode, whose condition does not hold now, is over."""
    issue_id, now = episode.opened.issue_id, looks[-1].end_ns
    held = max((look.end_ns for look in looks if issue_id in look.holds), default=episode.opened.at_ns)
    since = counted(looks, issue_id, held, now)
    quiet = now - held
    if quiet >= nanoseconds(config.cooldown) and (since.of or quiet >= SILENT_NS):
        return Ended(episode, since, held)
    return None

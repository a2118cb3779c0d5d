"""How the alerts of a data directory stand, in words: for `halo status` and `halo doctor`."""

from __future__ import annotations

from collections.abc import Sequence

from halo_worker import issues
from halo_worker.alerts import eligible
from halo_worker.alerts.conditions import nanoseconds
from halo_worker.alerts.journal import Journal, Look, alerts_dir, episodes
from halo_worker.alerts.watch import last_counts
from halo_worker.config import Settings
from halo_worker.moments import human_duration
from halo_worker.report import formats

LATE = 3  # planned looks that were missed, from which an alert is late


def summary(current: Settings, now_ns: int) -> str:
    """Say in a line how many are watched, how many episodes go on, and when one looked last."""
    looks = Journal(alerts_dir(current)).read()
    going = [one for one in episodes(looks) if one.is_open and one.alert in current.alerts]
    last = max((look.end_ns for look in looks), default=0)
    looked = f"looked {human_duration(max(0, now_ns - last))} ago" if last else "never looked yet"
    said = f"{len(current.alerts)} watched, {formats.plural(len(going), 'episode')} open, {looked}"
    return f"{said}: 'halo alerts' lists them" if going else said


def of_one(current: Settings, name: str, now_ns: int) -> tuple[bool, str]:
    """Say of one alert whether its looks come as planned, and how it stands."""
    config, looks = current.alerts[name], [look for look in Journal(alerts_dir(current)).read() if look.alert == name]
    going = sum(one.is_open for one in episodes(looks))
    to = f", to {', '.join(config.sinks)}" if config.sinks else ", to no sink: 'halo alerts' lists its episodes"
    says = f"{config.when}, every {config.every}{to}; {formats.plural(going, 'episode')} open"
    watched = eligible.wanted(config, eligible.units(current))
    if whole := eligible.reading_window(watched):
        says += f"; reads its whole window at each look for {', '.join(whole)}"
    waits = eligible.compared(watched)
    if waits and last_counts(issues.archive(current)) is None:
        says += f"; until there is a report to compare with, not: {', '.join(waits)}"
    return _on_time(looks, nanoseconds(config.every), now_ns), f"{says}; {_last(looks, now_ns)}"


def _last(looks: Sequence[Look], now_ns: int) -> str:
    return f"looked {human_duration(max(0, now_ns - looks[-1].end_ns))} ago" if looks else "never looked yet"


def _on_time(looks: Sequence[Look], every_ns: int, now_ns: int) -> bool:
    return not looks or now_ns - looks[-1].end_ns <= LATE * every_ns

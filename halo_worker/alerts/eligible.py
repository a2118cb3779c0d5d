"""Which detectors an alert may trust: those that are right in nine of ten hits.

One of scope `group` compares traces with each other, which a few minutes hold too few of. It is watched where an alert
names it: one that reads tables of counts compares with those of the last report (`detectors.baselines`), and is then as
certain as the person who named it wants. What another of a user compares, only its SQL knows, and none of it can be
added to an earlier count: for it an alert reads its whole `window` at each look.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from functools import cache

from halo_worker.analysis import calibration
from halo_worker.analysis.detectors import DETECTORS, REPLACED, Unit, rules, tables
from halo_worker.config import Settings
from halo_worker.config_alerts import AlertConfig
from halo_worker.errors import ConfigError

CERTAIN = 0.9  # how often a detector must be right


def why_not(unit: Unit) -> str | None:
    """Say why no alert can use a detector; None where one can."""
    certain = calibration.certainty(unit.name, unit.confidence)
    if certain < CERTAIN and not is_compared(unit):
        return f"is right in {certain:.0%} of its hits, and alerts take {CERTAIN:.0%}: reports tell of it"
    return None


def is_compared(unit: Unit) -> bool:
    """Say whether a detector compares traces with the counts of the last report."""
    return unit.scope == "group" and not tables.read_by([unit.sql]).isdisjoint(tables.counts())


@cache
def built_in() -> Mapping[str, Unit]:
    """Return those of halo's own, by name."""
    return {unit.name: unit for unit in DETECTORS if why_not(unit) is None}


def units(current: Settings) -> Mapping[str, Unit]:
    """Return every detector that alerts may use, the user's among them, by name; without those that are muted."""
    own = {unit.name: unit for unit in rules.load(current.detectors.paths)[0] if why_not(unit) is None}
    return {name: unit for name, unit in {**built_in(), **own}.items() if name not in current.detectors.mute}


def wanted(config: AlertConfig, among: Mapping[str, Unit]) -> dict[str, Unit]:
    """Return the detectors that an alert is about; those that compare traces only where it names them."""
    named = {REPLACED.get(name, name) for name in config.rules}
    return {
        name: unit
        for name, unit in among.items()
        if (name in named if named else unit.scope == "trace")
        and (not config.categories or unit.category in config.categories)
    }


def reading_window(units: Mapping[str, Unit]) -> list[str]:
    """Return the names of a user's that compare traces with each other, and not by counts."""
    return [name for name, unit in units.items() if unit.scope == "group" and rules.is_own(unit)
            and not is_compared(unit)]  # fmt: skip


def compared(units: Mapping[str, Unit]) -> list[str]:
    """Return the names of those that compare with the counts of the last report."""
    return [name for name, unit in units.items() if is_compared(unit)]


def check(current: Settings) -> None:
    """Look at every alert before any is watched. Raises ConfigError of what no later look could mend."""
    if not current.alerts:
        return
    usable, every = units(current), {unit.name: unit for unit in _every(current)}
    categories = {unit.category for unit in usable.values()}
    for name, config in current.alerts.items():
        for rule in config.rules:
            _check_rule(name, REPLACED.get(rule, rule), every, usable, current.detectors.mute)
        for category in config.categories:
            if category not in categories:
                hint = _nearest(category, categories)
                raise ConfigError(f"[alerts.{name}] categories: no rule of an alert has '{category}'", hint=hint)
        if not wanted(config, usable):
            raise ConfigError(
                f"[alerts.{name}]: no rule has one of its names and one of its categories",
                hint="take rules or categories out",
            )


def _every(current: Settings) -> Iterable[Unit]:
    return (*DETECTORS, *rules.load(current.detectors.paths)[0])


def _check_rule(
    alert: str, rule: str, every: Mapping[str, Unit], usable: Mapping[str, Unit], muted: Iterable[str]
) -> None:
    if rule in usable:
        return
    if rule not in every:
        raise ConfigError(f"[alerts.{alert}] rules: there is no detector '{rule}'", hint=_nearest(rule, usable))
    if rule in muted:
        raise ConfigError(f"[alerts.{alert}] rules: '{rule}' is muted", hint="take it out of [detectors] mute")
    hint = f"alerts can use: {', '.join(sorted(usable))}"
    raise ConfigError(f"[alerts.{alert}] rules: '{rule}' {why_not(every[rule])}", hint=hint)


def _nearest(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else f"there are: {', '.join(names)}"

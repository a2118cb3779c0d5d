"""Cron lines as cron means them, in a time zone.

APScheduler's fields count weekdays from Monday and ask for day of month *and* weekday; cron counts from Sunday and,
where both are given, takes either. Lines with fixed hours follow the wall clock: a time that is skipped in spring is
made up right after the gap, one that comes twice in autumn fires the first time. Lines for every hour follow real time.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.combining import OrTrigger
from apscheduler.triggers.cron import CronTrigger

_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
LARGEST_GAP = timedelta(hours=3)  # no zone has moved its clocks by more in one step since there was UTC, days aside
_INSTANT = timedelta(microseconds=1)


def cron_trigger(line: str, timezone: str) -> BaseTrigger:
    """Read five fields. Raises ValueError in words."""
    fields = line.split()
    if len(fields) != 5:
        raise ValueError(f"has {len(fields)} fields, not five: write minute hour day month weekday")
    minute, hour, day, month, weekday = (field.lower() for field in fields)
    zone = ZoneInfo(timezone)
    clock = zone if hour.startswith("*") else UTC
    weekday = _weekdays(weekday)

    def trigger(**days: str) -> CronTrigger:
        return CronTrigger(minute=minute, hour=hour, month=month, timezone=clock, **days)

    either = day != "*" and weekday != "*"
    made: BaseTrigger = (
        OrTrigger([trigger(day=day), trigger(day_of_week=weekday)])
        if either
        else trigger(day=day) if weekday == "*" else trigger(day_of_week=weekday)
    )  # fmt: skip
    return made if clock is zone else WallClock(made, zone)


def _weekdays(field: str) -> str:
    """Write cron's weekdays, 0 and 7 for Sunday, as a list of names; '*' stays."""
    if field in ("*", "?"):
        return "*"
    days: set[int] = set()
    for part in field.split(","):
        span, slash, step = part.partition("/")
        first, dash, last = span.partition("-")
        begin = 0 if span == "*" else _weekday(first)
        end = 6 if span == "*" or (slash and not dash) else _weekday(last) if dash else begin
        every = int(step) if step.isdigit() and int(step) else 1 if not slash else 0
        if not every:
            raise ValueError(f"weekday {part!r}: a step is a number from 1")
        # sat-mon and 5-7 go over the end of the week.
        days |= {day % 7 for day in range(begin, end + 1 if end >= begin else end + 8, every)}
    return ",".join(_WEEKDAYS[day] for day in sorted(days))


def _weekday(text: str) -> int:
    if text.isdigit() and int(text) < 8:
        return int(text)
    if text[:3] in _WEEKDAYS and len(text) == 3:
        return _WEEKDAYS.index(text)
    raise ValueError(f"weekday {text!r} is neither 0 to 7 nor one of {' '.join(_WEEKDAYS)}")


class WallClock(BaseTrigger):  # type: ignore[misc]
    """Asks a trigger for times of the wall clock, and says when those come."""

    def __init__(self, times: BaseTrigger, zone: ZoneInfo) -> None:
        self._times = times  # it believes that the wall clock shows UTC
        self._zone = zone

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        """Return the first moment from now on, and after the previous one; APScheduler's method."""
        start = now if previous_fire_time is None else max(now, previous_fire_time + _INSTANT)
        start = start.astimezone(UTC)
        wall = start.astimezone(self._zone).replace(tzinfo=UTC) - LARGEST_GAP
        best: datetime | None = None
        while (wall := self._times.get_next_fire_time(None, wall)) is not None:
            # fold=0: of a time that comes twice the first, of one that is skipped the moment as if it were not.
            comes = wall.replace(tzinfo=self._zone, fold=0).astimezone(UTC)
            if best is not None and comes > best + LARGEST_GAP:
                break  # near a gap what is later on the wall may come earlier; not so far from it
            if comes >= start and (best is None or comes < best):
                best = comes
            wall += _INSTANT
        return best

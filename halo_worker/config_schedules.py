"""The settings of one run and of when runs are made: `[budget]` and `[schedules.NAME]`."""

from __future__ import annotations

import difflib
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import Field, ValidationError, model_validator

from halo_receiver.config import Section
from halo_worker.moments import seconds_of


class BudgetConfig(Section):
    """`[budget]`: what one run may spend. Spending never passes a limit by more than the call in flight."""

    max_turns: int = Field(20, ge=1, description="Turns of the root agent.")
    max_depth: int = Field(2, ge=0, description="How deep sub-agents may nest.")
    max_parallel: int = Field(10, ge=1, description="Sub-calls at once, for each depth.")
    max_tokens: int | None = Field(2_000_000, ge=1, description="Input and output tokens of all calls.")
    max_cost: float | None = Field(5.0, gt=0, description="Dollars, where the model's price is known.")
    max_seconds: float | None = Field(1800, gt=0, description="Wall time.")


class ScheduleConfig(Section):
    """`[schedules.NAME]`: when a window is analysed, which one, and who is told."""

    cron: str | None = Field(None, description="Five fields: minute hour day month weekday.")
    interval: str | None = Field(None, description="Instead of cron: '15m', '6h', '1d', from 00:00 UTC on.")
    timezone: str = Field("UTC", description="Of the cron line: an IANA name such as Europe/Berlin.")
    window: str | None = Field(
        None, description="Length, if windows are to overlap; default: from the last one's end, 24h the first time."
    )
    overlap: str = Field("0s", description="How far a window reaches back over the one before.")
    max_window: str = Field("7d", description="After downtime, the longest window that one run takes.")
    catch_up: Literal["one", "all", "none"] = Field(
        "one", description="After downtime: one run over all that was missed, one run for each, or none."
    )
    source: str | None = Field(None, description="[sources.NAME] or an address, read in place of the data directory.")
    services: list[str] = Field(default_factory=list, description="Only traces of these services.")
    agents: list[str] = Field(default_factory=list, description="Only traces of these agents.")
    prompt: str | None = Field(None, description="A question to answer in each report; needs a model.")
    engine: Literal["auto", "detectors", "rlm"] | None = Field(None, description="Default: [analysis] engine.")
    budget: dict[str, float | int | None] = Field(default_factory=dict, description="Overrides of [budget].")
    sinks: list[str] = Field(default_factory=list, description="Names of [sinks.NAME].")

    @model_validator(mode="after")
    def _is_a_schedule(self) -> ScheduleConfig:
        if (self.cron is None) == (self.interval is None):
            raise ValueError("needs either cron or interval")
        if self.cron is not None and len(fields := self.cron.split()) != 5:
            without = f"; without seconds it is '{' '.join(fields[1:])}'" if len(fields) == 6 else ""
            raise ValueError(
                f"cron {self.cron!r} has {len(fields)} fields, not five: write minute hour day month weekday{without}"
            )
        for name in ("interval", "window", "overlap", "max_window"):
            if (value := getattr(self, name)) is not None:
                try:
                    seconds_of(value)
                except ValueError as error:
                    raise ValueError(f"{name}: {error}") from None
        if self.interval is not None and seconds_of(self.interval) < 1:
            raise ValueError("interval is shorter than a second")
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError):
            close = difflib.get_close_matches(self.timezone, available_timezones(), n=1, cutoff=0.6)
            meant = f": did you mean '{close[0]}'?" if close else " such as Europe/Berlin"
            raise ValueError(f"timezone {self.timezone!r} is not an IANA name{meant}") from None
        try:
            BudgetConfig.model_validate(self.budget)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            given = str(first["loc"][0])
            if given in BudgetConfig.model_fields:
                raise ValueError(f"budget.{given}: {first['msg']}") from None
            close = difflib.get_close_matches(given, BudgetConfig.model_fields, n=1, cutoff=0.5)
            known = f"did you mean '{close[0]}'?" if close else f"known are: {', '.join(BudgetConfig.model_fields)}"
            raise ValueError(f"budget has no '{given}'; {known}") from None
        return self

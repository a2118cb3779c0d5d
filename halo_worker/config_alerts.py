"""The settings of what is told between reports: `[alerts.NAME]`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from halo_receiver.config import Section
from halo_worker.moments import seconds_of

SHORTEST_EVERY = 60  # seconds between two looks: each may ask the receiver to seal
LONGEST = 7 * 86_400  # seconds that a look reaches back at most, window and baseline together


class AlertConfig(Section):
    """`[alerts.NAME]`: what is worth a message between two reports, and who gets it."""

    when: Literal["new", "regressed", "rate"] = Field(
        description="new: a failure mode that no report knows. regressed: one that was resolved is back. "
        "rate: one is more frequent than before."
    )
    every: str = Field("5m", description="How often it looks; a minute at least, from 00:00 UTC on.")
    window: str = Field("1h", description="The time over which affected traces are counted.")
    baseline: str = Field("24h", description="rate: the time before the window, with which it is compared.")
    min_traces: int | None = Field(
        None, ge=1, description="Affected traces in the window, from which it alerts; default: 3, and 1 for regressed."
    )
    cooldown: str = Field("1h", description="An episode is over when its condition has not held for this long.")
    rules: list[str] = Field(
        default_factory=list,
        description="Only these detectors; empty: all that can alert and judge each trace by itself. "
        "One that compares traces with each other compares them with those of the last report.",
    )
    categories: list[str] = Field(default_factory=list, description="Only failure modes of these categories.")
    min_severity: Literal["low", "medium", "high", "critical"] = Field(
        "low", description="Less severe ones are left out."
    )
    agents: list[str] = Field(default_factory=list, description="Only traces of these agents; empty: all.")
    services: list[str] = Field(default_factory=list, description="Only traces of these services; empty: all.")
    sinks: list[str] = Field(default_factory=list, description="Names of [sinks.NAME].")

    @property
    def least(self) -> int:
        """Affected traces from which it alerts."""
        return self.min_traces or (1 if self.when == "regressed" else 3)

    @model_validator(mode="after")
    def _has_lengths_that_fit(self) -> AlertConfig:
        lengths = {}
        for name in ("every", "window", "baseline", "cooldown"):
            try:
                lengths[name] = seconds_of(getattr(self, name))
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        if lengths["every"] < SHORTEST_EVERY:
            raise ValueError(f"every = '{self.every}' is shorter than a minute: write '1m' or more")
        if lengths["window"] < lengths["every"]:
            raise ValueError(
                f"window = '{self.window}' is shorter than every = '{self.every}': some traces would not be counted"
            )
        if lengths["window"] + lengths["baseline"] > LONGEST:
            raise ValueError(f"window and baseline are longer than 7d together: '{self.window}' and '{self.baseline}'")
        return self

"""What makes a report the message of an alert: one episode that begins, or that is over."""

from __future__ import annotations

from typing import Literal

from halo_worker.report.base import Moment, Timed


class AlertNote(Timed):
    """Which alert and which episode; the report's one finding has the evidence, its window is what was counted."""

    name: str
    when: Literal["new", "regressed", "rate"]
    what: Literal["opened", "over"]
    episode: str
    opened_at: Moment
    link: str | None = None  # to the issue, else to its newest trace, as [links] says

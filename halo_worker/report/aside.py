"""What was found and does not count: by the word of a person, or by a model's with quotes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from halo_worker.report.base import Model, Moment, Timed
from halo_worker.report.evidence import Evidence


class LeftOut(Timed):
    """What was found and does not count, for a person said that it is no failure."""

    issue_id: str
    title: str
    traces: int = Field(ge=0)
    named: bool  # true: only the traces that the person named; false: every hit of the issue
    because: str
    by: str = ""
    at: Moment


class SetAside(Model):
    """A detector's finding that a model looked at and does not take for a failure, wholly or in some traces."""

    issue_id: str
    title: str
    verdict: Literal["refuted", "partly"]
    traces: int = Field(ge=0)  # that do not count
    of: int = Field(ge=0)  # that the detector named
    why: str
    evidence: list[Evidence]

"""What people decided to be fixed, and what windows say of it; and the releases in which an issue was seen."""

from __future__ import annotations

from pydantic import Field

from halo_worker.report.base import Model, Moment, Timed
from halo_worker.report.comparison import Verdict


class Resolution(Timed):
    """A person's decision that an issue is fixed, and what this window says of it."""

    at: Moment
    by: str = ""
    note: str = ""
    release: str | None = None
    traces: int = Field(ge=0)  # affected here that started after it, or in that release or one first seen after it


class ReleaseRef(Model):
    """A version of a service (`service.version`)."""

    service: str
    version: str


class Affected(Model):
    """Affected traces, of how many."""

    traces: int = Field(ge=0)
    of: int = Field(ge=0)


class FixCheck(Timed):
    """Whether a resolved issue is gone: its rule in the traces that the decision speaks of, against the windows before.

    The traces that the decision speaks of started after it, or ran its release or one first seen after that. `after`
    adds up all windows since; the verdict is as of `halo verify`.
    """

    issue_id: str
    title: str
    release: str | None = None
    decided_at: Moment
    window: Affected  # of this window alone
    before: Affected
    after: Affected
    verdict: Verdict
    p_value: float | None
    needed: int | None  # traces more, of `too few`

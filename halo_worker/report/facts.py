"""Verified facts of a finding, from which its sentence is built. Each may be missing: what is not known is not said."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from halo_worker.report.base import MaybeMoment, Model, Timed


class Calls(Model):
    """Calls that failed this way, of all calls of the same name in the window.

    `error` is what the errors of nearly all of them say: an HTTP status, a message with numbers left out, or a type.
    """

    name: str  # the tool, or the model that was asked for
    kind: Literal["tool", "model"] = "tool"
    affected: int = Field(ge=0)
    of: int = Field(ge=0)
    error: str = ""


class Place(Model):
    """Where all or nearly all of it happens; null where it is spread.

    `only_version`: calls or traces of other versions of the same service are there too, and nearly none is affected.
    """

    tool: str | None = None
    agent: str | None = None
    version: str | None = None
    only_version: bool = False


class ToldOtherwise(Model):
    """Whom the final answer told that it was done, while the call failed. `users` is null where not all are known."""

    users: int | None = None
    traces: int = Field(ge=0)


class Common(Timed):
    """One thing that the affected calls share and other calls of the same name do not.

    `kind` argument: `name` is the argument, `value` what holds of it ("= EUR", "≥ 3990"). ratio: the argument is
    `ratio` times the number that `value` names, in the call's error or in an earlier result of its trace; `example`
    holds both numbers as they stand there. version: `value`. since: none of the `others` calls before `at` failed so.
    """

    kind: Literal["argument", "ratio", "version", "since"]
    name: str = ""
    value: str = ""
    affected: int = Field(ge=0)  # affected calls of which it holds
    affected_of: int = Field(ge=0)
    others: int = Field(ge=0)  # other calls of which it holds
    others_of: int = Field(ge=0)
    ratio: float | None = None
    example: tuple[str, str] | None = None
    rejected: bool = False  # of a ratio: the error names the argument
    at: MaybeMoment = None


class Impact(Model):
    """What the affected traces took, all together, and what of it was for nothing; null where it is not recorded.

    Wasted are tokens and dollars of the model calls from the finding's origin on in runs that were not served, and of
    the affected calls themselves in the others; people waited that long. Abandoned: ended in mid-work, given up or
    cancelled. Frustrated: runs after whose answer the user asked the same again, corrected it, cancelled or rated it as
    bad.
    """

    tokens: int = Field(ge=0)
    cost_usd: float | None = None
    seconds: float = Field(ge=0)
    users: int | None = None
    sessions: int | None = None
    wasted_tokens: int = 0
    wasted_cost_usd: float | None = None
    waited_seconds: float = 0.0
    not_served: int = 0
    abandoned: int = 0
    frustrated: int = 0

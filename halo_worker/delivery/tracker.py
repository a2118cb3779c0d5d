"""An issue tracker as a sink: one ticket per failure mode, created once, then kept up to date.

What a ticket is about, and which report of each schedule it shows, stands in its own text (`report.ticket`). Nothing
else is kept, so that a lost receipt makes no second ticket. Another tracker is an adapter of the protocol `Tracker`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from halo_worker.config_delivery import SinkConfig
from halo_worker.delivery.sink import Parcel, passes
from halo_worker.errors import SinkRefused
from halo_worker.report import ticket
from halo_worker.report.model import Finding, Report
from halo_worker.report.ticket import Mark

# States that a person who follows a ticket is told of by a comment; the others change its text alone.
COMMENTED = frozenset({"worsening", "improving", "regressed", "resolved"})


@dataclass(frozen=True, slots=True)
class Ticket:
    """One ticket as the tracker has it. `declined`: a person closed it as something that will not be done."""

    key: str
    body: str
    is_open: bool
    declined: bool = False


class Tracker(Protocol):
    """What an adapter does. Every method raises SinkUnavailable or SinkRefused, and keeps to the tracker's limits."""

    def where(self) -> str:
        """Say where it leads, without secrets."""
        ...

    def probe(self) -> None:
        """Look whether tickets could be made now, and make none."""
        ...

    def labelled(self) -> Iterable[Ticket]:
        """Return the tickets, open and closed, that carry halo's label; at once visible after `create`."""
        ...

    def search(self, phrase: str) -> Iterable[Ticket]:
        """Return the tickets of people who belong to the project, and of bots, that hold a phrase."""
        ...

    def create(self, title: str, body: str) -> Ticket:
        """Make a ticket with the label."""
        ...

    def update(self, key: str, body: str, *, is_open: bool | None) -> None:
        """Replace the text of a ticket, and close or reopen it; None leaves it as it is."""
        ...

    def comments(self, key: str, *, since_ns: int) -> Iterable[str]:
        """Return the comments that were written after a time, unix nanoseconds."""
        ...

    def comment(self, key: str, text: str) -> None:
        """Add a comment."""
        ...


class TrackerSink:
    """Brings the findings of a report to a tracker."""

    def __init__(self, config: SinkConfig, tracker: Tracker) -> None:
        self._config = config
        self._tracker = tracker

    def where(self) -> str:
        return self._tracker.where()

    def probe(self) -> None:
        self._tracker.probe()

    def deliver(self, parcel: Parcel) -> dict[str, Any]:
        """Make or update a ticket for each finding. One that is refused does not hold up the others."""
        known = _by_issue(self._tracker.labelled())
        wanted = [one for one in parcel.report.findings if not one.muted]
        if any(self._is_to_be_made(one) and one.issue_id not in known for one in wanted):
            known = _by_issue(self._tracker.search(ticket.PHRASE)) | known
        refused: list[SinkRefused] = []
        for finding in wanted:
            try:
                self._bring(parcel, finding, known)
            except SinkRefused as error:
                refused.append(error)
        self._close_fixed(parcel.report, known, refused)
        if refused:
            more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
            raise SinkRefused(f"{refused[0]}{more}", hint=refused[0].hint)
        told = {one.issue_id for one in wanted}
        return {"tickets": {issue: one.key for issue, one in known.items() if issue in told}}

    def _is_to_be_made(self, finding: Finding) -> bool:
        """Whether a finding gets a ticket where it has none: what is gone needs none, a symptom is told by its lead."""
        leads = finding.group_id in (None, finding.issue_id)
        return leads and finding.state != "resolved" and passes(finding, self._config.filter)

    def _bring(self, parcel: Parcel, finding: Finding, known: dict[str, Ticket]) -> None:
        report, found = parcel.report, known.get(finding.issue_id)
        if found is None:
            if self._is_to_be_made(finding):
                block = ticket.block(report, finding, parcel.links)
                known[finding.issue_id] = self._tracker.create(ticket.title(finding), block)
            return
        before = _mark(found)
        said, by = before.of(report.scope)
        if by > report.id or not report.is_remembered:
            return  # it shows a later report of the schedule; or a run by hand, which changes no issue
        if finding.state != said and finding.state in COMMENTED:
            self._comment_once(found, ticket.comment(report, finding, parcel.links), report, finding.issue_id)
        body = ticket.merged(found.body, ticket.block(report, finding, parcel.links, before))
        is_open = _opened(found, before, before.after(report, finding.state))
        if body != found.body or is_open is not None:
            self._tracker.update(found.key, body, is_open=is_open)

    def _close_fixed(self, report: Report, known: dict[str, Ticket], refused: list[SinkRefused]) -> None:
        """Close the tickets of issues that a person resolved and that this window does not hold."""
        present = {finding.issue_id for finding in report.findings}
        for check in report.fixes:
            found = known.get(check.issue_id)
            if found is None or check.issue_id in present or check.window.traces or not report.is_remembered:
                continue
            before = _mark(found)
            said, by = before.of(report.scope)
            if by > report.id or not found.is_open or (said == "resolved" and not before.is_resolved):
                continue
            after = before.after(report, "resolved")
            try:
                self._comment_once(found, ticket.fix_comment(report, check), report, check.issue_id)
                self._tracker.update(
                    found.key, ticket.remarked(found.body, after), is_open=False if after.is_resolved else None
                )
            except SinkRefused as error:
                refused.append(error)

    def _comment_once(self, found: Ticket, text: str, report: Report, issue_id: str) -> None:
        mark = ticket.comment_mark(report.id, issue_id)
        if not any(mark in one for one in self._tracker.comments(found.key, since_ns=report.created_at)):
            self._tracker.comment(found.key, text)


def _opened(found: Ticket, before: Mark, after: Mark) -> bool | None:
    """Say whether a ticket is to be open; None where it stays as it is: who closed one without us had a reason.

    It is closed once no schedule sees its failure mode.
    """
    if after.is_resolved:
        return False if found.is_open else None
    back = after.state == "regressed" or before.is_resolved
    return True if back and not found.is_open and not found.declined else None


def _mark(found: Ticket) -> Mark:
    mark = ticket.mark_of(found.body)
    assert mark is not None
    return mark


def _by_issue(tickets: Iterable[Ticket]) -> dict[str, Ticket]:
    """Return the tickets that have a mark, by issue; of several the oldest, which comes first."""
    found: dict[str, Ticket] = {}
    for one in tickets:
        mark = ticket.mark_of(one.body)
        if mark is not None:
            found.setdefault(mark.issue_id, one)
    return found

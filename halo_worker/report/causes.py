"""What stands below the first sentence: at most three causes in a line each, what they leave out, and the counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from halo_worker.display import named
from halo_worker.report import formats, headline, phrases
from halo_worker.report.model import SEVERITIES, Finding, Report
from halo_worker.report.rows import Row, told

CAUSES = 3  # that are told in a line each
SYMPTOMS = 3  # of a cause, that are named
DAY_NS = 86_400 * 10**9


@dataclass(frozen=True, slots=True)
class Cause:
    """One row: its title with an example, how it stands, how often, one more fact, and how else it is seen."""

    finding: Finding
    title: str
    state: str
    counted: str
    facts: tuple[str, ...]
    symptoms: tuple[str, ...]

    @property
    def line(self) -> str:
        """How it stands, in a line."""
        return " · ".join((self.state, self.counted, *self.facts))


def causes(report: Report, *, limit: int = CAUSES) -> list[Cause]:
    """Return the first rows, those that are open first."""
    return [cause(row, report) for row in headline.ordered(report, told(report.findings))[:limit]]


def cause(row: Row, report: Report) -> Cause:
    """Write one row."""
    finding, ratio = row.lead, headline.ratio_of(row.lead)
    noun = phrases.made_by(finding.calls.name) if finding.calls else None
    title = headline.titled(finding)
    return Cause(
        finding=finding,
        title=f"{title} ({phrases.example(ratio)})" if ratio and title != finding.title else title,
        state=finding.state,
        counted=f"{headline.counted_of(finding)} {noun or headline.noun_of(finding)}",
        facts=tuple(_facts(finding, report)),
        symptoms=_symptoms(row),
    )


def _facts(finding: Finding, report: Report) -> list[str]:
    """Choose at most two further facts of a row: the place, who was told, how long it was absent, what it costs."""
    found = []
    if finding.place is not None and finding.place.version and finding.place.only_version:
        found.append(f"only in {named(finding.place.version)}")
    if finding.told_otherwise is not None and finding.told_otherwise.traces:
        users, traces = finding.told_otherwise.users, finding.told_otherwise.traces
        found.append(f"{formats.plural(users, 'user') if users else formats.plural(traces, 'answer')} told otherwise")
    if finding.state == "regressed":
        found.append(_absent(finding, report))
    impact, traces = finding.impact, finding.prevalence.traces
    if not found and impact is not None and traces and impact.seconds >= traces:
        each = f"{formats.duration(impact.seconds / traces * 1e9)}"
        tokens = f" and {formats.count(impact.tokens / traces)} tokens" if impact.tokens else ""
        found.append(f"{each}{tokens} each")
    return [one for one in found if one][:2]


def _absent(finding: Finding, report: Report) -> str:
    if finding.resolution is not None:
        return f"resolved on {formats.day(finding.resolution.at)}"
    if not finding.absent_windows:
        return ""
    daily = abs((report.window.end - report.window.start) / DAY_NS - 1) < 0.02
    return f"absent for {formats.plural(finding.absent_windows, 'day' if daily else 'window')}"


def _symptoms(row: Row) -> tuple[str, ...]:
    first = tuple(_symptom(one, row.lead) for one in row.symptoms[:SYMPTOMS])
    more = len(row.symptoms) - SYMPTOMS
    return (*first, f"{more} more") if more > 0 else first


def _symptom(finding: Finding, lead: Finding) -> str:
    """Name a symptom beside its cause: without the agent, which the row names already."""
    title = headline.titled(finding)
    agent = lead.place.agent if lead.place else None
    return f"{title.removeprefix(f'{named(agent)} ') if agent else title} ({finding.prevalence.traces:,})"


def remainder(report: Report, shown: Sequence[Cause]) -> str:
    """Say what the causes leave out: how many more, what is resolved, what is muted."""
    said = told(report.findings)
    if not said.rows:
        return ""  # the first sentence says it
    more = len(said.rows) - len(shown)
    lowest = max((SEVERITIES.index(one.finding.severity) for one in shown), default=0)
    left = headline.ordered(report, said)[len(shown) :]
    lower = left and all(SEVERITIES.index(row.lead.severity) >= lowest for row in left)
    parts = [f"{more} more{', lower' if lower else ''}"] if more > 0 else []
    if said.resolved:
        names = "; ".join(headline.short_title(one) for one in said.resolved[:2])
        parts.append(f"resolved: {names}" + (f" and {len(said.resolved) - 2} more" if len(said.resolved) > 2 else ""))
    if said.muted:
        parts.append(f"{len(said.muted)} muted ({formats.plural(report.totals.muted_traces, 'trace')})")
    return " · ".join(parts)


def counts(report: Report) -> str:
    """Write the figures of the window, small: traces, cost, durations."""
    totals = report.totals
    if not totals.traces:
        return ""
    parts = [
        f"{formats.plural(totals.traces, 'trace')}, {formats.percent(totals.affected_traces / totals.traces)} affected"
    ]
    if totals.cost_usd is not None:
        spent = f"{formats.dollars(totals.affected_cost_usd)} of " if totals.affected_cost_usd else ""
        parts.append(f"{spent}{formats.dollars(totals.cost_usd)} spent{' on affected runs' if spent else ''}")
    if totals.duration_p95_ns is not None:
        parts.append(f"p50 {formats.duration(totals.duration_p50_ns)}, p95 {formats.duration(totals.duration_p95_ns)}")
    return " · ".join(parts)

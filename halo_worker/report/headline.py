"""The first sentence of a report: what an engineer on call would say.

    Since Tue 14:13 issue_refund fails in support-agent 2.4.0: 14 of 41 calls (amount 100 times the order total);
    11 users were told it succeeded.

Built from the verified fields of findings alone, and pure: no model, no clock. What is not known is left out.
"""

from __future__ import annotations

import re
from itertools import pairwise

from halo_worker.display import named
from halo_worker.report import formats, phrases
from halo_worker.report.facts import Common
from halo_worker.report.model import SEVERITIES, Finding, Report, iso_nano
from halo_worker.report.rows import Row, Told, told

FEW = 0.5  # share of the detectors that are off, from which a window could not be judged
OPEN_ROWS = 10  # causes that are shown open; a reader of a long report looks for one
BY_CHANCE = 0.05  # that no earlier trace of a first window is affected, up to which the first one is a beginning
NO_TRAFFIC = "No agent traffic in this window."
NO_OUTCOME = "no root status, evaluation or feedback says how a run ended"

# How titles of ours begin where they do not begin with a name: inside of a sentence they are lower case.
_OUR_WORDS = re.compile(
    r"(The model|Output of|Runs of|Answers of|Calls of|Results of|Traces of|The plan|The context of|An agent|Agents) "
)

_SAID = re.compile(r': "[^"]*"$')


def short_title(finding: Finding) -> str:
    """Return the title without the error's own words, which titles of detectors end in, in quotes."""
    return _SAID.sub("", finding.title) if finding.source == "detector" else finding.title


def titled(finding: Finding) -> str:
    """Return the title with the cause that the calls themselves show, where one does; else as it is."""
    calls, ratio = finding.calls, ratio_of(finding)
    if calls is None or not finding.title.startswith(named(calls.name)):
        return finding.title
    if ratio is not None and short_title(finding) == f"{named(calls.name)} fails":
        verb = "rejects" if ratio.rejected else "fails with"
        return f"{named(calls.name)} {verb} {phrases.multiple(ratio, plural=True)}"
    status = f" ({calls.error})" if calls.error.startswith("HTTP ") and "HTTP" not in finding.title else ""
    return f"{finding.title}{status}"


def headline(report: Report) -> str:
    """Return the first sentence: of the whole report, where this is a part of one."""
    if report.headline:
        return report.headline
    if not report.totals.traces:
        return NO_TRAFFIC
    said = told(report.findings)
    unjudged = could_not_judge(report)
    if not said.rows:
        return _nothing(report, said, unjudged)
    lead = leading(report, said)
    text = sentence(lead, report)
    if not any(is_open(row, report) for row in said.rows):
        text = f"Nothing new or severe; {text.replace('Since ', 'since ', 1)}"
    return f"{text} Could not judge the rest: {unjudged}." if unjudged else text


def _nothing(report: Report, said: Told, unjudged: str) -> str:
    traces = formats.plural(report.totals.traces, "trace")
    gone = "; ".join(f"resolved: {short_title(one)}{_left(one)}" for one in said.resolved[:1])
    if len(said.resolved) > 1:
        gone += f" and {len(said.resolved) - 1} more"
    muted = f"{len(said.muted)} muted ({formats.plural(report.totals.muted_traces, 'trace')})" if said.muted else ""
    rest = "; ".join(filter(None, (gone, muted)))
    if unjudged:
        text = f"Could not judge {_these(report)}: {unjudged}"
    else:
        examined = report.coverage.traces_examined
        part = f" in the {examined:,} of {traces} that were examined" if 0 < examined < report.totals.traces else ""
        other = "other " if said.muted or report.totals.affected_traces else ""
        text = f"No {other}failure modes found{part or f' in {traces}'}"
    return f"{text}; {rest}." if rest else f"{text}."


def _left(finding: Finding) -> str:
    """Say that traces of before a person's resolution are still there."""
    traces = finding.prevalence.traces
    return f" ({formats.plural(traces, 'trace')} started before)" if traces else ""


def _these(report: Report) -> str:
    return "this trace" if report.totals.traces == 1 else f"these {formats.plural(report.totals.traces, 'trace')}"


def could_not_judge(report: Report) -> str:
    """Say why a window could not be judged: most checks are off, or no outcome is known; empty where it could."""
    coverage, totals = report.coverage, report.totals
    reasons = []
    if coverage.detectors and len(coverage.detectors_off) >= FEW * coverage.detectors:
        reasons.append(formats.checks(coverage))
    if totals.outcomes and not totals.known_outcomes and not any(one.known for one in report.outcomes):
        reasons.append(NO_OUTCOME)
    return "; ".join(reasons)


def is_first(report: Report) -> bool:
    """Say whether there is no earlier window to compare with; where a report does not say, by its states."""
    if report.first_window is not None:
        return report.first_window
    return all(one.state == "new" for one in report.findings)


def is_open(row: Row, report: Report) -> bool:
    """Say whether a row is shown open: what is severe, new or back; in a first window all is new."""
    severe = any(one.severity in ("critical", "high") for one in (row.lead, *row.symptoms))
    return severe or (not is_first(report) and row.lead.state in ("new", "regressed"))


def open_rows(report: Report) -> int:
    """Count the rows that are shown open."""
    return sum(is_open(row, report) for row in told(report.findings).rows)


def unfolded(report: Report) -> tuple[list[Finding], list[Finding]]:
    """Return the findings that lead the first OPEN_ROWS open rows, and the others, what is resolved last."""
    said = told(report.findings)
    rows = ordered(report, said)
    shown = [row.lead for row in rows if is_open(row, report)][:OPEN_ROWS]
    rest = [one for row in rows for one in (row.lead, *row.symptoms) if one not in shown]
    return shown, [*rest, *said.resolved]


def leading(report: Report, said: Told) -> Finding:
    """Return the finding that the first sentence is about."""
    return ordered(report, said)[0].lead


def ordered(report: Report, said: Told) -> list[Row]:
    """Put what is open first, in the order of the report; of the same severity what is new or back."""
    news = ("new", "regressed", "worsening")
    return sorted(
        said.rows,
        key=lambda row: (
            not is_open(row, report), SEVERITIES.index(row.lead.severity), row.lead.state not in news,
        ),
    )  # fmt: skip


def sentence(finding: Finding, report: Report) -> str:
    """Build the sentence of one finding: since when, what, where, how many, why, and who was told otherwise."""
    since = _since(finding, report)
    calls, place = finding.calls, finding.place
    counted = f"{counted_of(finding)} {noun_of(finding)}"
    title = finding.title
    if calls is not None and title.startswith(named(calls.name)):
        ratio = ratio_of(finding)
        reason = phrases.multiple(ratio) if ratio else calls.error
        what = f"{named(calls.name)} fails" if ratio else short_title(finding) if reason else title
        counted += f" ({reason})" if reason and reason not in what else ""
    else:
        what = title
    if finding.state == "regressed":
        what += " again"
    where = ""
    if place is not None and place.agent and named(place.agent) not in title:
        where = f" in {named(place.agent)}" + (f" {named(place.version)}" if place.version else "")
    elif place is not None and place.version and place.only_version:
        where = f" in {named(place.version)}"
    begins_with_name = finding.source == "detector"
    if since and begins_with_name:
        what = _OUR_WORDS.sub(lambda match: f"{match[0][0].lower()}{match[0][1:]}", what, count=1)
        return f"Since {since} {what}{where}: {counted}{_told(finding)}."
    after = f" since {since}" if since else ""
    return f"{what}{where}: {counted}{after}{_told(finding)}."


def _told(finding: Finding) -> str:
    other = finding.told_otherwise
    if other is None or not other.traces:
        return ""
    if other.users:
        return f"; {formats.plural(other.users, 'user')} {'was' if other.users == 1 else 'were'} told it succeeded"
    return f"; {formats.plural(other.traces, 'answer')} said it succeeded"


def ratio_of(finding: Finding) -> Common | None:
    """Return the ratio that failed calls share."""
    return next((one for one in finding.common if one.kind == "ratio"), None)


def counted_of(finding: Finding) -> str:
    """Write how often: of calls where they are counted, else of the agent's traces, else of all."""
    if finding.calls is not None:
        return f"{finding.calls.affected:,} of {finding.calls.of:,}"
    seen = finding.prevalence
    return f"{seen.traces:,} of {_base(finding):,}"


def _base(finding: Finding) -> int:
    """Return the traces of the agent that all affected traces are of; of several, the one with the most."""
    agent = finding.place.agent if finding.place else None
    every = {
        one.value: one.of
        for one in finding.breakdown
        if one.dimension == "agent" and one.traces == finding.prevalence.traces
    }
    return every.get(agent or "", max(every.values(), default=finding.prevalence.of))


def noun_of(finding: Finding) -> str:
    """Return what `counted_of` counts."""
    if finding.calls is not None:
        return "call" if finding.calls.of == 1 else "calls"
    return "trace" if _base(finding) == 1 else "traces"


def _since(finding: Finding, report: Report) -> str:
    """Return when it began, where that is known: in a first window, where chance does not explain the time before."""
    now = report.window.end
    if finding.state == "regressed" or (finding.state == "new" and not is_first(report)):
        began: int | None = finding.seen_from or finding.first_seen
    elif finding.state == "new":
        shared = next((one.at for one in finding.common if one.kind == "since"), None)
        began = shared or _beginning(finding, report)
    else:
        began = finding.first_seen
    return phrases.moment(began, now_ns=now) if began else ""


def _beginning(finding: Finding, report: Report) -> int | None:
    began = finding.seen_from or finding.first_seen
    iso = iso_nano(began)
    traffic = [(row["start"], row["traces"]) for row in report.totals.timeline if "start" in row and "traces" in row]
    whole = sum(traces for _, traces in traffic)
    # The bucket in which it begins is not counted: what of it came before is not known.
    before = sum(traces for (_, traces), (following, _) in pairwise(traffic) if following <= iso)
    return began if whole and (1 - before / whole) ** finding.prevalence.traces <= BY_CHANCE else None

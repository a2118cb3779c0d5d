"""A failure mode as a ticket of an issue tracker: its text, and the marks by which it is found and kept up to date.

Text of traces, and of a model that read them, stands in fences and code spans that it cannot close: a tracker makes
nothing of it, no link, no mention, no reference. What people write around the block between the marks is theirs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

from halo_worker.display import cut, one_line, visible
from halo_worker.links import Links
from halo_worker.report import formats
from halo_worker.report.answer_markdown import code_span, fenced
from halo_worker.report.fixes import FixCheck
from halo_worker.report.headline import titled
from halo_worker.report.issue import Scope
from halo_worker.report.model import Evidence, Finding, Report

TITLE_CHARACTERS = 200
TEXT_CHARACTERS = 2_000  # of one fenced text
QUOTE_CHARACTERS = 600
SPAN_CHARACTERS = 200  # of one text in a line
MAX_QUOTES = 3
MAX_PLACES = 5
MAX_SYMPTOMS = 20

END = "<!-- /halo:issue -->"
PHRASE = "This text is kept up to date by halo"  # what a search finds tickets by that have lost their label
_MARK = re.compile(
    r"<!-- halo:issue (?P<issue>\S+) state=(?P<state>\w+) report=(?P<report>\S+)(?P<seen>(?: \S*=\w+@\S+)*) -->"
)
_SEEN = re.compile(r"(\S*)=(\w+)@(\S+)")


@dataclass(frozen=True, slots=True)
class Mark:
    """What the text of a ticket says of itself: the issue, what was written last, and what each schedule said last.

    Several schedules may see one failure mode: `seen` is state and report by schedule, empty in tickets of builds that
    knew none.
    """

    issue_id: str
    state: str
    report_id: str
    seen: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def __str__(self) -> str:
        seen = "".join(f" {quote(name, safe='')}={state}@{run_id}" for name, (state, run_id) in self.seen.items())
        return f"<!-- halo:issue {self.issue_id} state={self.state} report={self.report_id}{seen} -->"

    def of(self, scope: Scope) -> tuple[str, str]:
        """Return the state and the report that a schedule wrote last; empty ones where it wrote nothing."""
        return self.seen.get(scope or "", ("", "")) if self.seen else (self.state, self.report_id)

    def after(self, report: Report, state: str) -> Mark:
        """Return the mark once a report has said a state."""
        own = {report.scope or "": (state, report.id)} if report.is_remembered else {}
        return Mark(self.issue_id, state, report.id, {**self.seen, **own})

    @property
    def is_resolved(self) -> bool:
        """Whether no schedule sees it any more."""
        return all(state == "resolved" for state, _ in self.seen.values() or [(self.state, "")])


def mark_of(text: str) -> Mark | None:
    """Return the mark of a ticket; the first counts, for text of traces comes after it."""
    found = _MARK.search(text)
    if found is None:
        return None
    seen = {unquote(name): (state, run_id) for name, state, run_id in _SEEN.findall(found["seen"])}
    return Mark(found["issue"], found["state"], found["report"], seen)


def merged(text: str, block: str) -> str:
    """Put a block in the place of the one that a ticket has, and leave what people wrote around it."""
    found = _MARK.search(text)
    if found is None:
        return block
    end = text.rfind(END)
    rest = text[end + len(END) :] if end >= found.end() else ""
    return text[: found.start()] + block + rest


def remarked(text: str, mark: Mark) -> str:
    """Write another mark into a text that stays as it is."""
    return _MARK.sub(lambda _: str(mark), text, count=1)


def comment_mark(report_id: str, issue_id: str) -> str:
    """Return what a comment begins with, so that it is written once however often a report is sent."""
    return f"<!-- halo:comment {issue_id} report={report_id} -->"


def quoted(text: str, limit: int = TEXT_CHARACTERS) -> str:
    """Write text of at most `limit` characters in a fence that it cannot close."""
    return fenced(cut(visible(text).strip(), limit))


def code(text: str, limit: int = SPAN_CHARACTERS) -> str:
    """Write text on one line in a code span that it cannot close."""
    return code_span(one_line(text, limit) or "–")


def title(finding: Finding) -> str:
    """Write the title of a new ticket. Trackers show it as plain text."""
    return f"{one_line(titled(finding), TITLE_CHARACTERS)} ({finding.issue_id})"


def block(report: Report, finding: Finding, links: Links, before: Mark | None = None) -> str:
    """Write what the ticket says of a finding, from mark to mark; `before` is the mark that it has."""
    mark = (before or Mark(finding.issue_id, "", "")).after(report, finding.state)
    parts = [
        str(mark),
        _summary(report, finding, links) + _by_schedule(mark),
        quoted(finding.description),
        *_section("Where", _places(finding)),
        *_section("Also seen in these traces", [", ".join(finding.symptoms[:MAX_SYMPTOMS])]),
        *_section("Evidence, verbatim from traces", (_quote(one, links) for one in finding.evidence[:MAX_QUOTES])),
        *_section("Cause", [quoted(finding.root_cause)] if finding.root_cause else []),
        *_section("Suggested change", [quoted(finding.fix.summary)]),
        *_section("How to validate it", [quoted(finding.fix.validation)]),
        *_section("Work on it", [_commands(finding)]),
        f"{PHRASE}, report {report.id}. Write above or below it: that stays.",
        END,
    ]
    return "\n\n".join(parts)


def comment(report: Report, finding: Finding, links: Links) -> str:
    """Write what changed, as a comment."""
    return "\n\n".join((comment_mark(report.id, finding.issue_id), _summary(report, finding, links)))


def fix_comment(report: Report, check: FixCheck) -> str:
    """Write that a resolved issue is gone, as a comment."""
    said = f"**resolved**: {code(formats.fix_check(check))}"
    return "\n\n".join((comment_mark(report.id, check.issue_id), said))


def _summary(report: Report, finding: Finding, links: Links) -> str:
    seen = finding.prevalence
    rate = f"{formats.percent(seen.rate)}, 95 % interval {formats.percent(seen.low)} to {formats.percent(seen.high)}"
    change = formats.change(finding)
    target = links.to_report(report.id)
    lines = [
        f"- **{finding.state}**: {code(formats.since(finding))}",
        f"- {seen.traces:,} of {formats.plural(seen.of, 'trace')} ({rate})" + (f"; {change}" if change else ""),
        f"- severity **{finding.severity}**: {code(finding.severity_reason)}",
        f"- first seen {formats.minute(finding.first_seen)}, last seen {formats.minute(finding.last_seen)} (UTC)",
        f"- report {f'[{report.id}]({target})' if target else report.id}",
    ]
    return "\n".join(lines)


def _by_schedule(mark: Mark) -> str:
    if len(mark.seen) < 2:
        return ""
    return "\n- by schedule: " + ", ".join(f"{code(name)} {state}" for name, (state, _) in mark.seen.items())


def _section(heading: str, texts: Iterable[str]) -> Iterator[str]:
    told = [text for text in texts if text]
    if told:
        yield f"### {heading}"
        yield from told


def _places(finding: Finding) -> Iterator[str]:
    places = [item for item in finding.breakdown if item.dimension != "service"][:MAX_PLACES]
    yield "\n".join(f"- {item.dimension} {code(item.value)}: {item.traces:,} of {item.of:,} traces" for item in places)


def _quote(item: Evidence, links: Links) -> str:
    target = links.to_trace(item.trace_id, item.span_id)
    where = f"trace {code(item.trace_id)}, span {code(item.span_id)}, {code(item.field)}"
    return f"{where}{f' ([open]({target}))' if target else ''}\n\n{quoted(item.quote, QUOTE_CHARACTERS)}"


def _commands(finding: Finding) -> str:
    issue = finding.issue_id
    return f"```sh\nhalo issues show {issue}\nhalo cases {issue} --format pytest\nhalo verify {issue}\n```"

"""A failure mode as a ticket of an issue tracker: its text, and the marks by which it is found and kept up to date.

Text of traces, and of a model that read them, stands in fences and code spans that it cannot close: a tracker makes
nothing of it, no link, no mention, no reference. What people write around the block between the marks is theirs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from halo_worker.display import cut, one_line, visible
from halo_worker.links import Links
from halo_worker.report import formats
from halo_worker.report.answer_markdown import code_span, fenced
from halo_worker.report.fixes import FixCheck
from halo_worker.report.headline import titled
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
_MARK = re.compile(r"<!-- halo:issue (?P<issue>\S+) state=(?P<state>\w+) report=(?P<report>\S+) -->")


@dataclass(frozen=True, slots=True)
class Mark:
    """What the text of a ticket says of itself: the issue, and what was written last."""

    issue_id: str
    state: str
    report_id: str

    def __str__(self) -> str:
        return f"<!-- halo:issue {self.issue_id} state={self.state} report={self.report_id} -->"


def mark_of(text: str) -> Mark | None:
    """Return the mark of a ticket; the first counts, for text of traces comes after it."""
    found = _MARK.search(text)
    return Mark(found["issue"], found["state"], found["report"]) if found else None


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


def block(report: Report, finding: Finding, links: Links) -> str:
    """Write what the ticket says of a finding, from mark to mark."""
    parts = [
        str(Mark(finding.issue_id, finding.state, report.id)),
        _summary(report, finding, links),
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

"""The report as Slack's Block Kit, inside every limit for a report of any size.

Source: Slack, "Reference: blocks" and "Reference: composition objects": 50 blocks a message, 150 characters in a
header, 1 to 3,000 in a text object, 10 elements in a context; "chat.postMessage": 40,000 characters of text, of which
4,000 are advised.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any

from halo_worker.display import one_line, visible
from halo_worker.links import NONE, Links
from halo_worker.report import answer_markdown, causes, formats, headline, phrases
from halo_worker.report.causes import Cause
from halo_worker.report.model import Evidence, Finding, Report

MAX_BLOCKS = 50
MAX_HEADER = 150
MAX_TEXT = 3000
MAX_FINDINGS = 10  # in the message itself; the rest is counted
MAX_THREAD = 20  # replies with details; the rest is counted
MAX_TITLE = 300
MAX_SENTENCE = 1000
MAX_QUOTE = 1200
MAX_PART = 2000  # of a description or a fix: a reply stays below the 12,000 characters at which Slack has refused some

_MARKS = {"critical": "🔴", "high": "🟠", "medium": "🟡", "low": "⚪"}
_LINK = re.compile(r"https?://[^\s<>|]{1,2000}")
Block = dict[str, Any]


def cut(text: str, limit: int) -> str:
    """Shorten text to a limit, never in the middle of an escape, and close the fence that is left open."""
    if len(text) <= limit:
        return text
    head = text[: limit - 5]
    ampersand = head.rfind("&")
    if ampersand > len(head) - 6 and ";" not in head[ampersand:]:
        head = head[:ampersand]
    return head + "…" + ("\n```" if head.count("```") % 2 else "")


def _plain(text: str, limit: int = MAX_TEXT, *, names: Collection[str] = ()) -> str:
    """Make text of strangers inert, on one line; names stand in code spans, as they are."""
    return answer_markdown.slack_with_code(one_line(text, limit), names)


def _lines(text: str, names: Collection[str] = ()) -> str:
    return answer_markdown.slack_with_code(visible(text), names).strip()


def _names(findings: Iterable[Finding]) -> set[str]:
    """Return the tools, agents, models and versions that findings name."""
    found: set[str | None] = set()
    for one in findings:
        found |= {item.value for item in one.breakdown if item.dimension != "service"}
        found |= {one.calls.name if one.calls else None, *((p.tool, p.agent, p.version) if (p := one.place) else ())}
    return {name for name in found if name and re.search(r"[A-Za-z]", name)}  # a version of digits could be any number


def _section(text: str, limit: int = MAX_TEXT) -> Block:
    # verbatim: Slack makes no links of what looks like one, or like a channel.
    shown = cut(text.strip(), limit) or "–"
    return {"type": "section", "text": {"type": "mrkdwn", "text": shown, "verbatim": True}}


def _fallback(text: str) -> str:
    """Return the text of a message where its blocks are not shown; Slack takes no empty one."""
    return cut(answer_markdown.slack_escaped(one_line(text)), MAX_TEXT) or "–"


def _context(*texts: str) -> Block:
    elements = [{"type": "mrkdwn", "text": cut(text, MAX_TEXT), "verbatim": True} for text in texts if text]
    return {"type": "context", "elements": elements}


def message(
    report: Report, *, links: Links = NONE, known_ids: Collection[str] | None = None
) -> tuple[str, list[Block]]:
    """Return the fallback text and the blocks of the message: the first sentence, the causes, and the way on.

    `known_ids` are those ids of the answer that the window has; others are marked.
    """
    window = f"{formats.minute(report.window.start)} – {formats.minute(report.window.end)} UTC"
    title = f"{report.schedule}: {window}" if report.schedule else f"Failure modes, {window}"
    if report.alert is not None:
        title = f"{'Over' if report.alert.what == 'over' else 'Alert'}: {report.alert.name}"
    sentence, names = headline.headline(report), _names(report.findings)
    blocks: list[Block] = [
        {"type": "header", "text": {"type": "plain_text", "text": one_line(title, MAX_HEADER)}},
        _section(_plain(sentence, MAX_SENTENCE, names=names), MAX_SENTENCE),
    ]
    if partial := formats.partial(report):
        blocks.append(_section(f"⚠️ {_plain(partial)}"))
    if report.prompt:
        blocks.append(_section(f"*{_plain(report.prompt, 500)}*"))
        blocks.append(
            _section(answer_markdown.to_slack(report.answer, known_ids) if report.answer else "No answer was reached.")
        )
    first = causes.causes(report, limit=max(causes.CAUSES, min(MAX_FINDINGS, headline.open_rows(report))))
    blocks += [_section(_line(cause, names, links)) for cause in first]
    blocks.append(
        _context(
            cut(_plain(causes.remainder(report, first), MAX_TITLE, names=names), MAX_TITLE),
            _plain(causes.counts(report)),
        )
    )
    target = _target(report.alert.link if report.alert else links.to_report(report.id))
    if target:
        button = {"type": "plain_text", "text": "Open issue" if report.alert else "Open report"}
        blocks.append({"type": "actions", "elements": [{"type": "button", "text": button, "url": target}]})
    way = f"<{target}|Full report>" if target and not report.alert else ""
    blocks.append(_context(way, _plain(f"report {report.id}"), _plain(formats.engine(report))))
    blocks = [block for block in blocks if block.get("elements") != []]
    return _fallback(sentence), blocks[:MAX_BLOCKS]


def _target(url: str | None) -> str | None:
    """Return an address that Slack takes: an http one of 3,000 characters at most, without marks."""
    return url if url and _LINK.fullmatch(url) else None


def _line(cause: Cause, names: Collection[str], links: Links) -> str:
    finding = cause.finding
    title = cut(_plain(cause.title, MAX_TITLE, names=names), MAX_TITLE)
    lines = [
        f"{_MARKS[finding.severity]} {title}",
        f"{finding.severity} · {cut(_plain(cause.line, MAX_TITLE, names=names), MAX_TITLE)} · {_issue(finding, links)}",
    ]
    if cause.symptoms:
        lines.append(f"also seen as: {cut(_plain('; '.join(cause.symptoms), MAX_TITLE, names=names), MAX_TITLE)}")
    return "\n".join(lines)


def _issue(finding: Finding, links: Links) -> str:
    target = _target(links.to_issue(finding.issue_id))
    return f"<{target}|{_plain(finding.issue_id)}>" if target else _plain(finding.issue_id)


def detail(report: Report, finding: Finding, *, links: Links = NONE) -> tuple[str, list[Block]]:
    """Return one finding as a reply in the thread."""
    names = _names([finding])
    title = cut(_plain(headline.titled(finding), MAX_TITLE, names=names), MAX_TITLE)
    seen = finding.prevalence
    shared = [f"• {_plain(phrases.in_common(one, now_ns=report.window.end), names=names)}" for one in finding.common]
    blocks = [
        _section(f"{_MARKS[finding.severity]} {title}\n{_lines(finding.description, names)}", MAX_PART),
        _context(
            cut(_plain(f"{finding.severity}: {finding.severity_reason}"), MAX_TITLE),
            _plain(formats.since(finding)),
            _plain(f"95 % interval {formats.percent(seen.low)} to {formats.percent(seen.high)}"),
        ),
    ]
    if shared:
        blocks.append(_section("\n".join(("What these have in common", *shared)), MAX_PART))
    for item in finding.evidence[:2]:
        quote = cut(answer_markdown.slack_escaped(visible(item.quote).replace("```", "ˋˋˋ")), MAX_QUOTE)
        blocks.append(_section(f"```\n{quote}\n```\n{_span(item, links)}"))
    for label, said in (("Fix", finding.fix.summary), ("How to verify", finding.fix.validation)):
        if said:
            blocks.append(_section(f"*{label}.* {_lines(said, names)}", MAX_PART))
    return _fallback(headline.titled(finding)), blocks


def _span(item: Evidence, links: Links) -> str:
    trace, target = _plain(item.trace_id, 100), _target(links.to_trace(item.trace_id, item.span_id))
    return f"trace {f'<{target}|{trace}>' if target else trace} span {_plain(item.span_id, 100)}"


def remainder(findings: int) -> tuple[str, list[Block]] | None:
    """Return the last reply, where more findings are there than replies; None where all were told."""
    if findings <= MAX_THREAD:
        return None
    text = f"… and {findings - MAX_THREAD:,} more in the report."
    return text, [_section(text)]

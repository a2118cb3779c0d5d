"""The report as Slack's Block Kit, inside every limit for a report of any size.

Source: Slack, "Reference: blocks" and "Reference: composition objects": 50 blocks a message, 150 characters in a
header, 1 to 3,000 in a text object, 10 elements in a context; "chat.postMessage": 40,000 characters of text, of which
4,000 are advised.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from halo_worker.display import one_line, visible
from halo_worker.report import prose, words
from halo_worker.report.model import Finding, Report
from halo_worker.report.rows import told

MAX_BLOCKS = 50
MAX_HEADER = 150
MAX_TEXT = 3000
MAX_FINDINGS = 10  # in the message itself; the rest is counted
MAX_THREAD = 20  # replies with details; the rest is counted
MAX_TITLE = 300
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


def _plain(text: str, limit: int = MAX_TEXT) -> str:
    """Make text of strangers inert, on one line."""
    return prose.slack_text(one_line(text, limit))


def _lines(text: str) -> str:
    return prose.slack_text(visible(text)).strip()


def _section(text: str, limit: int = MAX_TEXT) -> Block:
    # verbatim: Slack makes no links of what looks like one, or like a channel.
    shown = cut(text.strip(), limit) or "–"
    return {"type": "section", "text": {"type": "mrkdwn", "text": shown, "verbatim": True}}


def _context(*texts: str) -> Block:
    elements = [{"type": "mrkdwn", "text": cut(text, MAX_TEXT), "verbatim": True} for text in texts if text]
    return {"type": "context", "elements": elements}


def message(
    report: Report, *, link: str | None = None, known_ids: Collection[str] | None = None
) -> tuple[str, list[Block]]:
    """Return the fallback text and the blocks of the message: the answer first, then findings, then the way on.

    `known_ids` are those ids of the answer that the window has; others are marked.
    """
    window = f"{words.minute(report.window.start)} – {words.minute(report.window.end)} UTC"
    title = f"{report.schedule}: {window}" if report.schedule else f"Failure modes, {window}"
    headline = words.headline(report)
    blocks: list[Block] = [
        {"type": "header", "text": {"type": "plain_text", "text": one_line(title, MAX_HEADER)}},
        _section(f"*{_plain(headline)}*"),
    ]
    if partial := words.partial(report):
        blocks.append(_section(f"⚠️ {_plain(partial)}"))
    if report.prompt:
        blocks.append(_section(f"*{_plain(report.prompt, 500)}*"))
        blocks.append(_section(prose.to_slack(report.answer, known_ids) if report.answer else "No answer was reached."))
    findings = told(report.findings).findings
    blocks += [_section(_line(finding)) for finding in findings[:MAX_FINDINGS]]
    if len(findings) > MAX_FINDINGS:
        blocks.append(_section(f"… and {len(findings) - MAX_FINDINGS:,} more in the report."))
    way = f"<{link}|Full report>" if link and _LINK.fullmatch(link) else ""
    blocks.append(_context(way, _plain(f"report {report.id}"), _plain(words.engine(report))))
    return cut(prose.slack_escaped(one_line(headline)), MAX_TEXT), blocks[:MAX_BLOCKS]


def _line(finding: Finding) -> str:
    seen = finding.prevalence
    counted = "" if finding.state == "resolved" else f" · {seen.traces:,} of {seen.of:,} traces"
    return (
        f"{_MARKS[finding.severity]} *{cut(_plain(finding.title), MAX_TITLE)}*\n"
        f"{_plain(words.since(finding))}{counted} · {_plain(finding.issue_id)}"
    )


def detail(finding: Finding) -> tuple[str, list[Block]]:
    """Return one finding as a reply in the thread."""
    title = cut(_plain(finding.title), MAX_TITLE)
    blocks = [
        _section(f"{_MARKS[finding.severity]} *{title}*\n{_lines(finding.description)}", MAX_PART),
        _context(
            cut(_plain(f"{finding.severity}: {finding.severity_reason}"), MAX_TITLE),
            _plain(
                f"95 % interval {words.percent(finding.prevalence.low)} to {words.percent(finding.prevalence.high)}"
            ),
        ),
    ]
    for item in finding.evidence[:2]:
        quote = cut(prose.slack_escaped(visible(item.quote).replace("```", "ˋˋˋ")), MAX_QUOTE)
        where = f"trace {_plain(item.trace_id, 100)} span {_plain(item.span_id, 100)}"
        blocks.append(_section(f"```\n{quote}\n```\n{where}"))
    blocks.append(_section(f"*Fix.* {_lines(finding.fix.summary)}", MAX_PART))
    blocks.append(_section(f"*How to see that it helped.* {_lines(finding.fix.validation)}", MAX_PART))
    return cut(_plain(finding.title), MAX_TEXT) or "–", blocks


def remainder(findings: int) -> tuple[str, list[Block]] | None:
    """Return the last reply, where more findings are there than replies; None where all were told."""
    if findings <= MAX_THREAD:
        return None
    text = f"… and {findings - MAX_THREAD:,} more in the report."
    return text, [_section(text)]

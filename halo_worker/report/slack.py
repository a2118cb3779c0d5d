"""The report as Slack's Block Kit, inside every limit for a report of any size.

Source: Slack, "Reference: blocks": 50 blocks a message, 150 characters in a header, 3,000 in a section's text,
10 elements in a context.
"""

from __future__ import annotations

import re
from typing import Any

from halo_worker.report import words
from halo_worker.report.model import Finding, Report

MAX_BLOCKS = 50
MAX_HEADER = 150
MAX_TEXT = 3000
MAX_FINDINGS = 10  # in the message itself; the rest is counted
MAX_THREAD = 20  # replies with details

_MARKS = {"critical": "🔴", "high": "🟠", "medium": "🟡", "low": "⚪"}
_LINK = re.compile(r"https?://[^\s<>|]{1,2000}")
Block = dict[str, Any]


def escaped(text: str) -> str:
    """Make text inert for Slack: no links, mentions or markup of its own."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def cut(text: str, limit: int) -> str:
    """Shorten text to a limit, never in the middle of an escape."""
    if len(text) <= limit:
        return text
    head = text[: limit - 1]
    ampersand = head.rfind("&")
    if ampersand > len(head) - 6 and ";" not in head[ampersand:]:
        head = head[:ampersand]
    return head + "…"


def _plain(text: str) -> str:
    return " ".join(escaped(text).replace("*", "∗").replace("_", "ˍ").replace("`", "ˋ").replace("~", "∼").split())


def _section(text: str) -> Block:
    return {"type": "section", "text": {"type": "mrkdwn", "text": cut(text, MAX_TEXT) or "–"}}


def message(report: Report, *, link: str | None = None) -> tuple[str, list[Block]]:
    """Return the fallback text and the blocks of the message."""
    title = f"Failure modes {words.minute(report.window.start)} – {words.minute(report.window.end)} UTC"
    headline = words.headline(report)
    blocks: list[Block] = [
        {"type": "header", "text": {"type": "plain_text", "text": cut(title, MAX_HEADER), "emoji": True}},
        _section(f"*{_plain(headline)}*"),
    ]
    if report.status != "complete":
        blocks.append(_section(f"This report is {report.status}: stopped by {report.stopped_by or 'an error'}."))
    if report.answer:
        blocks.append(_section(f"*{_plain(report.prompt or '')[:500]}*\n{escaped(report.answer)}"))
    blocks += [
        _section(
            f"{_MARKS[finding.severity]} *{_plain(finding.title)[:300]}*\n"
            f"{_plain(words.since(finding))} · {finding.issue_id}"
        )
        for finding in report.findings[:MAX_FINDINGS]
    ]
    if len(report.findings) > MAX_FINDINGS:
        blocks.append(_section(f"… and {len(report.findings) - MAX_FINDINGS} more in the report."))
    context = f"<{link}|Full report>" if link and _LINK.fullmatch(link) else f"report {report.id}"
    blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": cut(context, MAX_TEXT)}]})
    return cut(escaped(headline), MAX_TEXT), blocks[:MAX_BLOCKS]


def detail(finding: Finding) -> tuple[str, list[Block]]:
    """Return one finding as a reply in the thread."""
    blocks = [_section(f"{_MARKS[finding.severity]} *{_plain(finding.title)[:300]}*\n{escaped(finding.description)}")]
    for item in finding.evidence[:2]:
        quote = escaped(item.quote.replace("```", "ˋˋˋ"))
        blocks.append(_section(f"```{cut(quote, 1500)}```\ntrace `{item.trace_id}` span `{item.span_id}`"))
    blocks.append(_section(f"*Fix.* {escaped(finding.fix.summary)}\n*Validate.* {escaped(finding.fix.validation)}"))
    return cut(escaped(finding.title), MAX_TEXT), blocks

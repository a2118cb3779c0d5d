"""The report for terminals, pull requests and coding agents."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from halo_worker.display import named, one_line, visible
from halo_worker.links import NONE, Links
from halo_worker.report import answer_markdown, briefs, causes, formats, headline, phrases
from halo_worker.report.model import Contrast, Evidence, Finding, Report
from halo_worker.report.rows import told

MAX_QUOTE_LINES = 12
MAX_TEXT = 4000  # of one description; report.json holds it whole

# An underscore within a word opens no emphasis (CommonMark 6.2), and names of tools and traces are full of them.
_ACTIVE = re.compile(r"([\\`*\[\]<|#~]|^>|(?<![^\W_])_|_(?![^\W_]))")


def escaped(text: str) -> str:
    """Make text of strangers inert in Markdown, on one line."""
    return _ACTIVE.sub(r"\\\1", one_line(text, MAX_TEXT)).replace("&", "&amp;")


def _fenced(text: str) -> str:
    """Put a quote in a fence that it cannot close."""
    lines = visible(text).splitlines()
    if len(lines) > MAX_QUOTE_LINES:
        lines = [*lines[:MAX_QUOTE_LINES], "…"]
    return answer_markdown.fenced("\n".join(lines))


def _id(text: str) -> str:
    """Write an id: those of imported files may be anything."""
    return answer_markdown.code_span(one_line(text, 100))


def _linked(text: str, target: str | None) -> str:
    return f"[{_id(text)}](<{target}>)" if target else _id(text)


def _quote(item: Evidence, links: Links) -> str:
    trace = _linked(item.trace_id, links.to_trace(item.trace_id, item.span_id))
    return f"{trace} / {_id(item.span_id)} · {escaped(item.field)}\n\n{_fenced(item.quote)}"


def render_markdown(
    report: Report, *, known_ids: Collection[str] | None = None, links: Links = NONE, folder: Path | None = None
) -> str:
    """Write the whole report. `known_ids` are those ids of the answer that the window has; others are marked.

    `folder`: where the report lies, for links that open a coding agent on a brief there.
    """
    window = f"{formats.minute(report.window.start)} – {formats.minute(report.window.end)} UTC"
    lines = [f"# {escaped(headline.headline(report))}", "", *_causes(report)]
    lines += [f"{escaped(causes.counts(report))}  ", f"{window}{_of(report)}", ""]
    if partial := formats.partial(report):
        lines += [f"> {partial}", ""]
    if report.prompt:
        lines += [f"## Question\n\n{escaped(report.prompt)}", "", "## Answer", ""]
    if report.answer:
        lines += [answer_markdown.to_markdown(report.answer, known_ids), ""]
    elif report.prompt:
        lines += ["No answer was reached.", ""]
    lines += _overview(report)
    shown, folded = headline.unfolded(report)
    titles = {item.issue_id: headline.titled(item) for item in report.findings}
    for number, item in enumerate(shown, 1):
        lines += _finding(number, item, report, titles, links)
        lines += _open_with(item, folder)
    lines += _folded(folded)
    lines += _fixes(report)
    lines += _set_aside(report, links)
    lines += _contrasts(report)
    lines += _account(report)
    return "\n".join(lines).rstrip() + "\n"


def _of(report: Report) -> str:
    return f" · schedule {escaped(named(report.schedule))}" if report.schedule else ""


def _causes(report: Report) -> list[str]:
    """Write the causes in a line or two each, and what they leave out."""
    first = causes.causes(report)
    lines = []
    for number, item in enumerate(first, 1):
        lines += [f"{number}. **{escaped(item.title)}**  ", f"   {escaped(item.line)}"]
        if item.symptoms:
            lines[-1] += "  "
            lines.append(f"   also seen as: {escaped('; '.join(item.symptoms))}")
    if left := causes.remainder(report, first):
        lines += ["", escaped(left)]
    return [*lines, ""] if lines else []


def _overview(report: Report) -> list[str]:
    """Write the table of all that is going on; without any, why not."""
    if not report.totals.traces:
        return ["Either no agent ran, or nothing is being received: `halo doctor` says which.", ""]
    said = told(report.findings)
    if not said.findings and not said.muted:
        return [f"{escaped(formats.nothing(report))}", ""]
    lines: list[str] = []
    if said.findings:
        lines += ["| severity | failure mode | affected | state | issue |", "|---|---|---|---|---|"]
        lines += [
            f"| {item.severity} | {escaped(headline.titled(item))} | {item.prevalence.traces} of {item.prevalence.of} "
            f"| {item.state} | {item.issue_id} |"
            for item in said.findings
        ]
        lines.append("")
    if said.muted:
        muted = "; ".join(
            f"{escaped(headline.titled(row.lead))} "
            f"({row.lead.issue_id}, {formats.plural(row.lead.prevalence.traces, 'trace')})"
            for row in said.muted
        )
        lines += [f"Muted: {muted}", ""]
    return lines


def _folded(findings: Sequence[Finding]) -> list[str]:
    """Write what is neither new, back nor severe in two lines each."""
    lines = ["## Folded: ongoing or lower", ""] if findings else []
    for item in findings:
        lines += [
            f"- **{escaped(headline.titled(item))}** ({item.issue_id}): {escaped(formats.since(item))}. "
            f"{escaped(item.fix.summary)}"
        ]
    return [*lines, ""] if lines else []


def _set_aside(report: Report, links: Links) -> list[str]:
    """Write what a model looked at and does not take for a failure, with its quotes."""
    lines = ["## Looked at and set aside", ""] if report.set_aside else []
    for item in report.set_aside:
        lines += [f"- {escaped(formats.set_aside(item))}", ""]
        lines += [f"{_quote(evidence, links)}\n" for evidence in item.evidence]
    return lines


def _finding(number: int, item: Finding, report: Report, titles: Mapping[str, str], links: Links) -> list[str]:
    prevalence = item.prevalence
    lines = [
        f"## {number}. {escaped(headline.titled(item))}",
        "",
        f"**{item.severity}** · {formats.since(item)} · {_linked(item.issue_id, links.to_issue(item.issue_id))} · "
        f"{escaped(item.category)} · "
        f"confidence {item.confidence:.2f}",
        "",
        escaped(item.description),
        "",
        f"- Traces: {prevalence.traces:,} of {prevalence.of:,}, {formats.percent(prevalence.rate)} "
        f"(95 % interval {formats.percent(prevalence.low)} to {formats.percent(prevalence.high)})",
        f"- Severity: {escaped(item.severity_reason)}",
    ]
    if released := formats.released(item):
        lines.append(f"- Releases: {escaped(released)}")
    concentrated = [b for b in item.breakdown if b.dimension in ("agent", "model", "version", "tool")][:4]
    if concentrated:
        where = "; ".join(f"{b.dimension} {escaped(named(b.value))} {b.traces} of {b.of}" for b in concentrated)
        lines.append(f"- Where: {where}")
    if item.common:
        lines.append("- What these have in common:")
        lines += [f"  - {escaped(phrases.in_common(one, now_ns=report.window.end))}" for one in item.common]
    if item.impact is not None:
        lines.append(f"- Impact: {formats.impact(item.impact)}")
    if item.origin_span and item.symptom_span and item.origin_span != item.symptom_span:
        lines.append(
            f"- Caused by span {_id(item.origin_span.span_id)}, shown in span {_id(item.symptom_span.span_id)}"
        )
    if item.seen_with:
        others = "; ".join(f"{escaped(titles[other])} ({other})" for other in item.seen_with if other in titles)
        lines.append(f"- Seen in the same traces, possibly the same cause: {others}")
    if item.root_cause:
        lines.append(f"- {formats.cause_label(item)}: {escaped(item.root_cause)}")
    if found := formats.how_found(item):
        lines.append(f"- How it was found: {escaped(found)}")
    for label, text in (("Fix", item.fix.summary), ("How to verify", item.fix.validation)):
        lines += ["", f"**{label}.** {escaped(text)}"] if text else []
    lines.append("")
    if item.evidence:
        lines += ["**Evidence**", "", *(f"{_quote(evidence, links)}\n" for evidence in item.evidence)]
    if item.counter_evidence:
        lines += ["**Counter-evidence**", "", *(f"{_quote(evidence, links)}\n" for evidence in item.counter_evidence)]
    return lines


def _open_with(item: Finding, folder: Path | None) -> list[str]:
    agents = briefs.open_with(item, folder)
    told = ", ".join(f"[{title}](<{url}>)" for title, url in agents.items())
    return [f"Open [the brief](<{briefs.file_of(item.issue_id)}>) in {told}.", ""] if agents else []


def _fixes(report: Report) -> list[str]:
    """Write what became of the issues that a person resolved."""
    lines = [f"- **{escaped(one.title)}** ({one.issue_id}): {escaped(formats.fix_check(one))}" for one in report.fixes]
    return ["## Fixes checked", "", *lines, ""] if lines else []


def _contrasts(report: Report) -> list[str]:
    lines: list[str] = []
    for outcome in report.outcomes:
        rows = [item for item in report.contrasts if item.outcome == outcome.source]
        if not rows:
            continue
        lines += [
            f"{outcome.failed:,} of {outcome.known:,} traces failed by {escaped(outcome.source)}: "
            f"{escaped(outcome.note)}. {formats.plural(outcome.tested, 'value')} compared.",
            "",
            "| | value | failed with it | without it | ratio | of all failures | q |",
            "|---|---|---|---|---|---|---|",
            *(_contrast(item) for item in rows),
            "",
        ]
    if report.totals.traces and report.outcomes and not report.totals.known_outcomes:
        return ["## What correlates with failure", "", f"Nothing was compared: {escaped(report.outcomes[0].note)}.", ""]
    return ["## What correlates with failure", "", *lines] if lines else []


def _contrast(item: Contrast) -> str:
    ratio = "only here" if item.risk_ratio is None else f"× {item.risk_ratio:.1f}"
    return (
        f"| {escaped(item.dimension)} | {escaped(item.value)} "
        f"| {formats.percent(item.rate)} ({item.failed} of {item.of}) "
        f"| {formats.percent(item.rest_rate)} ({item.rest_failed} of {item.rest_of}) | {ratio} "
        f"| {formats.percent(item.support)} | {formats.chance(item.q_value)} |"
    )


def _account(report: Report) -> list[str]:
    totals, coverage = report.totals, report.coverage
    lines: list[str] = (
        []
        if not totals.traces
        else [
            "## Totals",
            "",
            f"{formats.plural(totals.traces, 'trace')}, {formats.plural(totals.spans, 'span')}, "
            f"{formats.plural(totals.error_traces, 'trace')} with errors, "
            f"{formats.short(totals.input_tokens)} input and {formats.short(totals.output_tokens)} output tokens, "
            f"{formats.dollars(totals.cost_usd)}; p50 {formats.duration(totals.duration_p50_ns)}, "
            f"p95 {formats.duration(totals.duration_p95_ns)}.",
            "",
        ]
    )
    if totals.by_agent:
        lines += ["| agent | traces | with errors | tokens | cost | p95 |", "|---|---|---|---|---|---|"]
        lines += [
            f"| {escaped(g.name)} | {g.traces} | {g.error_traces} "
            f"| {formats.short(g.input_tokens + g.output_tokens)} | {formats.dollars(g.cost_usd)} "
            f"| {formats.duration(g.duration_p95_ns)} |"
            for g in totals.by_agent
        ]
        lines.append("")
    lines += ["## Coverage", ""]
    lines.append(
        f"- {coverage.traces_examined:,} of {formats.plural(coverage.traces, 'trace')} examined, "
        f"{formats.plural(coverage.spans, 'span')}"
    )
    if coverage.detectors:
        lines.append(f"- {escaped(formats.checks(coverage))}")
    lines += [f"- Skipped: {escaped(item)}" for item in coverage.not_examined] or ["- Nothing was skipped"]
    lines += [f"- Left out: {escaped(formats.left_out(item))}" for item in report.left_out]
    lines += [f"- Not captured: {escaped(item)}" for item in coverage.unsupported]
    if report.rejected.citations or report.rejected.findings:
        lines.append(
            "- Dropped because verification failed: "
            f"{formats.plural(report.rejected.findings, 'finding')}, "
            f"{formats.plural(report.rejected.citations, 'quote')}"
        )
    used = f"- This run: {escaped(formats.engine(report))}"
    if report.engine.route:
        used += f" Route {escaped(report.engine.route)}: {escaped(report.engine.route_reason or 'as asked')}."
    return [*lines, used, f"- Report {report.id}", ""]

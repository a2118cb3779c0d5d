"""The report for terminals, pull requests and coding agents."""

from __future__ import annotations

import re

from halo_worker.report import words
from halo_worker.report.model import Evidence, Finding, Report

MAX_QUOTE_LINES = 12

_ACTIVE = re.compile(r"([\\`*_\[\]<>|#])")


def escaped(text: str) -> str:
    """Make text of strangers inert in Markdown, on one line."""
    return _ACTIVE.sub(r"\\\1", " ".join(text.split()))


def _fenced(text: str) -> str:
    """Put a quote in a fence that it cannot close."""
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * max(3, longest + 1)
    lines = text.splitlines()
    if len(lines) > MAX_QUOTE_LINES:
        lines = [*lines[:MAX_QUOTE_LINES], "…"]
    return "\n".join((f"{fence}text", *lines, fence))


def _quote(item: Evidence) -> str:
    return f"`{item.trace_id}` / `{item.span_id}` · {escaped(item.field)}\n\n{_fenced(item.quote)}"


def brief(finding: Finding) -> str:
    """Return what a coding agent needs to fix one finding."""
    return finding.fix.brief


def render_markdown(report: Report) -> str:
    """Write the whole report."""
    window = f"{words.minute(report.window.start)} – {words.minute(report.window.end)} UTC"
    lines = [f"# Failure modes, {window}", "", f"**{words.headline(report)}**", ""]
    if report.status != "complete":
        lines += [
            f"> This report is {report.status}"
            + (f": stopped by {report.stopped_by}" if report.stopped_by else "")
            + ".",
            "",
        ]
    if report.prompt:
        lines += [
            f"## Question\n\n{escaped(report.prompt)}",
            "",
            "## Answer",
            "",
            report.answer or "No answer was reached.",
            "",
        ]
    if report.findings:
        lines += ["| | severity | failure mode | traces | state |", "|---|---|---|---|---|"]
        lines += [
            f"| {number} | {item.severity} | {escaped(item.title)} | {item.prevalence.traces} of {item.prevalence.of} "
            f"| {item.state} |"
            for number, item in enumerate(report.findings, 1)
        ]
        lines.append("")
    for number, item in enumerate(report.findings, 1):
        lines += _finding(number, item)
    lines += _account(report)
    return "\n".join(lines).rstrip() + "\n"


def _finding(number: int, item: Finding) -> list[str]:
    prevalence = item.prevalence
    lines = [
        f"## {number}. {escaped(item.title)}",
        "",
        f"**{item.severity}** · {words.since(item)} · {item.issue_id} · {item.category} · "
        f"confidence {item.confidence:.2f}",
        "",
        escaped(item.description),
        "",
        f"- Traces: {prevalence.traces:,} of {prevalence.of:,}, {words.percent(prevalence.rate)} "
        f"(95 % interval {words.percent(prevalence.low)} to {words.percent(prevalence.high)})",
        f"- Severity: {item.severity_reason}",
    ]
    concentrated = [b for b in item.breakdown if b.dimension in ("agent", "model", "version", "tool")][:4]
    if concentrated:
        where = "; ".join(f"{b.dimension} {escaped(b.value)} {b.traces} of {b.of}" for b in concentrated)
        lines.append(f"- Where: {where}")
    if item.origin_span and item.symptom_span and item.origin_span != item.symptom_span:
        lines.append(f"- Caused by span `{item.origin_span.span_id}`, shown in span `{item.symptom_span.span_id}`")
    if item.root_cause:
        lines.append(f"- Cause: {escaped(item.root_cause)}")
    lines += [
        "",
        f"**Fix.** {escaped(item.fix.summary)}",
        "",
        f"**How to see that it helped.** {escaped(item.fix.validation)}",
        "",
    ]
    if item.evidence:
        lines += ["**Evidence**", "", *(f"{_quote(evidence)}\n" for evidence in item.evidence)]
    if item.counter_evidence:
        lines += ["**Counter-evidence**", "", *(f"{_quote(evidence)}\n" for evidence in item.counter_evidence)]
    return lines


def _account(report: Report) -> list[str]:
    totals, engine, coverage = report.totals, report.engine, report.coverage
    lines = [
        "## Totals",
        "",
        f"{words.plural(totals.traces, 'trace')}, {words.plural(totals.spans, 'span')}, "
        f"{words.plural(totals.error_traces, 'trace')} with errors, "
        f"{words.short(totals.input_tokens)} input and {words.short(totals.output_tokens)} output tokens, "
        f"{words.dollars(totals.cost_usd)}; half of the traces under {words.duration(totals.duration_p50_ns)}, "
        f"95 % under {words.duration(totals.duration_p95_ns)}.",
        "",
    ]
    if totals.by_agent:
        lines += ["| agent | traces | with errors | tokens | cost | p95 |", "|---|---|---|---|---|---|"]
        lines += [
            f"| {escaped(g.name)} | {g.traces} | {g.error_traces} | {words.short(g.input_tokens + g.output_tokens)} | "
            f"{words.dollars(g.cost_usd)} | {words.duration(g.duration_p95_ns)} |"
            for g in totals.by_agent
        ]
        lines.append("")
    lines += ["## What was and was not looked at", ""]
    lines.append(f"- {coverage.traces_examined:,} of {coverage.traces:,} traces, {coverage.spans:,} spans")
    lines += [f"- Not examined: {escaped(item)}" for item in coverage.not_examined]
    lines += [f"- Not supported by the capture: {escaped(item)}" for item in coverage.unsupported]
    if report.rejected.citations or report.rejected.findings:
        lines.append(
            "- Dropped because they did not stand up to the data: "
            f"{words.plural(report.rejected.findings, 'finding')}, "
            f"{words.plural(report.rejected.citations, 'quote')}"
        )
    used = f"- This run: {engine.mode}, {engine.seconds:.1f} s"
    if engine.mode == "rlm":
        used += (
            f", {engine.model}, {engine.turns} turns, {engine.model_calls} model calls, "
            f"{words.short(engine.input_tokens)} input and {words.short(engine.output_tokens)} output tokens, "
            f"{words.dollars(engine.cost_usd)}"
        )
    return [*lines, used, f"- Report {report.id}", ""]

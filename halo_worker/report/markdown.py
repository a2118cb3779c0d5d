"""The report for terminals, pull requests and coding agents."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from halo_worker.display import named, one_line, visible
from halo_worker.report import prose, words
from halo_worker.report.model import Contrast, Evidence, Finding, Report
from halo_worker.report.rows import Told, told

MAX_QUOTE_LINES = 12
MAX_TEXT = 4000  # of one description; report.json holds it whole

_ACTIVE = re.compile(r"([\\`*_\[\]<>|#~])")


def escaped(text: str) -> str:
    """Make text of strangers inert in Markdown, on one line."""
    return _ACTIVE.sub(r"\\\1", one_line(text, MAX_TEXT)).replace("&", "&amp;")


def _fenced(text: str) -> str:
    """Put a quote in a fence that it cannot close."""
    text = visible(text)
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * max(3, longest + 1)
    lines = text.splitlines()
    if len(lines) > MAX_QUOTE_LINES:
        lines = [*lines[:MAX_QUOTE_LINES], "…"]
    return "\n".join((f"{fence}text", *lines, fence))


def _id(text: str) -> str:
    """Write an id: those of imported files may be anything."""
    return prose.code_span(one_line(text, 100))


def _quote(item: Evidence) -> str:
    return f"{_id(item.trace_id)} / {_id(item.span_id)} · {escaped(item.field)}\n\n{_fenced(item.quote)}"


def render_markdown(report: Report, *, known_ids: Collection[str] | None = None) -> str:
    """Write the whole report. `known_ids` are those ids of the answer that the window has; others are marked."""
    window = f"{words.minute(report.window.start)} – {words.minute(report.window.end)} UTC"
    lines = [f"# Failure modes, {window}", "", f"**{escaped(words.headline(report))}**", ""]
    if partial := words.partial(report):
        lines += [f"> {partial}", ""]
    if report.prompt:
        lines += [f"## Question\n\n{escaped(report.prompt)}", "", "## Answer", ""]
    if report.answer:
        lines += [prose.to_markdown(report.answer, known_ids), ""]
    elif report.prompt:
        lines += ["No answer was reached.", ""]
    said = told(report.findings)
    lines += _overview(report, said)
    titles = {item.issue_id: item.title for item in report.findings}
    for number, item in enumerate(said.findings, 1):
        lines += _finding(number, item, titles)
    lines += _contrasts(report)
    lines += _account(report)
    return "\n".join(lines).rstrip() + "\n"


def _overview(report: Report, said: Told) -> list[str]:
    """Write the table of what is going on; without any, why not."""
    if not report.totals.traces:
        return ["Either no agent ran, or nothing is being received: `halo doctor` says which.", ""]
    if not said.findings and not said.muted:
        examined = words.plural(report.coverage.traces_examined, "trace")
        return [f"Nothing to report: {examined} were examined, and no failure mode was found in them.", ""]
    lines: list[str] = []
    if said.findings:
        lines += ["| | severity | failure mode | traces | state |", "|---|---|---|---|---|"]
        lines += [
            f"| {number} | {item.severity} | {escaped(item.title)} | {item.prevalence.traces} of {item.prevalence.of} "
            f"| {item.state} |"
            for number, item in enumerate(said.findings, 1)
        ]
        lines.append("")
    if said.muted:
        muted = "; ".join(
            f"{escaped(row.lead.title)} ({row.lead.issue_id}, {words.plural(row.lead.prevalence.traces, 'trace')})"
            for row in said.muted
        )
        lines += [f"Muted: {muted}", ""]
    return lines


def _finding(number: int, item: Finding, titles: Mapping[str, str]) -> list[str]:
    prevalence = item.prevalence
    lines = [
        f"## {number}. {escaped(item.title)}",
        "",
        f"**{item.severity}** · {words.since(item)} · {item.issue_id} · {escaped(item.category)} · "
        f"confidence {item.confidence:.2f}",
        "",
        escaped(item.description),
        "",
        f"- Traces: {prevalence.traces:,} of {prevalence.of:,}, {words.percent(prevalence.rate)} "
        f"(95 % interval {words.percent(prevalence.low)} to {words.percent(prevalence.high)})",
        f"- Severity: {escaped(item.severity_reason)}",
    ]
    concentrated = [b for b in item.breakdown if b.dimension in ("agent", "model", "version", "tool")][:4]
    if concentrated:
        where = "; ".join(f"{b.dimension} {escaped(named(b.value))} {b.traces} of {b.of}" for b in concentrated)
        lines.append(f"- Where: {where}")
    if item.origin_span and item.symptom_span and item.origin_span != item.symptom_span:
        lines.append(
            f"- Caused by span {_id(item.origin_span.span_id)}, shown in span {_id(item.symptom_span.span_id)}"
        )
    if item.seen_with:
        others = "; ".join(f"{escaped(titles[other])} ({other})" for other in item.seen_with if other in titles)
        lines.append(f"- Seen in the same traces, so perhaps one cause: {others}")
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


def _contrasts(report: Report) -> list[str]:
    lines: list[str] = []
    for outcome in report.outcomes:
        rows = [item for item in report.contrasts if item.outcome == outcome.source]
        if not rows:
            continue
        lines += [
            f"{outcome.failed:,} of {outcome.known:,} traces failed, told by {escaped(outcome.source)}: "
            f"{escaped(outcome.note)}. {words.plural(outcome.tested, 'value')} compared.",
            "",
            "| | value | failed with it | without it | ratio | of all failures | q |",
            "|---|---|---|---|---|---|---|",
            *(_contrast(item) for item in rows),
            "",
        ]
    if report.totals.traces and report.outcomes and not report.totals.known_outcomes:
        return ["## What correlates with failure", "", f"Nothing was compared: {escaped(report.outcomes[0].note)}.", ""]
    return ["## What goes with failure", "", *lines] if lines else []


def _contrast(item: Contrast) -> str:
    ratio = "only here" if item.risk_ratio is None else f"× {item.risk_ratio:.1f}"
    return (
        f"| {escaped(item.dimension)} | {escaped(item.value)} "
        f"| {words.percent(item.rate)} ({item.failed} of {item.of}) "
        f"| {words.percent(item.rest_rate)} ({item.rest_failed} of {item.rest_of}) | {ratio} "
        f"| {words.percent(item.support)} | {words.chance(item.q_value)} |"
    )


def _account(report: Report) -> list[str]:
    totals, coverage = report.totals, report.coverage
    lines: list[str] = (
        []
        if not totals.traces
        else [
            "## Totals",
            "",
            f"{words.plural(totals.traces, 'trace')}, {words.plural(totals.spans, 'span')}, "
            f"{words.plural(totals.error_traces, 'trace')} with errors, "
            f"{words.short(totals.input_tokens)} input and {words.short(totals.output_tokens)} output tokens, "
            f"{words.dollars(totals.cost_usd)}; half of the traces under {words.duration(totals.duration_p50_ns)}, "
            f"95 % under {words.duration(totals.duration_p95_ns)}.",
            "",
        ]
    )
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
    lines += [f"- Left out: {escaped(words.left_out(item))}" for item in report.left_out]
    lines += [f"- Not supported by the capture: {escaped(item)}" for item in coverage.unsupported]
    if report.rejected.citations or report.rejected.findings:
        lines.append(
            "- Dropped because they did not stand up to the data: "
            f"{words.plural(report.rejected.findings, 'finding')}, "
            f"{words.plural(report.rejected.citations, 'quote')}"
        )
    used = f"- This run: {escaped(words.engine(report))}"
    if report.engine.route:
        used += f" Worked as {escaped(report.engine.route)}: {escaped(report.engine.route_reason or 'as asked')}."
    return [*lines, used, f"- Report {report.id}", ""]

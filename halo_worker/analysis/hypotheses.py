"""The detectors' findings as hypotheses of a model: named shortly, listed within bounds, confirmed or left alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import orjson

from halo_worker.analysis.affected_spans import traces_of
from halo_worker.analysis.draft import DraftFinding
from halo_worker.analysis.prompts import marked
from halo_worker.analysis.tools.fit import cut, take

MAX_LISTED = 30
LISTED_BYTES = 3_000
TITLE_CHARACTERS = 120
SAME = 0.8  # share of traces (Jaccard) from which two findings of one category are one
MAX_EVIDENCE = 6

Hypotheses = Mapping[str, DraftFinding]


def named(findings: Sequence[DraftFinding]) -> dict[str, DraftFinding]:
    """Give the detectors' findings their short names, the most frequent first."""
    return {f"D{number}": finding for number, finding in enumerate(findings, 1)}


def trace_ids(hypotheses: Hypotheses) -> dict[str, list[str]]:
    """Return the traces of each, for the filter of that name."""
    return {name: sorted({one.trace_id for one in found.occurrences}) for name, found in hypotheses.items()}


def listed(hypotheses: Hypotheses) -> str:
    """Write them for a prompt, one JSON array a line, in a size that does not depend on how many there are."""
    rows = []
    for name, found in list(hypotheses.items())[:MAX_LISTED]:
        traces = len({one.trace_id for one in found.occurrences})
        example = found.evidence[0].trace_id if found.evidence else found.occurrences[0].trace_id
        rows.append([name, cut(found.title, TITLE_CHARACTERS), found.category, traces, example])
    shown = take(rows, LISTED_BYTES)
    lines = "\n".join(orjson.dumps(row).decode() for row in shown)
    if not lines:
        return "none"
    left = len(hypotheses) - len(shown)
    return marked(lines) + (f"\nand {left} rarer ones, D{len(shown) + 1} to D{len(hypotheses)}" if left else "")


def same_failure(one: DraftFinding, other: DraftFinding) -> bool:
    """Whether two findings tell of nearly the same traces: in one category, or with a span in common."""
    first, second = traces_of(one.occurrences), traces_of(other.occurrences)
    if len(first & second) < SAME * len(first | second):
        return False
    return one.category == other.category or not _spans(one).isdisjoint(_spans(other))


def _spans(finding: DraftFinding) -> set[tuple[str, str | None]]:
    return {(one.trace_id, span) for one in finding.occurrences for span in (one.origin_span_id, one.symptom_span_id)}


def explained(hypothesis: DraftFinding, found: DraftFinding, *, lead: bool) -> DraftFinding:
    """Return a detector's finding with what a model made of it; what identifies it stays the detector's.

    `lead`: it is the first that the model's finding names, and takes its title, category and spans, too.
    """
    quotes = list(dict.fromkeys([*hypothesis.evidence[:MAX_EVIDENCE], *found.evidence]))[:MAX_EVIDENCE]
    if lead:
        chosen = found.judged and set(found.occurrences) != set(hypothesis.occurrences)
        hypothesis = replace(
            hypothesis,
            title=found.title,
            category=found.category,
            known_category=hypothesis.known_category or hypothesis.category,
            severity_hint=found.severity_hint or hypothesis.severity_hint,
            occurrences=found.occurrences if chosen else hypothesis.occurrences,
            judged=hypothesis.judged or chosen,
        )
    return replace(
        hypothesis,
        description=found.description or hypothesis.description,
        confidence=max(hypothesis.confidence, found.confidence),
        evidence=quotes,
        counter_evidence=[*hypothesis.counter_evidence, *found.counter_evidence],
        root_cause=found.root_cause or hypothesis.root_cause,
        fix_summary=found.fix_summary or hypothesis.fix_summary,
        fix_validation=found.fix_validation or hypothesis.fix_validation,
    )

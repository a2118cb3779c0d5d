"""The detectors' findings as hypotheses of a model: named shortly, listed within bounds, confirmed or left alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import orjson

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


def _traces(finding: DraftFinding) -> set[str]:
    return {one.trace_id for one in finding.occurrences}


def same_failure(one: DraftFinding, other: DraftFinding) -> bool:
    """Whether two findings tell of the same traces in the same category, or bear the same title."""
    if one.category != other.category:
        return False
    if one.title.lower() == other.title.lower():
        return True
    first, second = _traces(one), _traces(other)
    return len(first & second) >= SAME * len(first | second)


def confirmed(hypotheses: Hypotheses, claimed: str | None, found: DraftFinding) -> str | None:
    """Return the name of the hypothesis that a model's finding confirms: the one it names, if it quotes a trace of it;
    else one that names the same traces in the same category."""
    if (
        claimed is not None
        and claimed in hypotheses
        and _traces(hypotheses[claimed]) & {quote.trace_id for quote in found.evidence}
    ):
        return claimed
    for name, hypothesis in hypotheses.items():
        if same_failure(found, hypothesis):
            return name
    return None


def explained(hypothesis: DraftFinding, found: DraftFinding) -> DraftFinding:
    """Return a detector's finding with what a model made of it.

    What identifies and measures it stays the detector's: its category, key and affected traces.
    """
    quotes = list(dict.fromkeys([*hypothesis.evidence[:MAX_EVIDENCE], *found.evidence]))[:MAX_EVIDENCE]
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

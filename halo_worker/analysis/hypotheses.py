"""The detectors' findings as hypotheses of a model: named shortly, listed within bounds, confirmed or left alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import orjson

from halo_worker.analysis.affected_spans import traces_of
from halo_worker.analysis.draft import DraftFinding
from halo_worker.analysis.prompts import marked
from halo_worker.analysis.tools.fit import cut, take

MAX_LISTED, LISTED_BYTES = (
    30,
    3_000,
)  # modes in the first message of the loop, which every turn carries and SQL completes
MAX_SHOWN, SHOWN_BYTES = 200, 16_000  # modes where a model is asked once, and cannot ask for more
TITLE_CHARACTERS = 120
SAME = 0.8  # share of traces (Jaccard) from which two findings of one category are one
MAX_EVIDENCE = 6
MAX_ROWS = 100_000  # of the table `hypotheses`
COLUMNS = (
    "id", "title", "category", "rule", "trace_id", "origin_span_id", "symptom_span_id", "quote", "quote_span_id",
    "quote_field",
)  # fmt: skip

Hypotheses = Mapping[str, DraftFinding]


def named(findings: Sequence[DraftFinding]) -> dict[str, DraftFinding]:
    """Give the detectors' findings their short names, the most frequent first."""
    return {f"D{number}": finding for number, finding in enumerate(findings, 1)}


def trace_ids(hypotheses: Hypotheses) -> dict[str, list[str]]:
    """Return the traces of each, for the filter of that name."""
    return {name: sorted({one.trace_id for one in found.occurrences}) for name, found in hypotheses.items()}


def rows(hypotheses: Hypotheses) -> list[tuple[str | None, ...]]:
    """Return the rows of the table `hypotheses`, one for each affected span (COLUMNS)."""
    table: list[tuple[str | None, ...]] = []
    for name, found in hypotheses.items():
        quotes = {one.trace_id: (one.quote, one.span_id, one.field) for one in found.evidence}
        about = (name, found.title, found.category, found.detector_name)
        table += [
            (*about, one.trace_id, one.origin_span_id, one.symptom_span_id, *quotes.get(one.trace_id, (None,) * 3))
            for one in found.occurrences[: MAX_ROWS - len(table)]
        ]
    return table


def listed(hypotheses: Hypotheses, *, once: bool = False) -> str:
    """Write them for a prompt, a JSON array for each mode, in a size that does not depend on how many there are.

    `once`: the model is asked once and has no SQL for the rest.
    """
    modes = _modes(hypotheses)
    most, max_bytes = (MAX_SHOWN, SHOWN_BYTES) if once else (MAX_LISTED, LISTED_BYTES)
    shown = take([_line(names, hypotheses) for names in modes[:most]], max_bytes)
    if not shown:
        return "none"
    left = sum(len(names) for names in modes[len(shown) :])
    more = f"\nand {left} rarer ones" if left else ""
    if left and not once:
        more += ": SELECT id, title, count(*) FROM hypotheses GROUP BY ALL"
    return marked("\n".join(orjson.dumps(line).decode() for line in shown)) + more


def _modes(hypotheses: Hypotheses) -> list[list[str]]:
    """Group the names of what one rule found in one category, the most frequent first."""
    modes: dict[tuple[str, ...], list[str]] = {}
    for name, found in hypotheses.items():
        modes.setdefault(mode_of(name, found), []).append(name)
    return list(modes.values())


def mode_of(name: str, found: DraftFinding) -> tuple[str, ...]:
    """Return what hypotheses of one kind share: rule and category; what a model wrote is a mode by itself."""
    return (found.detector_name, found.category, *((name,) if found.source == "rlm" else ()))


def _line(names: Sequence[str], hypotheses: Hypotheses) -> list[str | int | None]:
    first = hypotheses[names[0]]
    traces = set().union(*(traces_of(hypotheses[name].occurrences) for name in names))
    example = first.evidence[0].trace_id if first.evidence else first.occurrences[0].trace_id
    more = f" (and {len(names) - 1} of its kind)" if len(names) > 1 else ""
    title = f"{cut(first.title, TITLE_CHARACTERS)}{more}"
    return [ranges(names), title, first.category, len(traces), example]


def ranges(names: Sequence[str]) -> str:
    """Write names as short as they can be read again: "D1 D10-D14"."""
    numbers = sorted(int(name[1:]) for name in names)
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return " ".join(f"D{low}" if low == high else f"D{low}-D{high}" for low, high in runs)


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

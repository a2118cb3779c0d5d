"""A model's verdicts on the detectors' findings: read from an answer, verified by quotes, and applied.

`confirmed` keeps a finding, `partly` takes traces or spans out of it, `refuted` takes it out of the report's findings;
what is taken out is shown with the reason and the quotes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

from halo_worker.analysis.affected_spans import MAX_SPANS, traces_of
from halo_worker.analysis.draft import DraftFinding, Occurrence, Refuted
from halo_worker.analysis.tools import Desk
from halo_worker.display import visible
from halo_worker.report.model import Evidence
from halo_worker.rlm.tool import ToolError

VERDICTS = ("confirmed", "partly", "refuted")
MAX_WHY = 2000
MAX_VERDICTS = 200
MAX_EVIDENCE = 6
PREFIX_CHARACTERS = 8  # of a trace id, from which its beginning names it

_ID = re.compile(r"D(\d+)(?:\s*(?:-|–|—|to|\.\.)\s*D?(\d+))?")
Selection = str | list[tuple[str, str | None]]  # SQL, or traces and (trace, span) pairs


@dataclass(slots=True)
class Stated:
    """One verdict as a model states it, about one hypothesis or several of a kind."""

    names: list[str]
    verdict: Literal["confirmed", "partly", "refuted"]
    keep: Selection
    drop: Selection
    why: str
    evidence: list[Evidence]
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A verdict on one hypothesis that stands; `kept` are the occurrences that it leaves."""

    verdict: Literal["confirmed", "partly", "refuted"]
    kept: list[Occurrence]
    why: str
    evidence: list[Evidence]


def names_in(value: Any, known: Collection[str]) -> tuple[list[str], list[str]]:
    """Return the hypotheses that a value names ("D3", "D1, D10-D14", a list of these), and the names that are none."""
    said = " ".join(str(one) for one in value) if isinstance(value, list) else str(value or "")
    named: list[str] = []
    for match in _ID.finditer(said):
        first, last = int(match[1]), int(match[2] or match[1])
        named += [f"D{number}" for number in range(first, min(last, first + len(known)) + 1)]
    if not named and said.strip():
        return [], [said.strip()[:20]]
    named = list(dict.fromkeys(named))
    return [one for one in named if one in known], [one for one in named if one not in known]


def read(value: Any, known: Collection[str], quotes: Any) -> tuple[list[Stated], list[str]]:
    """Read the verdicts of an answer; return those that can be used, and the problems with the others.

    `quotes` reads a list of quotes.
    """
    items = [value] if isinstance(value, dict) else value if isinstance(value, list) else []
    stated, problems = [], []
    for item in items[:MAX_VERDICTS]:
        verdict = str(item.get("verdict")).lower() if isinstance(item, dict) else ""
        names, unknown = names_in(item.get("id"), known) if isinstance(item, dict) else ([], [])
        if unknown:
            problems.append(f"there is no hypothesis {', '.join(unknown[:5])}")
        elif verdict not in VERDICTS or not names:
            problems.append(f"a verdict has the id of a hypothesis and one of {', '.join(VERDICTS)}")
        if verdict in VERDICTS and names:
            stated.append(
                Stated(
                    names, cast("Any", verdict), _selection(item.get("keep")), _selection(item.get("drop")),
                    visible(str(item.get("why") or "").strip()[:MAX_WHY]), quotes(item.get("evidence")),
                )
            )  # fmt: skip
    return stated, problems


def _selection(value: Any) -> Selection:
    if isinstance(value, str) and value.strip()[:6].lower() in ("select", "with a", "with x"):
        return value
    items = value if isinstance(value, list) else [value]
    if len(items) == 1 and isinstance(items[0], str) and " " in items[0].strip():
        return str(items[0])
    pairs: list[tuple[str, str | None]] = []
    for item in items:
        if isinstance(item, dict) and item.get("trace_id"):
            spans = item.get("span_ids") or [item.get("span_id")]
            pairs += [(str(item["trace_id"]), str(one) if one else None) for one in spans]
        elif isinstance(item, str) and item.strip():
            pairs.append((item.strip(), None))
    return pairs


async def applied(desk: Desk, stated: Stated, hypothesis: DraftFinding) -> list[Occurrence] | str:
    """Return the occurrences of a hypothesis that a verdict leaves, or why it cannot be applied."""
    kept = hypothesis.occurrences
    if stated.verdict == "refuted":
        return []
    for name, selection, wanted in (("keep", stated.keep, True), ("drop", stated.drop, False)):
        if not selection:
            continue
        chosen = await _chosen(desk, selection, hypothesis)
        if isinstance(chosen, str):
            return f"its {name} cannot be used: {chosen}"
        if not chosen:
            return f"its {name} names none of its traces"
        kept = [one for one in kept if (one in chosen) is wanted]
    if stated.verdict == "partly" and len(kept) == len(hypothesis.occurrences):
        return "partly takes something out: say which traces to keep or to drop (ids or SQL)"
    return kept


async def _chosen(desk: Desk, selection: Selection, hypothesis: DraftFinding) -> set[Occurrence] | str:
    """Return the occurrences that a selection names."""
    if isinstance(selection, str):
        try:
            rows = await desk.questions.select(selection, needs=("trace_id",), max_rows=MAX_SPANS, count=False)
        except ToolError as error:
            return str(error)
        pairs = {(str(row["trace_id"]), row.get("span_id")) for row in rows.rows}
    else:
        traces = traces_of(hypothesis.occurrences)
        pairs = {(_whole(trace, traces), span) for trace, span in selection}
    return {
        one
        for one in hypothesis.occurrences
        if not pairs.isdisjoint((one.trace_id, span) for span in (None, one.origin_span_id, one.symptom_span_id))
    }


def _whole(trace: str, traces: set[str]) -> str:
    if trace in traces or len(trace) < PREFIX_CHARACTERS:
        return trace
    meant = [one for one in traces if one.startswith(trace)]
    return meant[0] if len(meant) == 1 else trace


def settled(
    hypotheses: Mapping[str, DraftFinding], verdicts: Mapping[str, Verdict]
) -> tuple[dict[str, DraftFinding], list[Refuted]]:
    """Return the hypotheses that verdicts leave, and what they take out."""
    left, aside = {}, []
    for name, hypothesis in hypotheses.items():
        verdict = verdicts.get(name)
        if verdict is None:
            left[name] = hypothesis
            continue
        dropped = traces_of(hypothesis.occurrences) - traces_of(verdict.kept)
        if verdict.kept:
            left[name] = _with(hypothesis, verdict)
        if len(verdict.kept) < len(hypothesis.occurrences):
            said: Literal["refuted", "partly"] = "partly" if verdict.kept else "refuted"
            aside.append(Refuted(hypothesis, said, len(dropped), verdict.why, verdict.evidence))
    return left, aside


def _with(hypothesis: DraftFinding, verdict: Verdict) -> DraftFinding:
    traces = traces_of(verdict.kept)
    quotes: Sequence[Evidence] = verdict.evidence if verdict.verdict == "confirmed" else []
    evidence = [one for one in [*hypothesis.evidence, *quotes] if one.trace_id in traces]
    return replace(
        hypothesis,
        occurrences=verdict.kept,
        evidence=list(dict.fromkeys(evidence or verdict.evidence))[:MAX_EVIDENCE],
        judged=hypothesis.judged or len(verdict.kept) < len(hypothesis.occurrences),
    )

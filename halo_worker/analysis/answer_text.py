"""What of an answer is verified, and its text without the ids and numbers that nothing stands behind."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from halo_worker.analysis import numbers
from halo_worker.analysis.affected_spans import traces_of
from halo_worker.analysis.draft import DraftFinding
from halo_worker.analysis.tools import Desk
from halo_worker.analysis.verdicts import Verdict


@dataclass(slots=True)
class VerifiedAnswer:
    """What of an answer is verified, and the problems with the rest."""

    answer: str | None = None
    findings: list[DraftFinding] = field(default_factory=list)
    confirmed: dict[str, DraftFinding] = field(default_factory=dict)  # by hypothesis: a finding that names it
    led: set[str] = field(default_factory=set)  # of these, the first that each finding names
    verdicts: dict[str, Verdict] = field(default_factory=dict)  # by hypothesis
    problems: list[str] = field(default_factory=list)
    citations: int = 0  # quotes that were not found
    dropped: int = 0  # findings without a quote that was found
    reasons: list[str] = field(default_factory=list)

    @property
    def standing(self) -> int:
        """How many claims of it stand."""
        return len(self.findings) + len(self.confirmed) + len(self.verdicts)


async def checked(desk: Desk, text: str, verified: VerifiedAnswer, traces: int) -> str | None:
    """Return the answer without the ids and numbers that are not verified, and add a problem for each."""
    if not text:
        return None
    unknown = await _unknown(desk, numbers.ids_in(text))
    if unknown:
        verified.problems.append(f"the answer names ids that the window does not hold: {', '.join(unknown[:5])}")
        verified.reasons += [f"answer: there is no trace or span {one}" for one in unknown]
        verified.citations += len(unknown)
        text = numbers.mark_ids(text, unknown, lambda one: f"[unknown id {one[:8]}…]")
    every = [*verified.findings, *verified.confirmed.values()]
    computed: Collection[float] = {
        float(traces),
        *desk.seen_numbers,
        *(float(len(one.occurrences)) for one in every),
        *(float(len(traces_of(one.occurrences))) for one in every),
    }
    rates = [len(traces_of(one.occurrences)) / traces for one in every] if traces else []
    quoted = "\n".join(quote.quote for one in every for quote in one.evidence)
    wrong = numbers.unverified(text, computed, rates, quoted)
    if wrong:
        verified.problems.append(
            f"the answer says {', '.join(repr(one) for one in wrong[:5])}, which no tool returned: count first"
        )
        verified.reasons += [f"answer: {one!r} is not verified" for one in wrong]
        text, _ = numbers.without_unverified(text, computed, rates, quoted)
    return text


async def _unknown(desk: Desk, ids: list[str]) -> list[str]:
    if not ids:
        return []
    found = await desk.questions.rows(
        "SELECT id FROM (SELECT unnest(?) AS id) WHERE id IN (SELECT trace_id FROM traces) OR id IN "
        "(SELECT span_id FROM spans WHERE list_contains(?, span_id))",
        [ids, ids],
    )
    known = {row["id"] for row in found.rows}
    return [one for one in ids if one not in known]

"""What else differs between the sides: agents, models, inputs. A rate may fall because other traffic came."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from halo_receiver.store.reader import Reader
from halo_worker.report.comparison import Counts, Standardised, Stratum, standardise
from halo_worker.report.statistics import benjamini_hochberg, fisher_exact

DIMENSIONS = ("agent", "model", "input")
MAX_VALUES = 100  # of one dimension, the most frequent, that are compared
SHIFTED_BY = 0.1  # share of the traces
Q_SHIFTED = 0.01
LOST = 0.5  # share of the affected traces before whose agent has no traffic after

# An input is the same where its words are: numbers and ids masked. Where nearly every trace has words of its own, its
# length stands for it.
_GROUPS = """
  WITH traces AS (
    SELECT trace_id, coalesce(arg_min(agent_name, start_time) FILTER (agent_name <> ''), '') AS agent,
      coalesce(mode(model ORDER BY model) FILTER (span_type = 'llm'), '') AS model,
      coalesce(arg_min(asked, start_time) FILTER (trim(asked) <> ''), '') AS asked
    FROM _s SEMI JOIN _sides USING (trace_id) GROUP BY trace_id
  ), said AS (
    SELECT *, left(regexp_replace(lower(asked), '[0-9a-f]{8,}|[0-9]+', '#', 'g'), 200) AS words FROM traces
  )
  SELECT trace_id, agent, model, CASE WHEN (SELECT count(DISTINCT words) * 3 <= count(*) FROM said) THEN words
    ELSE 'of ' || CASE WHEN length(asked) < 40 THEN 'under 40' WHEN length(asked) < 120 THEN '40 to 119'
      WHEN length(asked) < 300 THEN '120 to 299' ELSE '300 or more' END || ' characters' END AS input
  FROM said
"""


@dataclass(frozen=True, slots=True)
class Shift:
    """What shifted between the sides, and both rates in the proportions of before."""

    by: list[str]
    decides: list[str]  # of these, what is no part of the change itself: who was asked, and what
    standardised: Standardised | None
    deciding: Standardised | None
    lost_agents: list[str]  # where the issue was seen before, and nothing ran after


class Groups:
    """The traces of both sides by agent, model and input. Needs `overview.prepare` and `_sides`."""

    def __init__(self, reader: Reader) -> None:
        reader.connection.execute(f"CREATE OR REPLACE TEMP TABLE _groups AS {_GROUPS}")
        rows = reader.query("SELECT *, after FROM _groups JOIN _sides USING (trace_id)")
        self._of = {row["trace_id"]: tuple(row[name] for name in DIMENSIONS) for row in rows}

    def shift(self, before: Collection[str], after: Collection[str], hits: Collection[str]) -> Shift:
        """Compare the traces of both sides; `hits` are the affected ones of both."""
        by = [name for name in DIMENSIONS if self._shifted(DIMENSIONS.index(name), before, after)]
        decides = [name for name in by if name != "model"]
        whole = self._standardised(by, before, after, hits)
        return Shift(
            by, decides, whole, whole if by == decides else self._standardised(decides, before, after, hits),
            self._lost(before, after, hits),
        )  # fmt: skip

    def _value(self, trace_id: str, place: int) -> str:
        known = self._of.get(trace_id)
        return known[place] if known else ""

    def _shifted(self, place: int, before: Collection[str], after: Collection[str]) -> bool:
        counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        for side, traces in enumerate((before, after)):
            for trace_id in traces:
                counts[self._value(trace_id, place)][side] += 1
        values = sorted(counts.values(), key=lambda pair: -sum(pair))[:MAX_VALUES]
        wide = [(a, b) for a, b in values if abs(a / len(before) - b / len(after)) >= SHIFTED_BY]
        p_values = [fisher_exact(a, len(before) - a, b, len(after) - b) for a, b in wide]
        unshown = [1.0] * (len(values) - len(wide))
        return any(q < Q_SHIFTED for q in benjamini_hochberg([*p_values, *unshown]))

    def _standardised(
        self, by: Sequence[str], before: Collection[str], after: Collection[str], hits: Collection[str]
    ) -> Standardised | None:
        if not by:
            return None
        places = [DIMENSIONS.index(name) for name in by]
        strata: dict[tuple[str, ...], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
        for side, traces in enumerate((before, after)):
            for trace_id in traces:
                counted = strata[tuple(self._value(trace_id, place) for place in places)]
                counted[2 * side] += trace_id in hits
                counted[2 * side + 1] += 1
        return standardise([Stratum(Counts(a, b), Counts(c, d)) for a, b, c, d in strata.values()])

    def _lost(self, before: Collection[str], after: Collection[str], hits: Collection[str]) -> list[str]:
        """Return the agents of most affected traces before, where none of their traces is after."""
        place = DIMENSIONS.index("agent")
        there = {self._value(trace_id, place) for trace_id in after}
        affected = [self._value(trace_id, place) for trace_id in before if trace_id in hits]
        gone = [agent for agent in affected if agent and agent not in there]
        return sorted(set(gone)) if affected and len(gone) >= LOST * len(affected) else []

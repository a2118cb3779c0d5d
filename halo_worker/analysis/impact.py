"""What a finding cost: of runs that were not served all that came after its origin, of the others its own spans.

A step after the origin of a run that came to nothing was for nothing; of a run that was served all the same, only the
failed or repeated calls were. Tokens and dollars are of model calls, each once; waiting is from the origin to the end.
"""

from __future__ import annotations

from halo_receiver.store.reader import Reader
from halo_worker.report.facts import Impact

NOT_SERVED = ("error", "limit reached", "ended in mid-work", "told but not served", "gave up", "cancelled")
ABANDONED = ("ended in mid-work", "gave up", "cancelled")


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"'{name}'" for name in names)


_TAKEN = f"""
  SELECT finding, coalesce(sum(input_tokens), 0)::BIGINT + coalesce(sum(output_tokens), 0)::BIGINT AS tokens,
    sum(cost_usd) AS cost_usd, coalesce(sum(duration_ns), 0) / 1e9 AS seconds,
    count(DISTINCT nullif(user_id, '')) AS users, count(nullif(user_id, '')) AS with_user, count(*) AS traces,
    count(DISTINCT nullif(session_id, '')) AS sessions, epoch_ns(min(start_time)) AS first_ns,
    count(*) FILTER (outcome IN ({_listed(NOT_SERVED)})) AS not_served,
    count(*) FILTER (outcome IN ({_listed(ABANDONED)})) AS abandoned,
    count(*) FILTER (trace_id IN (SELECT trace_id FROM frustration)) AS frustrated
  FROM _named JOIN _t USING (trace_id) JOIN _ended USING (trace_id) GROUP BY finding
"""
# The affected spans of each finding, with the time from which a run that was not served was for nothing.
_STRUCK = f"""
  CREATE OR REPLACE TEMP TABLE _struck AS
  SELECT h.finding, h.trace_id, h.span_id, o.outcome IN ({_listed(NOT_SERVED)}) AS lost, s.duration_ns,
    min(coalesce(least(c.start_time, s.start_time), s.start_time)) OVER (PARTITION BY h.finding, h.trace_id) AS since
  FROM _hit h JOIN _ended o USING (trace_id) JOIN _s s ON s.trace_id = h.trace_id AND s.span_id = h.span_id
  LEFT JOIN _s c ON c.trace_id = h.trace_id AND c.span_id = h.origin_span_id
"""
_WASTED = """
  WITH calls AS (
    SELECT trace_id, span_id, start_time, coalesce(input_tokens, 0) + coalesce(output_tokens, 0) AS tokens,
      CASE WHEN r.cost IS NOT TRUE THEN cost_usd END AS cost_usd
    FROM _s LEFT JOIN _repeated r USING (trace_id, span_id)
    WHERE span_type IN ('llm', 'embedding') AND r.tokens IS NOT TRUE AND trace_id IN (SELECT trace_id FROM _struck)
  ),
  wasted AS (
    SELECT finding, tokens, cost_usd, 0 AS seconds
    FROM (SELECT DISTINCT finding, trace_id, since FROM _struck WHERE lost) l JOIN calls c USING (trace_id)
    WHERE c.start_time >= l.since
    UNION ALL
    SELECT finding, tokens, cost_usd, 0 FROM (SELECT DISTINCT finding, trace_id, span_id FROM _struck WHERE NOT lost)
    JOIN calls USING (trace_id, span_id)
    UNION ALL
    SELECT finding, 0, NULL, greatest(0, epoch_ns(t.end_time) - epoch_ns(since)) / 1e9
    FROM (SELECT DISTINCT finding, trace_id, since FROM _struck WHERE lost) JOIN _t t USING (trace_id)
    UNION ALL
    SELECT finding, 0, NULL, coalesce(duration_ns, 0) / 1e9
    FROM (SELECT DISTINCT finding, trace_id, span_id, duration_ns FROM _struck WHERE NOT lost)
  )
  SELECT finding, sum(tokens)::BIGINT AS tokens, sum(cost_usd) AS cost_usd, sum(seconds) AS seconds
  FROM wasted GROUP BY finding
"""


def impacts(reader: Reader) -> dict[int, tuple[Impact, int]]:
    """Return for each finding its impact, and when its first trace began (ns).

    Needs `_named`, `_hit` (finding, trace_id, span_id, origin_span_id) and the tables of `run_detectors`.
    """
    reader.connection.execute(_STRUCK)
    wasted = {row["finding"]: row for row in reader.query(_WASTED)}
    nothing = {"tokens": 0, "cost_usd": None, "seconds": 0.0}
    found = {}
    for row in reader.query(_TAKEN):
        lost = wasted.get(row["finding"], nothing)
        impact = Impact(
            tokens=row["tokens"],
            cost_usd=row["cost_usd"],
            seconds=round(row["seconds"], 3),
            users=row["users"] if row["with_user"] == row["traces"] else None,
            sessions=row["sessions"] or None,
            wasted_tokens=lost["tokens"],
            wasted_cost_usd=lost["cost_usd"],
            waited_seconds=round(lost["seconds"], 3),
            not_served=row["not_served"],
            abandoned=row["abandoned"],
            frustrated=row["frustrated"],
        )
        found[row["finding"]] = (impact, row["first_ns"])
    return found

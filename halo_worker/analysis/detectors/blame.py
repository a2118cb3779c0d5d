"""Whose fault a sighting is: the model call that asked for the tool, else the last one in the step, else before it."""

from __future__ import annotations

from halo_receiver.store.reader import Reader

_BLAMED = """
    CREATE OR REPLACE TEMP TABLE _blamed AS
    WITH t AS (
      SELECT h.*, s.span_type, s.tool_call_id, s.start_time FROM _hits h
      JOIN _s s ON s.trace_id = h.trace_id AND s.span_id = h.span_id
    ),
    by_id AS (
      SELECT t.trace_id, t.span_id, min(c.span_id) AS origin FROM t
      JOIN calls c ON c.trace_id = t.trace_id AND c.call_id = t.tool_call_id GROUP BY ALL
    ),
    in_step AS (
      SELECT t.trace_id, t.span_id, arg_max(l.span_id, l.end_time) AS origin FROM t
      JOIN _s l ON l.trace_id = t.trace_id AND l.parent_span_id = t.span_id
      WHERE l.span_type = 'llm' AND l.end_time IS NOT NULL AND coalesce(t.span_type, 'chain') IN ('chain', 'task')
      GROUP BY ALL
    ),
    by_time AS (
      SELECT t.trace_id, t.span_id, l.span_id AS origin FROM (SELECT DISTINCT trace_id, span_id, start_time FROM t) t
      ASOF JOIN (
        SELECT trace_id, span_id, end_time FROM _s
        WHERE span_type = 'llm' AND end_time IS NOT NULL AND trace_id IN (SELECT trace_id FROM t)
      ) l ON l.trace_id = t.trace_id AND l.end_time <= t.start_time
    )
    SELECT t.detector, t.key, t.subject, t.trace_id, t.span_id, t.field, t.quote, t.also, coalesce(
      t.origin_span_id,
      CASE WHEN t.span_type IN ('tool', 'retriever') OR t.span_type IS NULL OR t.span_type IN ('chain', 'task')
        THEN coalesce(by_id.origin, in_step.origin, by_time.origin) END,
      t.span_id) AS origin_span_id
    FROM t LEFT JOIN by_id USING (trace_id, span_id) LEFT JOIN in_step USING (trace_id, span_id)
    LEFT JOIN by_time USING (trace_id, span_id)
"""


def prepare(reader: Reader) -> None:
    """Make `_blamed` from `_hits`, with `origin_span_id` filled in."""
    reader.connection.execute(_BLAMED)

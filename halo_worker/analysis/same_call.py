"""One call that several spans tell of: the agent's, its MCP client's, the server's; or those of two instrumentations.

Each of them is a tool span, and rightly so: any may be the only one that is exported. Whoever counts calls, or looks
for a later one that worked, passes over the spans in `_inner`; whoever looks for the cause looks at the innermost.
Spans tell of one call in two ways:

- **by place**: a span of the same tool above another, with no model or agent between that could have asked again;
- **by id**: the same `tool_call_id` in one trace, wherever the spans lie. Some providers use an id again (`call_0` in
  each turn): spans with a model call between them are of two calls, unless they overlap. An id that one answer uses
  for several calls, or that is the tool's name, identifies none.
"""

from __future__ import annotations

from halo_receiver.store.reader import Reader

MAX_ABOVE = 8  # spans between the two that are looked through: transports, HTTP clients and servers


def by_place(spans: str) -> str:
    """Return the SELECT (trace_id, span_id, outer_span_id) of spans of the same work above one another in `spans`.

    With nobody between who could have asked again. Traces where each work has but one span are left out first: that is
    nearly all.
    """
    return f"""
    WITH RECURSIVE twice AS (
      SELECT trace_id, span_id, parent_span_id, coalesce(tool_name, name) AS work
      FROM {spans} WHERE span_type IN ('tool', 'retriever')
      QUALIFY count(*) OVER (PARTITION BY trace_id, coalesce(tool_name, name)) > 1
    ),
    up AS (
      SELECT trace_id, span_id, work, parent_span_id AS above, 1 AS height FROM twice WHERE parent_span_id IS NOT NULL
      UNION ALL
      SELECT u.trace_id, u.span_id, u.work, p.parent_span_id, u.height + 1
      FROM up u JOIN {spans} p ON p.trace_id = u.trace_id AND p.span_id = u.above
      WHERE u.height < {MAX_ABOVE} AND p.parent_span_id IS NOT NULL
        AND coalesce(p.span_type, '') NOT IN ('llm', 'agent', 'workflow')
    )
    SELECT DISTINCT u.trace_id, u.span_id, u.above AS outer_span_id
    FROM up u JOIN twice t ON t.trace_id = u.trace_id AND t.span_id = u.above AND t.work = u.work
    """


def by_id(spans: str, asked: str) -> str:
    """Return the SELECT of the tool spans that share the id of a call with another.

    Columns: trace_id, span_id, call (equal for spans of one call). `spans` has the columns of the view of that name;
    `asked` selects trace_id, span_id and call_id of what models asked for, in the traces of the CTE `shared`.
    """
    return f"""
    WITH shared AS MATERIALIZED (
      SELECT trace_id, tool_call_id FROM {spans}
      WHERE span_type IN ('tool', 'retriever') AND tool_call_id <> '' AND tool_call_id IS DISTINCT FROM tool_name
      GROUP BY ALL HAVING count(*) > 1
    ),
    ambiguous AS (SELECT trace_id, call_id FROM ({asked}) GROUP BY trace_id, span_id, call_id HAVING count(*) > 1),
    tellers AS (
      SELECT s.trace_id, s.span_id, s.tool_call_id, s.start_time,
        max(greatest(s.start_time, s.end_time)) OVER (
          PARTITION BY s.trace_id, s.tool_call_id ORDER BY s.start_time, s.span_id
          ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS reached
      FROM {spans} s SEMI JOIN shared USING (trace_id, tool_call_id)
      ANTI JOIN ambiguous a ON a.trace_id = s.trace_id AND a.call_id = s.tool_call_id
      WHERE s.span_type IN ('tool', 'retriever')
    ),
    models AS (SELECT trace_id, start_time FROM {spans} SEMI JOIN shared USING (trace_id) WHERE span_type = 'llm')
    SELECT t.trace_id, t.span_id, t.tool_call_id || '|' || count(*)
      FILTER (m.start_time >= t.reached) OVER (PARTITION BY t.trace_id, t.tool_call_id ORDER BY t.start_time, t.span_id)
      AS call
    FROM tellers t ASOF LEFT JOIN models m ON m.trace_id = t.trace_id AND m.start_time < t.start_time
    """


def _asked(spans: str, tool_calls: str) -> str:
    return f"""
    SELECT trace_id, span_id, call->>'id' AS call_id FROM (
      SELECT trace_id, span_id, unnest({tool_calls}) AS call FROM {spans} SEMI JOIN shared USING (trace_id)
      WHERE span_type = 'llm' AND ({tool_calls}) IS NOT NULL
    )
    """


# The calls of tools in the spans of a window, for those who have no `_inner`: a call failed where a span of its id did,
# or where all its innermost spans did.
CALLS = f"""
WITH small AS MATERIALIZED (
  SELECT trace_id, span_id, parent_span_id, CASE WHEN span_type IN ('tool', 'retriever') THEN name END AS name,
    span_type, tool_name, tool_call_id, start_time, end_time, status_code = 'ERROR' OR error_type IS NOT NULL AS failed
  FROM spans
),
told AS MATERIALIZED (
  SELECT t.*, bool_or(s.failed) OVER (PARTITION BY t.trace_id, t.call) AS failed
  FROM ({by_id("small", _asked("spans", "output_messages->'$[*].tool_calls[*]'"))}) t
  JOIN small s USING (trace_id, span_id)
),
again AS MATERIALIZED (
  SELECT p.* FROM ({by_place("small")}) p LEFT JOIN told i USING (trace_id, span_id)
  LEFT JOIN told o ON o.trace_id = p.trace_id AND o.span_id = p.outer_span_id
  WHERE i.call IS NULL OR i.call IS DISTINCT FROM o.call
),
inner_failed AS (
  SELECT a.trace_id, a.outer_span_id AS span_id, bool_and(s.failed) AS failed
  FROM again a JOIN small s USING (trace_id, span_id)
  ANTI JOIN again d ON d.trace_id = a.trace_id AND d.outer_span_id = a.span_id GROUP BY ALL
)
SELECT s.trace_id, arg_min(s.tool_name, (s.start_time, s.span_id)) AS tool_name,
  bool_or(s.failed OR coalesce(t.failed OR i.failed, t.failed, i.failed, false)) AS failed
FROM small s ANTI JOIN again USING (trace_id, span_id) LEFT JOIN told t USING (trace_id, span_id)
LEFT JOIN inner_failed i USING (trace_id, span_id)
WHERE s.span_type = 'tool' AND s.tool_name IS NOT NULL GROUP BY s.trace_id, coalesce(t.call, s.span_id)
"""

# The spans of each id, and what tells of the same call by place: the first says most, and is counted. `leaf`: no other
# lies below it by place.
_TELLERS = f"""
CREATE OR REPLACE TEMP TABLE _tellers AS
WITH by_id AS MATERIALIZED ({by_id("_s", _asked("_s", "tool_calls"))}),
members AS (
  SELECT trace_id, span_id, call FROM by_id
  UNION ALL
  SELECT trace_id, span_id, min(call) FROM (
    SELECT p.trace_id, p.outer_span_id AS span_id, b.call FROM _places p JOIN by_id b USING (trace_id, span_id)
    UNION ALL
    SELECT p.trace_id, p.span_id, b.call FROM _places p
    JOIN by_id b ON b.trace_id = p.trace_id AND b.span_id = p.outer_span_id
  ) ANTI JOIN by_id USING (trace_id, span_id) GROUP BY ALL
)
SELECT m.trace_id, m.span_id, m.call, s.start_time, greatest(s.start_time, s.end_time) AS end_time,
  NOT EXISTS (
    SELECT 1 FROM _places p JOIN members i ON i.trace_id = p.trace_id AND i.span_id = p.span_id
    WHERE p.trace_id = m.trace_id AND p.outer_span_id = m.span_id AND i.call = m.call) AS leaf,
  row_number() OVER (PARTITION BY m.trace_id, m.call ORDER BY (s.tool_name IS NOT NULL)::INTEGER
    + (s.output_head IS NOT NULL)::INTEGER + (s.arguments IS NOT NULL)::INTEGER DESC,
    s.failed, s.start_time, s.end_time DESC, m.span_id) AS nth
FROM members m JOIN _s s ON s.trace_id = m.trace_id AND s.span_id = m.span_id
"""

# `at_once`: the two overlap, and so tell of one attempt; by place they always do.
_INNER = """
CREATE OR REPLACE TEMP TABLE _inner AS
SELECT p.trace_id, p.span_id, p.outer_span_id, false AS by_id, true AS at_once,
  NOT EXISTS (SELECT 1 FROM _places d WHERE d.trace_id = p.trace_id AND d.outer_span_id = p.span_id) AS leaf
FROM _places p LEFT JOIN _tellers i USING (trace_id, span_id)
LEFT JOIN _tellers o ON o.trace_id = p.trace_id AND o.span_id = p.outer_span_id
WHERE i.call IS NULL OR i.call IS DISTINCT FROM o.call
UNION ALL
SELECT i.trace_id, i.span_id, o.span_id, true,
  coalesce(i.start_time <= o.end_time AND o.start_time <= i.end_time, true), i.leaf
FROM _tellers i JOIN _tellers o USING (trace_id, call) WHERE o.nth = 1 AND i.nth > 1
"""

# Of a call of which nobody says how it ended, the innermost spans do: it failed where all of them did, not where one
# was tried again. Where an instrumentation says ERROR and a framework OK of one id, the framework handed the error on.
_FAILED = """
UPDATE _s SET failed = true FROM (
  SELECT i.trace_id, i.outer_span_id, bool_or(i.by_id) AS by_id
  FROM _inner i JOIN _s s ON s.trace_id = i.trace_id AND s.span_id = i.span_id
  WHERE i.at_once AND i.leaf GROUP BY ALL HAVING bool_and(s.failed)
) c WHERE _s.trace_id = c.trace_id AND _s.span_id = c.outer_span_id AND NOT _s.failed
  AND (_s.status_code = 'UNSET' OR c.by_id) AND _s.control IS NULL
"""

# Of one failure, the innermost error that says something: of spans of one id, the one that began last.
_REPEATED = """
DELETE FROM errors e WHERE
  EXISTS (
    SELECT 1 FROM _inner i JOIN errors d ON d.trace_id = i.trace_id AND d.span_id = i.span_id
    WHERE NOT i.by_id AND i.trace_id = e.trace_id AND i.outer_span_id = e.span_id
      AND (d.error_message IS NOT NULL OR e.error_message IS NULL))
  OR e.error_message IS NULL AND EXISTS (
    SELECT 1 FROM _inner i JOIN errors o ON o.trace_id = i.trace_id AND o.span_id = i.outer_span_id
    WHERE NOT i.by_id AND i.trace_id = e.trace_id AND i.span_id = e.span_id AND o.error_message IS NOT NULL)
"""
_REPEATED_BY_ID = """
DELETE FROM errors WHERE (trace_id, span_id) IN (
  SELECT (e.trace_id, e.span_id) FROM errors e JOIN _tellers t ON t.trace_id = e.trace_id AND t.span_id = e.span_id
  QUALIFY row_number() OVER (PARTITION BY e.trace_id, t.call
    ORDER BY e.error_message IS NOT NULL DESC, t.start_time DESC, t.end_time, e.span_id) > 1)
"""

# A transport that carried a tool's error as its answer, in the same words; and a step that handed on the error of a
# call within it, though a span between them ended well.
_CARRIED = """
DELETE FROM errors e WHERE e.span_type = 'other' AND EXISTS (
  SELECT 1 FROM errors t WHERE t.trace_id = e.trace_id AND t.span_type IN ('tool', 'retriever', 'prompt')
    AND t.error_message = e.error_message)
  OR (e.span_type IS NULL OR e.span_type IN ('agent', 'workflow', 'chain', 'task')) AND EXISTS (
    SELECT 1 FROM errors t WHERE t.trace_id = e.trace_id AND t.span_type IN ('llm', 'embedding', 'tool', 'retriever')
      AND t.error_message = e.error_message AND t.passed <= e.passed
      AND t.start_time >= e.start_time AND t.start_time <= e.end_time)
"""


def prepare(reader: Reader) -> None:
    """Make `_inner` from `_s`: spans that tell again of a call, with one that is counted before it (`outer_span_id`).

    In `_s`, what a call's inner spans say of its failure becomes true of it.
    """
    reader.connection.execute(f"CREATE OR REPLACE TEMP TABLE _places AS {by_place('_s')}")
    for sql in (_TELLERS, _INNER, _FAILED):
        reader.connection.execute(sql)


def innermost(reader: Reader) -> None:
    """Keep one error in `errors` of those that spans of one call repeat."""
    for sql in (_REPEATED, _REPEATED_BY_ID, _CARRIED):
        reader.connection.execute(sql)

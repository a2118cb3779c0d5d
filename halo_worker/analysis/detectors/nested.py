"""One call that several spans tell: the agent's, its MCP client's, the server's.

Each of them is a tool span, and rightly so: any may be the only one that is exported. Whoever counts calls, or looks
for a later one that worked, counts the outermost; whoever looks for the cause looks at the innermost.
"""

from __future__ import annotations

from halo_receiver.store.reader import Reader

MAX_ABOVE = 8  # spans between the two that are looked through: transports, HTTP clients and servers

# A span of the same work above one, with nobody between who could have asked again. Traces where each work has but one
# span are left out first: that is nearly all.
_INNER = f"""
CREATE OR REPLACE TEMP TABLE _inner AS
WITH RECURSIVE twice AS (
  SELECT trace_id, span_id, parent_span_id, coalesce(tool_name, name) AS work FROM _s WHERE span_type IN ('tool', 'retriever')
  QUALIFY count(*) OVER (PARTITION BY trace_id, coalesce(tool_name, name)) > 1
),
up AS (
  SELECT trace_id, span_id, work, parent_span_id AS above, 1 AS height FROM twice WHERE parent_span_id IS NOT NULL
  UNION ALL
  SELECT u.trace_id, u.span_id, u.work, p.parent_span_id, u.height + 1
  FROM up u JOIN _s p ON p.trace_id = u.trace_id AND p.span_id = u.above
  WHERE u.height < {MAX_ABOVE} AND p.parent_span_id IS NOT NULL AND coalesce(p.span_type, '') NOT IN ('llm', 'agent', 'workflow')
)
SELECT DISTINCT u.trace_id, u.span_id, u.above AS outer_span_id
FROM up u JOIN twice t ON t.trace_id = u.trace_id AND t.span_id = u.above AND t.work = u.work
"""

# Of a call of which nobody says how it ended, the innermost spans do: it failed where all of them did, not where one was
# tried again.
_FAILED = """
UPDATE _s SET failed = true FROM (
  SELECT i.trace_id, i.outer_span_id FROM _inner i JOIN _s s ON s.trace_id = i.trace_id AND s.span_id = i.span_id
  WHERE NOT EXISTS (SELECT 1 FROM _inner o WHERE o.trace_id = i.trace_id AND o.outer_span_id = i.span_id)
  GROUP BY ALL HAVING bool_and(s.failed)
) c WHERE _s.trace_id = c.trace_id AND _s.span_id = c.outer_span_id AND NOT _s.failed AND _s.status_code = 'UNSET'
"""

# Of one failure, the innermost error that says something.
_REPEATED = """
DELETE FROM _errors e WHERE
  EXISTS (
    SELECT 1 FROM _inner i JOIN _errors d ON d.trace_id = i.trace_id AND d.span_id = i.span_id
    WHERE i.trace_id = e.trace_id AND i.outer_span_id = e.span_id AND (d.error_message IS NOT NULL OR e.error_message IS NULL))
  OR e.error_message IS NULL AND EXISTS (
    SELECT 1 FROM _inner i JOIN _errors o ON o.trace_id = i.trace_id AND o.span_id = i.outer_span_id
    WHERE i.trace_id = e.trace_id AND i.span_id = e.span_id AND o.error_message IS NOT NULL)
"""

# A transport that carried a tool's error as its answer, in the same words.
_CARRIED = """
DELETE FROM _errors e WHERE e.span_type = 'other' AND EXISTS (
  SELECT 1 FROM _errors t WHERE t.trace_id = e.trace_id AND t.span_type IN ('tool', 'retriever', 'prompt')
    AND t.error_message = e.error_message)
"""


def prepare(reader: Reader) -> None:
    """Make `_inner` from `_s`: spans that tell again of a call, with each that told of it (`outer_span_id`).

    In `_s`, what a call's inner spans say of its failure becomes true of it.
    """
    reader.connection.execute(_INNER)
    reader.connection.execute(_FAILED)


def innermost(reader: Reader) -> None:
    """Keep one error in `_errors` of those that spans of one call repeat."""
    reader.connection.execute(_REPEATED)
    reader.connection.execute(_CARRIED)

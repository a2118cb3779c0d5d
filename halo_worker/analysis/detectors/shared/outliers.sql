---
about = """
Spans far from the baseline of their kind: above 5 times the median and 8 robust standard deviations (4 of them \
from 30 times on), 3 in 100 of the kind at most; of nested ones the deepest."""
kind = "by measure"

[columns]
measure = "as in measures"
trace_id = "the trace"
span_id = "the span"
subject = "tool, agent or name"
name = "the span's name"
---
WITH far AS (
  SELECT trace_id, span_id FROM measures JOIN baselines b USING (measure, kind)
  WHERE measure = $measure AND enough AND ln(value) - median > ln(5.0)
    AND ((ln(value) - median) / (1.4826 * deviation) > 8.0
      OR ln(value) - median > ln(30.0) AND (ln(value) - median) / (1.4826 * deviation) > 4.0)
  QUALIFY count(*) OVER (PARTITION BY kind) <= 0.03 * n
),
found AS (
  SELECT trace_id, span_id, parent_span_id, name, coalesce(tool_name, agent_name, name) AS subject
  FROM steps SEMI JOIN far USING (trace_id, span_id)
)
SELECT $measure AS measure, f.trace_id, f.span_id, f.subject, f.name
FROM found f ANTI JOIN found c ON c.trace_id = f.trace_id AND c.parent_span_id = f.span_id
ANTI JOIN (SELECT trace_id, outer_span_id FROM nested SEMI JOIN found USING (trace_id, span_id)) i
  ON i.trace_id = f.trace_id AND i.outer_span_id = f.span_id

---
about = """
Calls far from what is usual of a measure: above 5 times and 6 robust standard deviations (3 of them from 30 times \
on), where there are 15 calls of the tool or model, at most a tenth of the agent's calls (more is a shift), and not \
explained by a long input; also calls of ten minutes and more. Of nested ones the deepest."""
kind = "table"

[columns]
measure = "as in measures"
trace_id = "the trace"
span_id = "the span"
subject = "tool, agent or name"
name = "the span's name"
span_type = ""
---
WITH above AS (
  SELECT m.measure, m.trace_id, m.span_id, (m.bin - b.usual) / 20 AS times_ln, (m.bin - b.usual) / b.spread AS z,
    b.calls, hash(m.measure, m.service, m.agent, m.what) AS kind
  FROM measures m JOIN baselines b USING (measure, service, agent, what)
  WHERE m.enough AND b.peers >= 15
),
far AS (
  SELECT measure, trace_id, span_id FROM above
  WHERE times_ln > ln(5.0) AND (z > 6 OR times_ln > ln(30.0) AND z > 3)
  QUALIFY count(*) OVER (PARTITION BY kind) <= greatest(2, calls / 10)
),
chosen AS (
  FROM far WHERE measure = 'later prompt' OR trace_id NOT IN (FROM long_inputs)
  UNION
  SELECT 'duration', trace_id, span_id FROM steps
  WHERE span_type IN ('llm', 'tool', 'retriever') AND NOT failed AND duration_ns >= 600e9
),
found AS (
  SELECT measure, trace_id, span_id, parent_span_id, name, span_type, coalesce(tool_name, agent_name, name) AS subject
  FROM steps s JOIN chosen c USING (trace_id, span_id)
  WHERE measure <> 'duration' OR NOT EXISTS (
    SELECT 1 FROM untimed u WHERE u.service_name IS NOT DISTINCT FROM s.service_name AND u.span_type = s.span_type)
)
SELECT f.measure, f.trace_id, f.span_id, f.subject, f.name, f.span_type
FROM found f
ANTI JOIN found c ON c.measure = f.measure AND c.trace_id = f.trace_id AND c.parent_span_id = f.span_id
ANTI JOIN (
  SELECT f.measure, trace_id, outer_span_id FROM nested n JOIN found f USING (trace_id, span_id)
) i ON i.measure = f.measure AND i.trace_id = f.trace_id AND i.outer_span_id = f.span_id

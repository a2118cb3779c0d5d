---
about = "Tool spans that ran with damaged arguments, of models of which that is a finding: what follows is no other one."
kind = "table"

[columns]
trace_id = "the trace"
span_id = "the tool span"
---
WITH damaged AS (
  SELECT trace_id, span_id FROM damaged_arguments WHERE source IN (
    SELECT source FROM damaged_arguments GROUP BY source HAVING count(DISTINCT trace_id) >= 2)
)
SELECT trace_id, span_id FROM damaged
UNION
SELECT s.trace_id, s.span_id FROM (
  SELECT trace_id, call_id AS tool_call_id FROM calls SEMI JOIN damaged USING (trace_id, span_id) WHERE call_id <> ''
) c JOIN steps s USING (trace_id, tool_call_id) WHERE s.span_type = 'tool'

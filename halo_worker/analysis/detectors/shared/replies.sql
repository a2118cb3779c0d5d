---
about = """
Turns that admit or deny something: final answers, and all turns of traces in which something failed. Each text is \
recognised here, once."""
kind = "table"

[columns]
trace_id = "the trace"
span_id = "the turn"
admits = "it says that something failed or is missing, or asks for it"
denies = "it says no, not, or not yet"
answer = "it is the final answer, as in answers"
end_time = "of the turn"
---
-- Materialised, or the optimizer writes the recognisers into each branch and into the filter, to be compiled each time.
WITH failing AS (SELECT trace_id FROM steps WHERE failed UNION SELECT trace_id FROM failed_results),
turns AS MATERIALIZED (
  SELECT trace_id, span_id, answer AS said, true AS answer, end_time FROM answers
  UNION ALL
  SELECT s.trace_id, s.span_id, s.output_head, false, s.end_time FROM steps s
  ANTI JOIN (SELECT trace_id, span_id FROM answers) f USING (trace_id, span_id)
  WHERE s.span_type IN ('llm', 'agent', 'workflow') AND s.output_length > 0 AND s.trace_id IN (FROM failing)
),
read AS MATERIALIZED (
  SELECT trace_id, span_id, coalesce(admits(said), false) AS admits, coalesce(denies(said), false) AS denies, answer,
    end_time
  FROM turns
)
FROM read WHERE admits OR denies

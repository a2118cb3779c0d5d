---
about = "When work last ended well, in traces where something failed."
kind = "table"

[columns]
trace_id = "the trace"
sub_run = "the run within the run that did it, in traces with several; NULL of model calls and of calls by arguments"
work = "of what kind, by work_of; or 'same ' and the hash of a call's arguments"
last_time = "start of the last one"
---
WITH work AS (
  SELECT s.trace_id, s.start_time, work_of(s.span_type, s.agent_name, s.work) AS work,
    CASE WHEN s.span_type <> 'llm' THEN u.span_id END AS sub_run,
    CASE WHEN s.span_type = 'tool' AND length(s.arguments) > 2 THEN s.input_hash END AS same
  FROM (
    FROM steps ANTI JOIN nested USING (trace_id, span_id)
    ANTI JOIN failed_steps USING (trace_id, span_id)
    WHERE NOT failed AND trace_id IN (SELECT trace_id FROM steps WHERE failed)
  ) s
  LEFT JOIN sub_runs u ON u.trace_id = s.trace_id AND u.span_id = s.parent_span_id
)
SELECT trace_id, sub_run, work, max(start_time) AS last_time FROM (
  SELECT trace_id, sub_run, work, start_time FROM work
  UNION ALL SELECT trace_id, NULL, 'same ' || same, start_time FROM work WHERE same IS NOT NULL
) GROUP BY ALL

---
about = "The deepest error of each chain, with what tells whether its work was done after all. Without control flow."
kind = "table"

[columns]
trace_id = "the trace"
span_id = "the span"
parent_span_id = "its parent"
name = ""
span_type = ""
start_time = ""
end_time = "NULL where it never ended"
work = "the tool, agent or model"
tool_call_id = ""
error_type = ""
error_signature = ""
error_message = ""
status_message = ""
said = "type, message and status, a line each"
subject = "the tool, model, task, agent or span that failed"
doing = "its kind of work, as in good_work"
same = "its arguments, as in good_work; NULL without any"
sub_run = "the run within the run that did it, as in good_work"
handled = "a plain span below a tool that ended well"
---
WITH handling AS (
  SELECT trace_id, span_id FROM steps
  SEMI JOIN (
    SELECT DISTINCT trace_id, parent_span_id AS span_id FROM steps
    WHERE failed AND control IS NULL AND span_type IS NULL
  ) USING (trace_id, span_id)
  ANTI JOIN (FROM failed_results WHERE NOT told) USING (trace_id, span_id)
  WHERE NOT failed AND span_type IN ('tool', 'retriever')
)
SELECT s.trace_id, s.span_id, s.parent_span_id, s.name, s.span_type, s.start_time, s.end_time, s.work, s.tool_call_id,
  s.error_type, s.error_signature, s.error_message, s.status_message,
  concat_ws(chr(10), s.error_type, s.error_message, s.status_message) AS said,
  coalesce(s.tool_name, CASE WHEN s.span_type IN ('llm', 'embedding') THEN nullif(s.model, '') END,
    CASE WHEN s.span_type <> 'task' THEN s.agent_name END, s.name) AS subject,
  work_of(s.span_type, s.agent_name, s.work) AS doing,
  CASE WHEN s.span_type = 'tool' AND length(s.arguments) > 2 THEN 'same ' || s.input_hash END AS same,
  u.span_id AS sub_run, s.span_type IS NULL AND h.span_id IS NOT NULL AS handled
FROM steps s
ANTI JOIN (SELECT DISTINCT trace_id, parent_span_id FROM steps WHERE failed AND control IS NULL) c
  ON c.trace_id = s.trace_id AND c.parent_span_id = s.span_id
LEFT JOIN sub_runs u ON u.trace_id = s.trace_id AND u.span_id = CASE WHEN s.span_type <> 'llm' THEN s.parent_span_id END
LEFT JOIN handling h ON h.trace_id = s.trace_id AND h.span_id = s.parent_span_id
WHERE s.failed AND s.control IS NULL

---
name = "cause_not_known"
category = "Unhandled Error"
driven_by = "steps WHERE parent_span_id IS NULL AND status_code = 'ERROR' AND control IS NULL"
version = 1
scope = "trace"
stage = 3
confidence = 0.9

title = "Runs of {subject} fail, cause not known"
description = "The root span ends in ERROR and nothing in the run that a check can see explains it."
definition = "The root of a run ends in ERROR, and no other detector says why"
reason = "cause"
fix = "Record the exception on the span that raises it, and capture the arguments and results of the calls before it."
validation = "Every failed run should name its cause."
source = "every run that its root calls failed is in a finding"
limits = """
control flow and aborts are no failures; what only says that a run is slow, expensive or badly recorded explains \
nothing"""
---
SELECT 'failed, cause not known' AS key, coalesce(s.agent_name, s.service_name, s.name) AS subject, s.trace_id,
  s.span_id, s.span_id AS origin_span_id,
  CASE WHEN trim(coalesce(s.error_message, '')) <> '' THEN 'error_message'
    WHEN trim(coalesce(s.status_message, '')) <> '' THEN 'status_message' ELSE 'name' END AS field,
  left(coalesce(nullif(trim(s.error_message), ''), nullif(trim(s.status_message), ''), s.name), 300) AS quote
FROM (
  SELECT trace_id, arg_min(span_id, start_time) AS span_id FROM steps
  WHERE parent_span_id IS NULL AND status_code = 'ERROR' AND control IS NULL GROUP BY trace_id
) JOIN steps s USING (trace_id, span_id)
WHERE s.trace_id NOT IN (FROM explained)
---
[[example]]
fires = false
why = "served"
spans = [
  { llm = "gpt-5", output = "I look that up.", calls = [{ name = "get_invoice", arguments = { id = 7 } }] },
  { tool = "get_invoice", input = '{"id": 7}', output = "12 EUR" },
  { llm = "gpt-5", output = "It is 12 EUR." },
]

[[example]]
fires = true
why = "the root fails, and nothing says why"
root = "failed"
spans = [
  { llm = "gpt-5", output = "I could not find it." },
]

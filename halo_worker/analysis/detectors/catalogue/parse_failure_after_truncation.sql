---
name = "parse_failure_after_truncation"
category = "Formatting Errors"
driven_by = "steps WHERE finish_reason = 'length'"
version = 2
scope = "trace"
confidence = 0.95
needs = ["finish reasons"]

title = "Output of {subject} is truncated and cannot be parsed"
description = "The model reached its output limit within a structure, and parsing it failed."
definition = "A model call reached its output limit, and the next failing span of the trace is a parse error"
cause = "The output ended at its token limit, so that what was parsed was not whole."
fix = "Raise the output limit or ask for less; check the finish reason before parsing."
validation = "No parse error should follow a call with finish reason 'length'."
source = "truncated output and the parse failure that follows it: one cause, two symptoms"
limits = "needs finish reasons, and an error that names parsing"
---
SELECT c.actor AS key, c.actor AS subject, e.trace_id, e.span_id, c.span_id AS origin_span_id, e.field, e.quote
FROM (FROM errors WHERE class IN ('format', 'model_code')) e
ASOF JOIN (
  SELECT * FROM steps WHERE span_type = 'llm' AND end_time IS NOT NULL
    AND trace_id IN (SELECT trace_id FROM steps WHERE finish_reason = 'length')
) c ON c.trace_id = e.trace_id AND c.end_time <= e.start_time
WHERE c.finish_reason = 'length'
---
[[example]]
fires = true
why = "truncated, then unparsable"
spans = [
  { llm = "gpt-5", output = '{"a": [1, 2', finish = "length" },
  { span = "parse answer", error = "Unterminated string in JSON at position 11" },
]

[[example]]
fires = false
why = "unparsable, but complete"
spans = [
  { llm = "gpt-5", output = "hello", finish = "stop" },
  { span = "parse answer", error = "Unterminated string in JSON at position 11" },
]

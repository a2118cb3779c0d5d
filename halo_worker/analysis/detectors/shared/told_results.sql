---
about = """
Results of tools that have no spans: what a model is told after the one call it made, where no tool of the \
service has spans."""
kind = "table"

[columns]
trace_id = "the trace"
span_id = "the model call that is told"
start_time = "of that"
asking = "the model call that asked"
tool = ""
text = "2,000 characters"
length = "characters of the whole"
tail = "its last 300 characters"
---
WITH bare AS (
  SELECT service_name FROM _called WHERE tools = 0 AND calls > 0
),
asked AS (
  SELECT trace_id, span_id, start_time, lag(span_id) OVER w AS asking, lag(calls) OVER w AS asked_for
  FROM steps SEMI JOIN bare USING (service_name) WHERE span_type = 'llm'
  WINDOW w AS (PARTITION BY trace_id ORDER BY start_time, span_id)
)
SELECT t.trace_id, t.span_id, t.start_time, t.asking, c.call_name AS tool, left(p.input_text, 2000) AS text,
  length(p.input_text) AS length, right(p.input_text, 300) AS tail
FROM asked t JOIN calls c ON c.trace_id = t.trace_id AND c.span_id = t.asking
JOIN _own_spans p ON p.trace_id = t.trace_id AND p.span_id = t.span_id
WHERE t.asked_for = 1 AND p.input_text IS NOT NULL

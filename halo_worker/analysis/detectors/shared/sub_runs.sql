---
about = """
Spans right under which a model worked with tools up to an answer of its own, in traces with several of them: what \
fails in one is not mended by what works in another."""
kind = "table"

[columns]
trace_id = "the trace"
span_id = "the span: the parent of the calls"
---
SELECT trace_id, parent_span_id AS span_id FROM steps
WHERE parent_span_id IS NOT NULL AND span_type IN ('llm', 'tool', 'retriever')
GROUP BY trace_id, parent_span_id
HAVING count(*) FILTER (span_type <> 'llm') > 0
  AND arg_max(span_type = 'llm' AND coalesce(calls, 0) = 0 AND output_length > 0, start_time)
QUALIFY count(*) OVER (PARTITION BY trace_id) > 1

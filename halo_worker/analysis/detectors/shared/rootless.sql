---
about = "Traces without a root span."
kind = "table"

[columns]
trace_id = "the trace"
steady = "at least 8 in 10 of its service's traces (20 or more) have a root"
last_span_id = "where steady and the trace ends in the middle of work: the last model, tool or retrieval span"
---
WITH rooted AS (
  SELECT trace_id, bool_or(parent_span_id IS NULL) AS root, any_value(service_name) AS service_name
  FROM steps WHERE span_type IS NOT NULL OR parent_span_id IS NULL GROUP BY trace_id
),
steady AS (
  SELECT service_name FROM root_counts GROUP BY ALL HAVING sum(traces) >= 20 AND sum(rooted) >= 0.8 * sum(traces)
),
missing AS (
  SELECT trace_id, service_name IN (FROM steady) AS steady FROM rooted WHERE NOT root
),
last AS (
  SELECT trace_id, arg_max(span_id, start_time) AS span_id FROM steps
  WHERE trace_id IN (SELECT trace_id FROM missing WHERE steady) AND span_type IN ('llm', 'tool', 'retriever')
  GROUP BY trace_id
)
SELECT m.trace_id, m.steady,
  CASE WHEN s.span_type IN ('tool', 'retriever') OR s.calls > 0 OR s.failed THEN s.span_id END AS last_span_id
FROM missing m LEFT JOIN last USING (trace_id)
LEFT JOIN steps s ON s.trace_id = m.trace_id AND s.span_id = last.span_id

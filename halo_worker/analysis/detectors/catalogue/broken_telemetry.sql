---
name = "broken_telemetry"
category = "Broken Telemetry"
driven_by = "rootless WHERE last_span_id IS NULL"
version = 1
scope = "group"
severity = "low"
confidence = 0.9
min_traces = 3

title = "Traces of {subject} have no root span"
description = "Spans name a parent that never arrived: a fault of the telemetry, not of the agent."
definition = "A GenAI span of a trace names a parent that never arrived, and the trace has no root"
cause = "A service on the path does not export its spans, or the context does not reach it."
fix = """
Check that every service on the path exports, that context is propagated, and that the Collector does not sample \
by span."""
validation = "The share of traces without a root should fall."
source = "OTLP trace.proto, parent_span_id"
limits = "sampling by span looks the same; says nothing about the agent"
speaks = ["name"]
---
SELECT service_name AS key, service_name AS subject, s.trace_id, arg_min(s.span_id, s.start_time) AS span_id,
  arg_min(s.span_id, s.start_time) AS origin_span_id, 'name' AS field, arg_min(s.name, s.start_time) AS quote
FROM steps s SEMI JOIN (FROM rootless WHERE last_span_id IS NULL) r USING (trace_id)
WHERE s.span_type IS NOT NULL AND s.parent_span_id IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM steps p WHERE p.trace_id = s.trace_id AND p.span_id = s.parent_span_id)
GROUP BY service_name, s.trace_id
---
[[example]]
fires = true
why = "the root never came"
times = 3
root = "missing"
spans = [
  { llm = "gpt-5", output = "Your order arrives on Tuesday." },
]

[[example]]
fires = false
why = "it did"
spans = [
  { llm = "gpt-5", output = "Your order arrives on Tuesday." },
]

---
name = "unfinished_run"
category = "Task Orchestration"
version = 2
scope = "group"
confidence = 0.8
needs = ["root spans"]

title = "Runs of {subject} do not end"
description = """
The root span has no end, or never arrived while work was in progress: the process died or the run was \
abandoned."""
definition = """
The root span of a settled trace has no end; or the root never came, though the service's traces have one, and \
the last span is in the middle of work"""
cause = "The run stopped before its root span ended: nothing after the last span was exported."
fix = "Look for crashes and timeouts around these runs, and end the span in a finally block."
validation = "Every root span should have an end."
source = "OTLP trace.proto: end_time is semantically required; SDKs export a span when it ends"
limits = """
only settled traces are judged, by the window they are read in; a trace without its root that ends in an answer \
is a fault of the telemetry"""
---
SELECT name AS key, name AS subject, trace_id, span_id, span_id AS origin_span_id, 'name' AS field, name AS quote
FROM steps WHERE parent_span_id IS NULL AND end_time IS NULL AND span_type IS NOT NULL
UNION ALL
SELECT coalesce(agent_name, service_name) AS key, coalesce(agent_name, service_name) AS subject, s.trace_id,
  s.span_id,
  s.span_id AS origin_span_id, 'name' AS field, s.name AS quote
FROM rootless r JOIN steps s ON s.trace_id = r.trace_id AND s.span_id = r.last_span_id
---
[[example]]
fires = true
why = "the root has no end"
root = "open"
spans = [
  { llm = "gpt-5", output = "Your order arrives on Tuesday." },
]

[[example]]
fires = false
why = "it has"
spans = [
  { llm = "gpt-5", output = "Your order arrives on Tuesday." },
]

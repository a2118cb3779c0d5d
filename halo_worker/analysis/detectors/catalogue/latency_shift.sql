---
name = "latency_shift"
category = "Latency Outlier"
driven_by = "shifts WHERE measure = 'duration'"
version = 1
scope = "group"
severity = "low"
confidence = 0.8

title = "{subject} is slower with {key}"
description = """
Calls of {subject} take a multiple of what the others of the same kind take."""
definition = """
The calls of one version, prompt or day take twice as long as the others of their agent and tool or model"""
cause = "What changed is {key}: calls of the same kind without it take half the time or less."
fix = """
Compare with what ran before: the prompt, the tool's implementation, the region or the model that serves it."""
validation = "The durations of this group should not differ from the others."
source = "rank test (Mann and Whitney 1947) over bins of the logarithm"
limits = """
at least eight traces, and five calls of others; model calls by the length of their answers"""
---
SELECT key, subject, trace_id, span_id, span_id AS origin_span_id, 'name' AS field, name AS quote
FROM shifted_calls JOIN (SELECT trace_id, span_id, name FROM steps) USING (trace_id, span_id)
WHERE measure = 'duration'
---
[[example]]
fires = false
why = "usual"
times = 40
spans = [
  { llm = "gpt-5", system = "Answer.", output = "fine", tokens = [1000, 10], seconds = 1 },
]

[[example]]
fires = true
why = "another prompt, four times as slow"
times = 12
spans = [
  { llm = "gpt-5", system = "Answer, and think.", output = "fine", tokens = [1000, 10], seconds = 4 },
]

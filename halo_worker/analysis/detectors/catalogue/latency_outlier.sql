---
name = "latency_outlier"
category = "Latency Outlier"
version = 2
scope = "group"
severity = "low"
confidence = 0.7

title = "{subject} is occasionally far slower than usual"
description = "{subject} takes many times its median duration in some traces; the deepest slow span is named."
definition = """
A span takes more than 5 times the median of its agent, name and model, and more than 8 robust standard \
deviations (half of them from 30 times on)"""
fix = """
Look at what differs in these calls: argument size, cold starts, retries inside the tool, provider latency. Set \
a timeout."""
validation = "The 99th percentile of this span should come near its median."
source = "median and MAD of the logarithm (Iglewicz and Hoaglin 1993)"
limits = """
model, tool and retrieval calls, at least 40 of the kind, of which 3% at most; the deepest slow span only; five \
seconds at least"""
---
SELECT subject || '|' || name AS key, subject, trace_id, span_id, span_id AS origin_span_id, 'name' AS field,
  name AS quote
FROM outliers WHERE measure = 'duration'
---
[[example]]
fires = false
why = "usual"
times = 60
spans = [
  { tool = "export", input = '{"n": 1}', output = "x", seconds = 1 },
]

[[example]]
fires = true
why = "90 times as long"
spans = [
  { tool = "export", input = '{"n": 1}', output = "x", seconds = 90 },
]

---
name = "latency_outlier"
category = "Latency Outlier"
driven_by = "outliers WHERE measure = 'duration'"
version = 4
scope = "group"
severity = "low"
confidence = 0.7

title = "{what}{subject} is occasionally far slower than usual"
description = """
{what}{subject} takes many times its usual duration in some traces; the deepest slow span is named."""
definition = """
A call takes more than 5 times what is usual for its agent and tool or model, and more than 6 robust standard \
deviations (3 of them from 30 times on); or ten minutes and more"""
cause = "The length of their input does not explain it: calls with inputs as long take a fraction of the time."
fix = """
Look at what differs in these calls: argument size, cold starts, retries inside the tool, provider latency. Set a \
timeout."""
validation = "The 99th percentile of this span should come near its median."
source = "median and MAD of the logarithm (Iglewicz and Hoaglin 1993), drawn towards the level above (empirical Bayes)"
limits = """
model calls by the length of their answers; at least 15 calls of the tool or model; inputs of users that are as long \
explain it; at most a tenth of an agent's calls, for more is a shift; the deepest slow span only; five seconds at \
least; not where the times are no clock's, nor of a call whose result says that it failed"""

[what]
llm = "A model call of "
tool = ""
retriever = ""
embedding = ""
reranker = ""
---
SELECT subject || '|' || span_type AS key, subject, trace_id, span_id, span_id AS origin_span_id, 'name' AS field,
  name AS quote
FROM outliers ANTI JOIN failed_steps USING (trace_id, span_id) WHERE measure = 'duration'
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

[[example]]
fires = false
why = "its result says that it failed: the time is that of a timeout, which other detectors tell"
spans = [
  { tool = "export", input = '{"n": 1}', output = '{"error": "deadline exceeded"}', seconds = 90 },
  { llm = "gpt-5", output = "The export timed out." },
]

---
name = "cost_outlier"
category = "Resource Abuse"
driven_by = "outliers WHERE measure = 'cost'"
version = 4
scope = "group"
severity = "low"
confidence = 0.7
needs = ["token counts", "model names"]

title = "{subject} occasionally costs far more than usual"
description = """
Some calls of {subject} cost many times the usual, and their prompts are not longer: their answers or reasoning are."""
definition = """
A model call costs more than 5 times what is usual for its agent and tool or model, and more than 6 robust standard \
deviations (3 of them from 30 times on)"""
cause = "The prompts of these calls are as long as usual: their answers or their reasoning are longer."
fix = """
Cap output and reasoning tokens for this call, and look at what the expensive ones were asked."""
validation = "The most expensive calls of this agent should cost a few times the median."
source = "median and MAD of the logarithm (Iglewicz and Hoaglin 1993), drawn towards the level above (empirical Bayes)"
limits = """
at least 15 calls of the tool or model; inputs of users that are as long explain it; at most a tenth of an agent's \
calls, for more is a shift; five cents at least; costs as sent or estimated; calls whose prompts explain it are \
token outliers"""
speaks = ["cost", "output_tokens", "input_tokens"]
---
-- What a long prompt explains is a token outlier.
SELECT subject || '|' || span_type AS key, subject, trace_id, span_id, span_id AS origin_span_id, 'name' AS field,
  name AS quote
FROM (FROM outliers WHERE measure = 'cost') ANTI
  JOIN (FROM outliers WHERE measure IN ('first prompt', 'later prompt')) t USING (trace_id, span_id)
-- So are the calls after it, whose prompts hold it still: providers ask about five times as much for what is written.
WHERE (trace_id, span_id) NOT IN (
  SELECT (trace_id, span_id) FROM steps
  WHERE span_type = 'llm' AND cost_usd >= 0.05 AND 5 * output_tokens < input_tokens)
---
[[example]]
fires = false
why = "usual"
times = 60
spans = [
  { llm = "gpt-5", output = "fine", tokens = [1000, 100] },
]

[[example]]
fires = true
why = "a very long answer"
spans = [
  { llm = "gpt-5", output = "fine", tokens = [1000, 30000] },
]

[[example]]
fires = false
why = "the prompt is what is long"
spans = [
  { llm = "gpt-5", output = "fine", tokens = [200000, 100] },
]

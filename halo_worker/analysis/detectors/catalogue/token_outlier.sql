---
name = "token_outlier"
category = "Resource Abuse"
driven_by = "outliers WHERE measure IN ('first prompt', 'later prompt')"
version = 4
scope = "group"
severity = "low"
confidence = 0.7
needs = ["token counts"]

title = "{subject} is occasionally sent far more tokens than usual"
description = """
Some calls of {subject} have many times the usual prompt size; they cost more and crowd the task out of the context."""
definition = """
The prompt of a model call, or what it reads beyond the call before it, has more than 5 times the tokens usual for \
its agent and tool or model, and more than 6 robust standard deviations (3 of them from 30 times on); \
in the second case the whole prompt has more than 3 times those of a usual first one"""
cause = "The prompts of these calls hold a text that the others do not: {subject} is usually sent a fraction of it."
fix = """
Cap tool results and history before they enter the prompt; look for a document or an error page that is passed on \
whole."""
validation = "The largest prompts of this agent should shrink to a few times the median."
source = "median and MAD of the logarithm (Iglewicz and Hoaglin 1993), drawn towards the level above (empirical Bayes)"
limits = """
at least 15 calls of the tool or model; inputs of users that are as long explain it; at most a tenth of an agent's \
calls, for more is a shift; 8,000 tokens at least; prompts that grow steadily are left to context_pressure"""
speaks = ["input_tokens"]
---
SELECT subject || '|' || span_type AS key, subject, trace_id, span_id, span_id AS origin_span_id, 'name' AS field,
  name AS quote
FROM outliers o
WHERE measure = 'first prompt' OR measure = 'later prompt' AND NOT EXISTS (
  -- Grown to what is usual: the call before it was short, or was not counted whole.
  SELECT 1 FROM steps s JOIN baselines b ON b.measure = 'first prompt' AND b.service = coalesce(s.service_name, '')
    AND b.agent = coalesce(s.agent_name, '') AND b.what = 'llm ' || coalesce(s.tool_name, s.model, '')
  WHERE s.trace_id = o.trace_id AND s.span_id = o.span_id AND 20 * ln(s.input_tokens) - b.usual <= 20 * ln(3.0))
---
[[example]]
fires = false
why = "usual"
times = 60
spans = [
  { llm = "gpt-5", output = "fine", tokens = [1000, 10] },
]

[[example]]
fires = true
why = "40 times as many"
spans = [
  { llm = "gpt-5", output = "fine", tokens = [40000, 10] },
]

[[example]]
fires = false
why = "the call before it was counted without its cached part"
spans = [
  { llm = "gpt-5", output = "I look.", tokens = [500, 10], calls = ["search"] },
  { tool = "search", input = '{"q": 1}', output = "noon" },
  { llm = "gpt-5", output = "At noon.", tokens = [12000, 10] },
]

---
name = "token_outlier"
category = "Resource Abuse"
version = 2
scope = "group"
severity = "low"
confidence = 0.7
needs = ["token counts"]

title = "{subject} is occasionally sent far more tokens than usual"
description = """
Some calls of {subject} have many times the median prompt size; they cost more and crowd the task out of the \
context."""
definition = """
A model call reads more than the one before it, by over 5 times the median such gain of its agent, name and \
model"""
fix = """
Cap tool results and history before they enter the prompt; look for a document or an error page that is passed \
on whole."""
validation = "The largest prompts of this agent should shrink to a few times the median."
source = "median and MAD of the logarithm (Iglewicz and Hoaglin 1993)"
limits = "at least 40 calls of the kind, and 8,000 tokens; prompts that grow steadily are left to context_pressure"
speaks = ["input_tokens"]
---
SELECT subject || '|' || name AS key, subject, trace_id, span_id, span_id AS origin_span_id, 'name' AS field,
  name AS quote
FROM outliers WHERE measure = 'gained'
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

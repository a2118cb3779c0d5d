---
name = "token_shift"
category = "Resource Abuse"
driven_by = "shifts WHERE measure = 'first prompt'"
version = 1
scope = "group"
severity = "low"
confidence = 0.8
needs = ["token counts"]

title = "{subject} is sent more tokens with {key}"
description = """
The first prompts of {subject} have a multiple of the tokens that the others of the same kind have."""
definition = """
The first prompts of one version, prompt or day have twice the tokens of the others of their agent and model"""
cause = "What changed is {key}: the first prompts of others of the same kind have half the tokens or less."
fix = """
Compare the prompt with the one before: instructions, examples and tool definitions that are sent each time."""
validation = "The first prompts of this group should not differ in size from the others."
source = "rank test (Mann and Whitney 1947) over bins of the logarithm"
limits = """
at least eight traces, and five calls of others"""
speaks = ["input_tokens"]
---
SELECT key, subject, trace_id, span_id, span_id AS origin_span_id, 'name' AS field, name AS quote
FROM shifted_calls JOIN (SELECT trace_id, span_id, name FROM steps) USING (trace_id, span_id)
WHERE measure = 'first prompt'
---
[[example]]
fires = false
why = "usual"
times = 40
spans = [
  { llm = "gpt-5", system = "Answer.", output = "fine", tokens = [1000, 10] },
]

[[example]]
fires = true
why = "another prompt, three times as long"
times = 12
spans = [
  { llm = "gpt-5", system = "Answer, and follow these rules.", output = "fine", tokens = [3000, 10] },
]

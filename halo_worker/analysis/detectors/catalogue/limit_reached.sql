---
name = "limit_reached"
category = "Task Orchestration"
version = 1
scope = "trace"
severity = "medium"
stage = 2
confidence = 0.8

title = "Runs of {subject} end at a limit"
description = "These runs stop because a limit is reached, not because the request is answered."
definition = """
A run ends because a limit of turns, time, tokens or context is reached: its last words say so, or the last turn is \
cut at the output limit"""
fix = """
Look at what fills the limit: repeated work, long results, a task too large for one run. Give the agent a stopping \
rule, and let it answer with what it has before the limit."""
validation = "Runs should end in an answer before any limit."
source = "run outcomes by structure; frameworks' notices of limits"
limits = "notices in place of an answer are short; what other detectors name is theirs"
speaks = ["output_text"]
---
SELECT coalesce(e.agent_name, e.service_name, s.name) || '|limit' AS key,
  coalesce(e.agent_name, e.service_name, s.name) AS subject, e.trace_id, e.span_id, e.span_id AS origin_span_id,
  'name' AS field, s.name AS quote
FROM outcomes o JOIN endings e USING (trace_id)
JOIN (SELECT trace_id, span_id, name FROM steps) s USING (trace_id, span_id)
WHERE o.outcome = 'limit reached' AND o.basis = 'structure' AND e.trace_id NOT IN (FROM explained)
---
[[example]]
fires = false
why = "served"
spans = [
  { llm = "gpt-5", output = "I look that up.", calls = [{ name = "get_invoice", arguments = { id = 7 } }] },
  { tool = "get_invoice", input = '{"id": 7}', output = "12 EUR" },
  { llm = "gpt-5", output = "It is 12 EUR." },
]

[[example]]
fires = true
why = "the notice of a limit in place of an answer"
spans = [
  { llm = "gpt-5", output = "I look that up.", calls = [{ name = "get_invoice", arguments = { id = 7 } }] },
  { tool = "get_invoice", input = '{"id": 7}', output = "12 EUR" },
  { llm = "gpt-5", output = "Gave up after 12 iterations." },
]

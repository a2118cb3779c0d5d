---
name = "result_without_call"
category = "Broken Telemetry"
driven_by = "calls"
version = 1
scope = "trace"
severity = "low"
confidence = 0.8
min_traces = 3
needs = ["tool spans"]

title = "Results of {subject} match no call"
description = """
A tool ran for a call id that no captured model call has: a model span is missing, or ids are not propagated."""
definition = """
A tool span carries the id of a call that no model call of its trace made, nor one of its name, though the \
trace's calls are captured with ids"""
cause = "The model call that asked for it is not among the spans, or its id does not reach the tool."
fix = "Check that every model call is instrumented and that the call id reaches the tool's span."
validation = "Every tool call id on a tool span should be one that a model call made."
source = "NeMo Compass, orphan tool result"
limits = "only where model calls carry ids; a tool that the program calls itself has no call id"
---
WITH ids AS (SELECT trace_id FROM calls GROUP BY ALL HAVING count(*) > 0 AND count(call_id) = count(*))
SELECT coalesce(s.service_name, '') || '|' || s.name AS key, s.name AS subject, s.trace_id, s.span_id,
  s.span_id AS origin_span_id, 'name' AS field, s.name AS quote
FROM steps s SEMI JOIN ids USING (trace_id)
ANTI JOIN nested i ON i.trace_id = s.trace_id AND i.span_id = s.span_id
ANTI JOIN calls c ON c.trace_id = s.trace_id AND (c.call_id = s.tool_call_id)
ANTI JOIN calls n ON n.trace_id = s.trace_id AND n.call_name = s.tool_name
WHERE s.span_type = 'tool' AND s.tool_call_id IS NOT NULL
---
[[example]]
fires = true
why = "an id that no call has"
times = 3
spans = [
  { llm = "gpt-5", calls = [{ name = "search", id = "c1" }] },
  { tool = "search", input = '{"q": 1}', id = "c1", output = "3" },
  { tool = "pay_bill", input = '{"q": 1}', id = "c9", output = "3" },
  { llm = "gpt-5", output = "Your order arrives on Tuesday." },
]

[[example]]
fires = false
why = "the id of its call"
spans = [
  { llm = "gpt-5", calls = [{ name = "search", id = "c1" }] },
  { tool = "search", input = '{"q": 1}', id = "c1", output = "3" },
  { llm = "gpt-5", output = "Your order arrives on Tuesday." },
]

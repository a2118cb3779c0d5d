---
name = "error_other"
category = "Unhandled Error"
driven_by = "errors WHERE class = 'other' AND NOT passed"
version = 2
scope = "trace"
confidence = 0.9

title = "{subject} fails"
description = "{subject} fails and was never retried successfully: {key}"
definition = "A call failed with an error of class 'other' and no later call in the trace succeeded"
reason = "title"
fix = """
Find the input or state that raises this error and fix it; until then return an error message that the model can \
act on."""
validation = "Replay the affected traces, or check the next window: this error should no longer occur."
source = "OTel status and exception semantic conventions; TRAIL, execution errors (arXiv 2505.08638)"
limits = "classes are told by type and message; an error that no instrumentation records is not seen"
---
SELECT key, subject, trace_id, span_id, NULL AS origin_span_id, field, quote
FROM errors e WHERE class = 'other' AND NOT passed
---
[[example]]
fires = true
why = "fails, and nothing later works"
spans = [
  { tool = "get_weather", input = '{"id": 7}', error = "the gremlin ate it" },
  { llm = "gpt-5", output = "Your order arrives on Tuesday." },
]

[[example]]
fires = false
why = "the same work succeeds later"
spans = [
  { tool = "get_weather", input = '{"id": 7}', error = "the gremlin ate it" },
  { tool = "get_weather", input = '{"id": 7}', output = "fine" },
  { llm = "gpt-5", output = "Your order arrives on Tuesday." },
]

---
name = "error_context_length"
category = "Resource Exhaustion"
driven_by = "errors WHERE class = 'context_length' AND NOT passed"
version = 2
scope = "trace"
confidence = 0.9

title = "{subject} exceeds its context window"
description = "{subject} exceeds its context window and was never retried successfully: {key}"
definition = "A call failed with an error of class 'context_length' and no later call in the trace succeeded"
reason = "cause"
fix = "Trim or summarise the history sent on every turn, and cap the size of tool results."
validation = "Replay the affected traces, or check the next window: this error should no longer occur."
source = "OTel status and exception semantic conventions; TRAIL, execution errors (arXiv 2505.08638)"
limits = "classes are told by type and message; an error that no instrumentation records is not seen"
---
SELECT key, subject, trace_id, span_id, NULL AS origin_span_id, field, quote
FROM errors e WHERE class = 'context_length' AND NOT passed
---
[[example]]
fires = true
why = "fails, and nothing later works"
spans = [
  { tool = "summarise", input = '{"id": 7}', error = "This model's maximum context length is 8192 tokens" },
  { llm = "gpt-5", output = "Your order arrives on Tuesday." },
]

[[example]]
fires = false
why = "the same work succeeds later"
spans = [
  { tool = "summarise", input = '{"id": 7}', error = "This model's maximum context length is 8192 tokens" },
  { tool = "summarise", input = '{"id": 7}', output = "fine" },
  { llm = "gpt-5", output = "Your order arrives on Tuesday." },
]

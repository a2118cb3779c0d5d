---
name = "error_exhaustion"
category = "Resource Exhaustion"
driven_by = "errors WHERE class = 'exhaustion' AND NOT passed"
version = 2
scope = "trace"
confidence = 0.9

title = "{subject} runs out of memory, disk or handles"
description = "{subject} runs out of memory, disk or handles and was never retried successfully: {key}"
definition = "A call failed with an error of class 'exhaustion' and no later call in the trace succeeded"
reason = "cause"
fix = "Limit what one call may use, and split the work."
validation = "Replay the affected traces, or check the next window: this error should no longer occur."
source = "OTel status and exception semantic conventions; TRAIL, execution errors (arXiv 2505.08638)"
limits = "classes are told by type and message; an error that no instrumentation records is not seen"
---
SELECT key, subject, trace_id, span_id, span_id AS origin_span_id, field, quote
FROM errors e WHERE class = 'exhaustion' AND NOT passed
---
[[example]]
fires = true
why = "fails, and nothing later works"
spans = [
  { tool = "render", input = '{"id": 7}', error = "No space left on device" },
  { llm = "gpt-5", output = "Your order arrives on Tuesday." },
]

[[example]]
fires = false
why = "the same work succeeds later"
spans = [
  { tool = "render", input = '{"id": 7}', error = "No space left on device" },
  { tool = "render", input = '{"id": 7}', output = "fine" },
  { llm = "gpt-5", output = "Your order arrives on Tuesday." },
]

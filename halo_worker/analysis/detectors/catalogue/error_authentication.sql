---
name = "error_authentication"
category = "Authentication Errors"
driven_by = "errors WHERE class = 'authentication' AND NOT passed"
version = 2
scope = "trace"
confidence = 0.9

title = "{subject} is denied access"
description = "{subject} is denied access and was never retried successfully: {key}"
definition = "A call failed with an error of class 'authentication' and no later call in the trace succeeded"
reason = "cause"
fix = "Check the credentials and scopes of the call, and fail at start when they are missing."
validation = "Replay the affected traces, or check the next window: this error should no longer occur."
source = "OTel status and exception semantic conventions; TRAIL, execution errors (arXiv 2505.08638)"
limits = "classes are told by type and message; an error that no instrumentation records is not seen"
---
SELECT key, subject, trace_id, span_id, span_id AS origin_span_id, field, quote
FROM errors e WHERE class = 'authentication' AND NOT passed
---
[[example]]
fires = true
why = "fails, and nothing later works"
spans = [
  { tool = "get_invoice", input = '{"id": 7}', error = "HTTP 403 Forbidden" },
  { llm = "gpt-5", output = "Your order arrives on Tuesday." },
]

[[example]]
fires = false
why = "the same work succeeds later"
spans = [
  { tool = "get_invoice", input = '{"id": 7}', error = "HTTP 403 Forbidden" },
  { tool = "get_invoice", input = '{"id": 7}', output = "fine" },
  { llm = "gpt-5", output = "Your order arrives on Tuesday." },
]

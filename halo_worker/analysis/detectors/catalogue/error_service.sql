---
name = "error_service"
category = "Service Errors"
driven_by = "errors WHERE class = 'service' AND NOT passed"
version = 2
scope = "trace"
confidence = 0.9

title = "{subject} fails: the service behind it is unavailable"
description = "{subject} fails: the service behind it is unavailable and was never retried successfully: {key}"
definition = "A call failed with an error of class 'service' and no later call in the trace succeeded"
reason = "cause"
fix = """
Check that the service is up and that its address and certificate are right. Retry 5xx answers and lost \
connections with backoff, a limit and Retry-After, and tell the user when it stays down."""
validation = "Replay the affected traces, or check the next window: this error should no longer occur."
source = "OTel status and exception semantic conventions; TRAIL, execution errors (arXiv 2505.08638)"
limits = "classes are told by type and message; an error that no instrumentation records is not seen"
---
SELECT key, subject, trace_id, span_id, span_id AS origin_span_id, field, quote
FROM errors e WHERE class = 'service' AND NOT passed
---
[[example]]
fires = true
why = "fails, and nothing later works"
spans = [
  { tool = "get_invoice", input = '{"id": 7}', error = "502 Bad Gateway" },
  { llm = "gpt-5", output = "Your order arrives on Tuesday." },
]

[[example]]
fires = false
why = "the model says that it goes another way, and that works"
spans = [
  { tool = "get_invoice", input = '{"id": 7}', error = "502 Bad Gateway" },
  { llm = "gpt-5", output = "I look into the archive instead.", calls = ["search_archive"] },
  { tool = "search_archive", input = '{"q": "invoice 7"}', output = "12 EUR" },
  { llm = "gpt-5", output = "It is 12 EUR." },
]

[[example]]
fires = false
why = "the same work succeeds later"
spans = [
  { tool = "get_invoice", input = '{"id": 7}', error = "502 Bad Gateway" },
  { tool = "get_invoice", input = '{"id": 7}', output = "fine" },
  { llm = "gpt-5", output = "Your order arrives on Tuesday." },
]

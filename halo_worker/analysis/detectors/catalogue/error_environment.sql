---
name = "error_environment"
category = "Environment Setup Errors"
driven_by = "errors WHERE class = 'environment' AND NOT passed"
version = 2
scope = "trace"
confidence = 0.9

title = "{subject} fails: a dependency or setting is missing"
description = "{subject} fails: a dependency or setting is missing and was never retried successfully: {key}"
definition = "A call failed with an error of class 'environment' and no later call in the trace succeeded"
reason = "title"
fix = "Install or configure what the error names, and check for it at start."
validation = "Replay the affected traces, or check the next window: this error should no longer occur."
source = "OTel status and exception semantic conventions; TRAIL, execution errors (arXiv 2505.08638)"
limits = "classes are told by type and message; an error that no instrumentation records is not seen"
---
SELECT key, subject, trace_id, span_id, span_id AS origin_span_id, field, quote
FROM errors e WHERE class = 'environment' AND NOT passed
---
[[example]]
fires = true
why = "fails, and nothing later works"
spans = [
  { tool = "run_code", input = '{"id": 7}', error = "No module named pandas", error_type = "ModuleNotFoundError" },
  { llm = "gpt-5", output = "Your order arrives on Tuesday." },
]

[[example]]
fires = false
why = "the same work succeeds later"
spans = [
  { tool = "run_code", input = '{"id": 7}', error = "No module named pandas", error_type = "ModuleNotFoundError" },
  { tool = "run_code", input = '{"id": 7}', output = "fine" },
  { llm = "gpt-5", output = "Your order arrives on Tuesday." },
]

---
name = "error_model_code"
category = "Formatting Errors"
driven_by = "errors WHERE class = 'model_code'"
version = 2
scope = "trace"
confidence = 0.9

title = "{subject} is given code or arguments that cannot run"
description = "{subject} is given code or arguments that cannot run and was never retried successfully: {key}"
definition = "A call failed with an error of class 'model_code' and no later call in the trace succeeded"
reason = "title"
fix = """
Show the model the signature and one correct example, validate what it wrote before running it, and return the \
parser's message."""
validation = "Replay the affected traces, or check the next window: this error should no longer occur."
source = "OTel status and exception semantic conventions; TRAIL, execution errors (arXiv 2505.08638)"
limits = "classes are told by type and message; an error that no instrumentation records is not seen"
---
SELECT key, subject, trace_id, span_id, NULL AS origin_span_id, field, quote
FROM errors e WHERE class = 'model_code'
---
[[example]]
fires = true
why = "fails, and nothing later works"
spans = [
  { tool = "run_code", input = '{"id": 7}', error = "invalid syntax", error_type = "SyntaxError" },
  { llm = "gpt-5", output = "Your order arrives on Tuesday." },
]

[[example]]
fires = false
why = "another class of error"
spans = [
  { tool = "run_code", input = '{"id": 7}', error = "Read timed out" },
  { llm = "gpt-5", output = "Your order arrives on Tuesday." },
]

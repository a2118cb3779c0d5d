---
name = "error_format"
category = "Formatting Errors"
driven_by = "errors WHERE class IN ('format', 'unsupported') AND NOT passed"
version = 3
scope = "trace"
confidence = 0.9

title = "{subject} rejects its input"
description = "{subject} rejects its input and was never retried successfully: {key}"
definition = """
A call failed with an error of class 'format' or 'unsupported' and no later call in the trace succeeded, \
and the answer does not tell the user"""
reason = "title"
fix = """
Show the model the schema and one example, validate arguments before the call, and return which argument was \
wrong and why."""
validation = "Replay the affected traces, or check the next window: this error should no longer occur."
source = "OTel status and exception semantic conventions; TRAIL, execution errors (arXiv 2505.08638)"
limits = "classes are told by type and message; an error that no instrumentation records is not seen"

[fixes]
unsupported = """
Name the types that {subject} takes in its description and in its error, and give the model another tool for the rest, \
or convert the input before the call."""
---
SELECT key, subject, trace_id, span_id, NULL AS origin_span_id, field, quote
FROM errors e WHERE class IN ('format', 'unsupported') AND NOT passed
  AND NOT EXISTS (
    SELECT 1 FROM replies a WHERE a.answer AND a.admits AND a.trace_id = e.trace_id AND a.end_time > e.start_time)
---
[[example]]
fires = true
why = "fails, and nothing later works"
spans = [
  { tool = "book_flight", input = '{"id": 7}', error = "1 validation error for Flight" },
  { llm = "gpt-5", output = "Your order arrives on Tuesday." },
]

[[example]]
fires = false
why = "the same work succeeds later"
spans = [
  { tool = "book_flight", input = '{"id": 7}', error = "1 validation error for Flight" },
  { tool = "book_flight", input = '{"id": 7}', output = "fine" },
  { llm = "gpt-5", output = "Your order arrives on Tuesday." },
]

[[example]]
fires = false
why = "the answer tells the user"
spans = [
  { tool = "book_flight", input = '{"id": 7}', error = "1 validation error for Flight" },
  { llm = "gpt-5", output = "I could not book it." },
]

[[example]]
fires = true
why = "a type of input that the tool does not take"
spans = [
  { tool = "read_file", input = '{"path": "a.jsonld"}', error = "The formats ['.jsonld'] are not supported." },
  { llm = "gpt-5", output = "Your order arrives on Tuesday." },
]

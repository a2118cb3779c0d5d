---
name = "error_model_code"
category = "Formatting Errors"
driven_by = "(SELECT 1 FROM errors WHERE class = 'model_code' UNION ALL SELECT 1 FROM half_done)"
version = 3
scope = "trace"
confidence = 0.9

title = "{subject} is given code or arguments that cannot run"
description = "{subject} is given code or arguments that cannot run and was never retried successfully: {key}"
definition = """
A call failed with an error of class 'model_code' and no later call in the trace succeeded; or code ended in a stack \
trace after it printed what the next turn takes up"""
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
UNION ALL
-- What it printed before it failed was of use, so nothing else tells of it.
SELECT tool, tool, trace_id, span_id, NULL, 'output_text', left(text, 300)
FROM failed_results SEMI JOIN half_done USING (trace_id, span_id) WHERE NOT told
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

[[example]]
fires = true
why = "code fails after it printed what the next turn takes up"

[[example.spans]]
tool = "python"
input = '{"code": "for hit in find(query): print(hit)"}'
output = """
exit code 1
Traceback (most recent call last):
  File "/tmp/a.py", line 6, in <module>
    for hit in find(query):
TypeError: 'NoneType' object is not iterable
The harbour museum exhibits wooden fishing vessels on Thursdays."""

[[example.spans]]
llm = "gpt-5"
output = "On Thursdays the harbour museum shows wooden vessels."

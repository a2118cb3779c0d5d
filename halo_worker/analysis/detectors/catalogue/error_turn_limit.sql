---
name = "error_turn_limit"
category = "Task Orchestration"
driven_by = "errors WHERE class = 'turn_limit' AND NOT passed"
version = 2
scope = "trace"
confidence = 0.9

title = "{subject} hits its turn limit"
description = "{subject} hits its turn limit and was never retried successfully: {key}"
definition = "A call failed with an error of class 'turn_limit' and no later call in the trace succeeded"
reason = "cause"
fix = "Give the agent a stopping rule, and look at what it repeats before the limit."
validation = "Replay the affected traces, or check the next window: this error should no longer occur."
source = "OTel status and exception semantic conventions; TRAIL, execution errors (arXiv 2505.08638)"
limits = "classes are told by type and message; an error that no instrumentation records is not seen"
---
SELECT key, subject, trace_id, span_id, NULL AS origin_span_id, field, quote
FROM errors e WHERE class = 'turn_limit' AND NOT passed
---
[[example]]
fires = true
why = "fails, and nothing later works"

[[example.spans]]
tool = "research"
input = '{"id": 7}'
error = "Recursion limit of 25 reached without hitting a stop condition"
error_type = "GraphRecursionError"

[[example.spans]]
llm = "gpt-5"
output = "Your order arrives on Tuesday."

[[example]]
fires = false
why = "the same work succeeds later"

[[example.spans]]
tool = "research"
input = '{"id": 7}'
error = "Recursion limit of 25 reached without hitting a stop condition"
error_type = "GraphRecursionError"

[[example.spans]]
tool = "research"
input = '{"id": 7}'
output = "fine"

[[example.spans]]
llm = "gpt-5"
output = "Your order arrives on Tuesday."

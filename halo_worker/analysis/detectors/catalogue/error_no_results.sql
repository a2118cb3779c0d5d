---
name = "error_no_results"
category = "Poor Information Retrieval"
driven_by = "errors WHERE class = 'no_results' AND NOT passed"
version = 2
scope = "trace"
confidence = 0.9

title = "{subject} returns no results"
description = "{subject} returns no results and was never retried successfully: {key}"
definition = """
A call failed with an error of class 'no_results' and no later call in the trace succeeded, and the answer does \
not tell the user"""
reason = "cause"
fix = "Tell the model to broaden a query without results, and let the tool suggest near matches."
validation = "Replay the affected traces, or check the next window: this error should no longer occur."
source = "OTel status and exception semantic conventions; TRAIL, execution errors (arXiv 2505.08638)"
limits = "classes are told by type and message; an error that no instrumentation records is not seen"
---
SELECT key, subject, trace_id, span_id, NULL AS origin_span_id, field, quote
FROM errors e WHERE class = 'no_results' AND NOT passed
  AND NOT EXISTS (
    SELECT 1 FROM replies a WHERE a.answer AND a.admits AND a.trace_id = e.trace_id AND a.end_time > e.start_time)
---
[[example]]
fires = true
why = "fails, and nothing later works"
spans = [
  { tool = "find_flights", input = '{"id": 7}', error = "returned no results" },
  { llm = "gpt-5", output = "Your order arrives on Tuesday." },
]

[[example]]
fires = false
why = "the same work succeeds later"
spans = [
  { tool = "find_flights", input = '{"id": 7}', error = "returned no results" },
  { tool = "find_flights", input = '{"id": 7}', output = "fine" },
  { llm = "gpt-5", output = "Your order arrives on Tuesday." },
]

[[example]]
fires = false
why = "the answer tells the user"
spans = [
  { tool = "find_flights", input = '{"id": 7}', error = "returned no results" },
  { llm = "gpt-5", output = "There are no flights on that day, unfortunately." },
]

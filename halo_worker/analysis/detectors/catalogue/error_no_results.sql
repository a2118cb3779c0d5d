---
name = "error_no_results"
category = "Poor Information Retrieval"
driven_by = "errors WHERE class = 'no_results' AND NOT passed"
version = 3
scope = "trace"
confidence = 0.9

title = "{subject} returns no results"
description = "{subject} returns no results and was never retried successfully: {key}"
definition = """
A call failed with an error of class 'no_results' and no later call in the trace succeeded, the answer does not tell \
the user, and the same tool found nothing more than once or nothing else was tried after it"""
reason = "cause"
fix = "Tell the model to broaden a query without results, and let the tool suggest near matches."
validation = "Replay the affected traces, or check the next window: this error should no longer occur."
source = "OTel status and exception semantic conventions; TRAIL, execution errors (arXiv 2505.08638)"
limits = "classes are told by type and message; an error that no instrumentation records is not seen"
---
SELECT key, subject, trace_id, span_id, NULL AS origin_span_id, field, quote
FROM (
  SELECT *, count(*) OVER (PARTITION BY trace_id, subject) > 1 AS again FROM errors
  WHERE class = 'no_results' AND NOT passed
) e
WHERE NOT EXISTS (
    SELECT 1 FROM replies a WHERE a.answer AND a.admits AND a.trace_id = e.trace_id AND a.end_time > e.start_time)
  -- One search without results, after which the agent goes on, is a part of searching.
  AND (again OR NOT EXISTS (
    SELECT 1 FROM (FROM steps ANTI JOIN nested USING (trace_id, span_id)) s
    WHERE s.trace_id = e.trace_id AND s.span_type IN ('tool', 'retriever') AND NOT ends_run(s.work)
      AND s.start_time > e.start_time))
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

[[example]]
fires = false
why = "the agent goes on at once"
spans = [
  { tool = "find_flights", input = '{"id": 7}', error = "returned no results" },
  { tool = "find_trains", input = '{"id": 8}', output = "the 8:15 from Bergen" },
  { llm = "gpt-5", output = "Take the train at 8:15." },
]

[[example]]
fires = true
why = "the same search again and again"
spans = [
  { tool = "find_flights", input = '{"id": 7}', error = "returned no results" },
  { tool = "find_flights", input = '{"id": 8}', error = "returned no results" },
  { tool = "find_trains", input = '{"id": 9}', output = "the 8:15 from Bergen" },
  { llm = "gpt-5", output = "Take the train at 8:15." },
]

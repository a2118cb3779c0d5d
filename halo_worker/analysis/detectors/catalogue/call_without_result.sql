---
name = "call_without_result"
category = "Task Orchestration"
driven_by = "calls"
version = 2
scope = "trace"
confidence = 0.7
needs = ["tool calls of models", "tool spans"]

title = "Calls of {subject} are requested and never executed"
description = "The model requests {subject}, no span shows that it ran, and the run ends there."
definition = """
A model asks for a tool call that no tool span in the trace answers, though the trace has tool spans, and the \
model is never asked again"""
cause = "The step between the model's call and the tool is missing: no span of {subject} follows the call."
fix = """
Look at what ends the run between the model's answer and the tool: an exception in the loop, a limit, or a name \
that is dispatched nowhere."""
validation = "Every tool call id of a model should appear on a tool span."
source = "NeMo Compass, missing tool result"
limits = "sampling and late spans look the same; only judged when the trace has tool spans"
---
WITH last AS (SELECT trace_id, max(start_time) AS asked_at FROM steps ANTI JOIN asides USING (trace_id, span_id)
  WHERE span_type = 'llm' GROUP BY trace_id),
open AS (
  SELECT c.trace_id, c.span_id, c.call_id, c.call_name, c.start_time, c.service_name FROM calls c
    JOIN last USING (trace_id)
  WHERE coalesce(c.call_name, '') <> '' AND NOT ends_run(c.call_name)
    AND NOT coalesce(last.asked_at > c.end_time, false)
    AND trace_id NOT IN (SELECT trace_id FROM outcomes WHERE stopped)
),
beside AS (FROM steps SEMI JOIN open USING (trace_id))
SELECT c.call_name AS key, c.call_name AS subject, c.trace_id, c.span_id, c.span_id AS origin_span_id,
  'name' AS field, s.name AS quote
FROM open c JOIN steps s USING (trace_id, span_id)
WHERE (c.service_name, c.call_name) IN (SELECT DISTINCT (service_name, tool_name) FROM steps
  WHERE span_type = 'tool' AND tool_name IS NOT NULL)
  AND EXISTS (SELECT 1 FROM beside t WHERE t.trace_id = c.trace_id AND t.span_type = 'tool')
  AND NOT EXISTS (SELECT 1 FROM beside t WHERE t.trace_id = c.trace_id AND t.tool_call_id = c.call_id)
  AND NOT EXISTS (SELECT 1 FROM beside t WHERE t.trace_id = c.trace_id AND t.span_type = 'tool'
    AND t.tool_name = c.call_name AND t.start_time >= c.start_time)
---
[[example]]
fires = true
why = "asked for, never run"
spans = [
  { llm = "gpt-5", calls = ["search"] },
  { tool = "search", input = '{"q": 1}', output = "3" },
  { llm = "gpt-5", calls = ["search"] },
]

[[example]]
fires = false
why = "each call runs"
spans = [
  { llm = "gpt-5", calls = ["search"] },
  { tool = "search", input = '{"q": 1}', output = "3" },
  { llm = "gpt-5", output = "Your order arrives on Tuesday." },
]

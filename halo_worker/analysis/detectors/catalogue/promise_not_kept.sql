---
name = "promise_not_kept"
category = "Task Orchestration"
version = 2
scope = "trace"
confidence = 0.8
needs = ["message content"]

title = "{subject} announces a step and stops"
description = "The answer ends with an announced step; no tool is called and the run ends."
definition = "The last model call of a trace announces a step, calls no tool, and nothing follows"
cause = "The step that the answer announces is missing: the turn ends with the announcement."
fix = "Do not end a turn on an announcement: let the model continue, or answer with partial results."
validation = "Final answers should not end in an announcement."
source = "MAST 3.1, stops too early; 'reasoning mismatch' of AWS Strands evaluations"
limits = "English; only where the agent has tools"
---
SELECT coalesce(f.agent_name, 'the agent') AS key, coalesce(f.agent_name, 'the agent') AS subject, f.trace_id,
  f.span_id,
  f.span_id AS origin_span_id, 'output_text' AS field, trim(right(f.answer, 300)) AS quote
FROM answers f JOIN steps s USING (trace_id, span_id)
WHERE s.output_length < 2000 AND (len(s.tools_offered) > 0
  OR f.service_name IN (SELECT service_name FROM services_with_tools)) AND promises(f.answer)
  AND NOT conditional(f.answer)
  AND f.trace_id NOT IN (SELECT trace_id FROM outcomes WHERE stopped)
  AND NOT EXISTS (SELECT 1 FROM steps n ANTI JOIN asides USING (trace_id, span_id) WHERE n.trace_id = f.trace_id
    AND n.start_time > s.start_time
    AND n.span_type IN ('llm', 'tool', 'retriever', 'agent'))
---
[[example]]
fires = true
why = "announced, not done"
spans = [
  { llm = "gpt-5", tools = ["search"], output = "Let me look that up for you." },
]

[[example]]
fires = false
why = "an offer"
spans = [
  { llm = "gpt-5", tools = ["search"], output = "Let me know if you need anything else." },
]

---
name = "stopped_at_limit"
category = "Task Orchestration"
version = 3
scope = "trace"
confidence = 0.95
replaces = ["limit_reached"]
needs = ["message content"]

title = "{subject} stops at its limit of steps or time"
description = "The run reaches its limit, and the user gets the framework's message instead of an answer."
definition = "The answer of a run is the framework's own word that it stopped at a limit of steps, turns or time"
cause = """
The run takes more steps or time than its limit allows, and no step before the last one answers with what is \
there."""
fix = """
Look at what the agent repeats before the limit; give it a stopping rule, and let it answer with partial results \
at the last step."""
validation = "No answer should be a message about a limit."
source = "LangChain, LangGraph, smolagents and others answer so instead of failing"
limits = "English; the words of frameworks, not of models"
---
WITH told AS (
  SELECT trace_id, span_id, start_time, end_time, coalesce(agent_name, name) AS who, output_hash,
    stopped_by_limit_text(output_head) AS quote
  FROM steps WHERE span_type IN ('llm', 'agent', 'workflow', 'chain') AND NOT failed AND output_length < 300
    AND stopped_by_limit(output_head)
)
SELECT who AS key, who AS subject, trace_id, arg_max(span_id, start_time) AS span_id,
  arg_max(span_id, start_time) AS origin_span_id, 'output_text' AS field, arg_max(quote, start_time) AS quote
-- Who passes on what was told within it tells nothing new.
FROM told t WHERE NOT EXISTS (SELECT 1 FROM told i WHERE i.trace_id = t.trace_id AND i.output_hash = t.output_hash
  AND i.who <> t.who AND i.start_time > t.start_time AND i.end_time <= t.end_time)
GROUP BY ALL
---
[[example]]
fires = true
why = "LangChain's words"
spans = [
  { llm = "gpt-5", output = "Agent stopped due to iteration limit or time limit." },
]

[[example]]
fires = true
why = "a number of steps in place of an answer"
spans = [
  { tool = "get_invoice", input = '{"id": 7}', output = "12 EUR" },
  { llm = "gpt-5", output = "Gave up after 12 iterations." },
]

[[example]]
fires = false
why = "a bus stop"
spans = [
  { llm = "gpt-5", output = "The bus stopped at the corner." },
]

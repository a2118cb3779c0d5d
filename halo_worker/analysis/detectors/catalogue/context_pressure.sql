---
name = "context_pressure"
category = "Context Handling Failures"
version = 2
scope = "group"
confidence = 0.8
needs = ["token counts", "model names"]

title = "{subject} nears its context window"
description = """
Prompts come near the model's context window: the next step may not fit, and content in the middle is used less."""
definition = """
A prompt fills 90% of its model's context window or more; or, where that is not known, it grows within a trace \
to 8 times its first size, 30,000 tokens at least, in an agent whose prompts seldom do"""
cause = "Turns and tool results stay in the prompt: it grows with each step and nothing takes them out."
fix = """
Summarise or drop old turns, cap tool results before they enter the prompt, and hand long work to a fresh \
context."""
validation = "The largest prompt of each trace should stay well below the window."
source = "context windows of the price list that ships with halo; TRAIL, Context Handling Failures"
limits = "needs token counts; providers cut or refuse above the window, which shows elsewhere"
speaks = ["input_tokens"]
---
WITH asked AS (
  SELECT trace_id, span_id, name, start_time, actor AS who, agent_name, model, input_tokens, w.size
  FROM steps LEFT JOIN context_windows w USING (served_model) WHERE span_type = 'llm' AND input_tokens > 0
),
full_ AS (SELECT * FROM asked WHERE input_tokens >= 0.9 * size),
grown AS (
  SELECT * FROM asked WHERE trace_id IN (SELECT trace_id FROM asked WHERE size IS NULL AND input_tokens >= 30000)
  WINDOW t AS (PARTITION BY trace_id, agent_name, model ORDER BY start_time, span_id)
  QUALIFY size IS NULL AND count(*) OVER t >= 4 AND input_tokens >= 30000
    AND input_tokens >= 8 * first_value(input_tokens) OVER t
),
seldom AS (
  SELECT who FROM (SELECT DISTINCT who, trace_id FROM asked SEMI JOIN grown USING (who)) LEFT
    JOIN (SELECT DISTINCT who, trace_id, true AS g FROM grown) USING (who, trace_id)
  GROUP BY who HAVING count(*) >= 20 AND count(g) <= 0.05 * count(*)
)
SELECT who AS key, who AS subject, trace_id, arg_max(span_id, input_tokens) AS span_id,
  arg_max(span_id, input_tokens) AS origin_span_id,
  'name' AS field, arg_max(name, input_tokens) AS quote
FROM (SELECT who, trace_id, span_id, input_tokens, name FROM full_ UNION ALL SELECT who, trace_id, span_id,
  input_tokens, name FROM grown SEMI JOIN seldom USING (who))
GROUP BY who, trace_id
---
[[example]]
fires = true
why = "nearly full"
spans = [
  { llm = "gpt-4", output = "fine", tokens = [8000, 10] },
]

[[example]]
fires = false
why = "half full"
spans = [
  { llm = "gpt-4", output = "fine", tokens = [4000, 10] },
]

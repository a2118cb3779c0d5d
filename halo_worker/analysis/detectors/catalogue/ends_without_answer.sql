---
name = "ends_without_answer"
category = "Task Orchestration"
version = 2
scope = "group"
confidence = 0.85
needs = ["tool calls of models", "tool spans", "root spans"]

title = "Runs of {subject} end without an answer"
description = "The tools returned, and the model is not called again: the user gets no answer."
definition = """
A run ends after its tools answered: the model asked for them and is never called again, while this agent's runs \
mostly end in an answer"""
fix = """
Look at what ends the loop after the tools: a limit, a swallowed exception, or a stop condition that is met too \
early."""
validation = "Every run that is not in error should end in an answer."
source = "MAST 3.1, stops too early; goals abandoned"
limits = """
needs model and tool spans, 20 runs of the kind of which nine in ten end in an answer; runs that end in ERROR \
are told elsewhere"""
---
WITH ends AS (
  SELECT s.*, t.root_name, t.status_code FROM (
    SELECT trace_id, arg_max(span_id, start_time) AS span_id, arg_max(name, start_time) AS name,
      max(end_time) AS end_time, arg_max(calls, start_time) AS calls,
      bool_and(has_output) AS known, arg_max(failed, start_time) AS failed, any_value(service_name) AS service_name
    FROM steps ANTI JOIN asides USING (trace_id, span_id) ANTI JOIN judging USING (trace_id, span_id)
    WHERE span_type = 'llm' AND end_time IS NOT NULL
      AND trace_id NOT IN (SELECT trace_id FROM outcomes WHERE stopped) GROUP BY trace_id
  ) s JOIN outcomes t USING (trace_id)
),
followed AS (
  SELECT c.service_name, c.call_name FROM calls c JOIN ends e USING (trace_id) WHERE c.call_name IS NOT NULL
    GROUP BY ALL
  HAVING count(*) >= 10 AND count(*) FILTER (c.span_id <> e.span_id) >= 0.8 * count(*)
),
usual AS (
  SELECT service_name, root_name FROM ends WHERE root_name IS NOT NULL GROUP BY ALL
  HAVING count(*) >= 20 AND count(*) FILTER (calls = 0) >= 0.9 * count(*)
)
SELECT e.root_name AS key, e.root_name AS subject, e.trace_id, e.span_id, e.span_id AS origin_span_id,
  'name' AS field, e.name AS quote
FROM ends e SEMI JOIN usual u ON u.service_name = e.service_name AND u.root_name = e.root_name
WHERE e.calls > 0 AND e.known AND NOT e.failed AND e.status_code IS DISTINCT FROM 'ERROR'
  AND EXISTS (SELECT 1 FROM steps t WHERE t.trace_id = e.trace_id AND t.span_type = 'tool'
    AND t.start_time >= e.end_time AND NOT t.failed)
  AND NOT EXISTS (SELECT 1 FROM calls c WHERE c.trace_id = e.trace_id AND c.span_id = e.span_id
    AND (ends_run(c.call_name)
    OR (c.service_name, c.call_name) NOT IN (SELECT (service_name, call_name) FROM followed)))
---
[[example]]
fires = true
why = "the last turn asks for a tool"
spans = [
  { llm = "gpt-5", calls = ["search"], finish = "tool_call" },
  { tool = "search", input = '{"q": 1}', output = "3" },
]

[[example]]
fires = false
why = "as most runs: an answer"
times = 30
spans = [
  { llm = "gpt-5", calls = ["search"], finish = "tool_call" },
  { tool = "search", input = '{"q": 1}', output = "3" },
  { llm = "gpt-5", output = "Your order arrives on Tuesday." },
]

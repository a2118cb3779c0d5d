---
name = "handoff_ping_pong"
category = "Task Orchestration"
version = 2
scope = "trace"
severity = "medium"
confidence = 0.9
needs = ["agent names"]

title = "{subject} hand the task back and forth"
description = """
The agents hand the task to each other at least three times each without any other tool call in between."""
definition = """
The same two or three agents take turns at least three times, and no tool but a hand-off is called meanwhile"""
cause = "No hand-off says what was tried, so that each agent finds the task as new as the one before."
fix = "Let one of them own the task, and pass what was tried and why with each hand-off."
validation = "No trace should have more than two hand-offs between the same agents."
source = "MAST 1.3 step repetition, 2.1 conversation reset"
limits = "needs agent names on agent spans, or hand-off tools; a supervisor whose workers use tools is left alone"
---
WITH taken AS (
  SELECT trace_id, span_id, name, start_time, agent_name AS who FROM steps WHERE span_type = 'agent'
    AND agent_name IS NOT NULL
  UNION ALL
  SELECT trace_id, span_id, name, start_time, work FROM steps ANTI JOIN nested USING (trace_id, span_id)
  WHERE span_type = 'tool' AND routes_work(work)
    AND trace_id NOT IN (SELECT trace_id FROM steps WHERE span_type = 'agent' GROUP BY trace_id
      HAVING count(DISTINCT agent_name) > 1)
),
long AS (SELECT trace_id FROM taken GROUP BY trace_id HAVING count(*) >= 6),
stepped AS (
  SELECT trace_id, span_id, name, start_time, who, lag(who, 1) OVER w AS b1, lag(who, 2) OVER w AS b2,
    lag(who, 3) OVER w AS b3, lag(who, 4) OVER w AS b4, lag(who, 5) OVER w AS b5, lag(who, 6) OVER w AS b6,
    lag(who, 7) OVER w AS b7, lag(who, 8) OVER w AS b8,
    lag(start_time, 5) OVER w AS began
  FROM taken SEMI JOIN long USING (trace_id) WINDOW w AS (PARTITION BY trace_id ORDER BY start_time, span_id)
),
rounds AS (
  SELECT trace_id, span_id, name, start_time, began,
    array_to_string(list_sort(list_distinct([who, b1, b2])), ' ⇄ ') AS who_all
  FROM stepped WHERE who = b2 AND b2 = b4 AND b1 = b3 AND b3 = b5 AND who <> b1
    OR who = b3 AND b3 = b6 AND b1 = b4 AND b4 = b7 AND b2 = b5 AND b5 = b8 AND who <> b1 AND b1 <> b2 AND who <> b2
)
SELECT who_all AS key, who_all AS subject, trace_id, arg_max(span_id, start_time) AS span_id,
  arg_max(span_id, start_time) AS origin_span_id, 'name' AS field, arg_max(name, start_time) AS quote
FROM rounds r WHERE NOT EXISTS (
  SELECT 1 FROM steps t WHERE t.trace_id = r.trace_id AND t.span_type IN ('tool', 'retriever') AND NOT t.failed
    AND t.start_time BETWEEN r.began AND r.start_time
    AND NOT routes_work(t.work))
GROUP BY ALL
---
[[example]]
fires = true
why = "three rounds"
spans = [
  { agent = "writer" },
  { agent = "critic" },
  { agent = "writer" },
  { agent = "critic" },
  { agent = "writer" },
  { agent = "critic" },
]

[[example]]
fires = false
why = "one round"
spans = [
  { agent = "writer" },
  { agent = "critic" },
]

[[example]]
fires = false
why = "with work between"
spans = [
  { agent = "writer" },
  { tool = "search", input = '{"q": 0}', output = "3" },
  { agent = "critic" },
  { agent = "writer" },
  { tool = "search", input = '{"q": 1}', output = "3" },
  { agent = "critic" },
  { agent = "writer" },
  { tool = "search", input = '{"q": 2}', output = "3" },
  { agent = "critic" },
]

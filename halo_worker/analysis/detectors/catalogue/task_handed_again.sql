---
name = "task_handed_again"
category = "Task Orchestration"
version = 2
scope = "trace"
severity = "medium"
confidence = 0.8
needs = ["message content"]

title = "{subject} hands out the same task again and again"
description = "The same task goes to one sub-agent after another, and each returns it without any work."
definition = """
Four sub-agents or more are given word for word the same task, one after another and each after a turn of the model \
that hands it out; none of them uses a tool"""
cause = "Each sub-agent gets the task in the same words, and nothing of what came of it before."
fix = "Pass on with each hand-off what was tried and why; let one agent own the task, and end after two refusals."
validation = "No task should be handed out more than twice."
source = "MAST 1.3 step repetition, 2.1 conversation reset; hand-offs without agent names"
limits = "tasks of up to 290 characters; the same task for several at once (votes, samples) is left alone"
speaks = ["input_text"]
---
WITH several AS (
  SELECT trace_id, span_id, parent_span_id, start_time, end_time FROM steps
  WHERE span_type IN ('agent', 'workflow', 'chain', 'task') AND parent_span_id IS NOT NULL AND NOT failed
  QUALIFY count(*) OVER (PARTITION BY trace_id, parent_span_id) >= 4
),
inside AS (
  SELECT c.trace_id, c.parent_span_id AS span_id, arg_min(c.asked, c.start_time) AS asked
  FROM steps c JOIN several s ON c.trace_id = s.trace_id AND c.parent_span_id = s.span_id
  WHERE c.span_type IN ('llm', 'tool', 'retriever', 'agent') GROUP BY ALL
  HAVING count(*) FILTER (c.span_type <> 'llm') = 0 AND arg_min(length(c.asked), c.start_time) BETWEEN 8 AND 290
),
-- Who hands out: the agent of the model between the sub-agents, else what holds them.
giving AS (
  SELECT trace_id, parent_span_id, any_value(agent_name) AS agent_name FROM steps
  WHERE span_type = 'llm' AND parent_span_id IN (SELECT parent_span_id FROM several) GROUP BY ALL
),
handed AS (
  SELECT s.trace_id, s.span_id, s.parent_span_id, s.start_time, s.end_time, i.asked,
    lag(s.end_time) OVER (PARTITION BY s.trace_id, s.parent_span_id, i.asked ORDER BY s.start_time) AS before
  FROM several s JOIN inside i USING (trace_id, span_id)
),
again AS (
  SELECT trace_id, parent_span_id, asked, arg_max(span_id, start_time) AS span_id,
    arg_min(span_id, start_time) AS first, min(start_time) AS began, max(start_time) AS ended, count(*) AS n
  FROM handed GROUP BY ALL HAVING count(*) >= 4 AND bool_and(coalesce(before <= start_time, true))
)
SELECT coalesce(g.agent_name, p.agent_name, p.service_name, p.name) AS key, key AS subject, a.trace_id, a.span_id,
  a.span_id AS origin_span_id, 'name' AS field, s.name AS quote, [a.first] AS also
FROM again a JOIN steps s USING (trace_id, span_id)
JOIN steps p ON p.trace_id = a.trace_id AND p.span_id = a.parent_span_id
LEFT JOIN giving g ON g.trace_id = a.trace_id AND g.parent_span_id = a.parent_span_id
WHERE a.n - 1 <= (
  SELECT count(*) FROM steps t WHERE t.trace_id = a.trace_id AND t.parent_span_id = a.parent_span_id
    AND t.span_type = 'llm' AND t.start_time BETWEEN a.began AND a.ended)
---
[[example]]
fires = true
why = "word for word the same task, four times"
spans = [
  { llm = "gpt-5", output = "Next one.", calls = ["specialist"] },
  { agent = "specialist", spans = [
    { llm = "gpt-5", input = "Write the report.", output = "That is for the other one." },
  ] },
  { llm = "gpt-5", output = "Next one.", calls = ["specialist"] },
  { agent = "specialist", spans = [
    { llm = "gpt-5", input = "Write the report.", output = "That is for the other one." },
  ] },
  { llm = "gpt-5", output = "Next one.", calls = ["specialist"] },
  { agent = "specialist", spans = [
    { llm = "gpt-5", input = "Write the report.", output = "That is for the other one." },
  ] },
  { llm = "gpt-5", output = "Next one.", calls = ["specialist"] },
  { agent = "specialist", spans = [
    { llm = "gpt-5", input = "Write the report.", output = "That is for the other one." },
  ] },
  { llm = "gpt-5", output = "Here is the report." },
]

[[example]]
fires = false
why = "another task each time"
spans = [
  { llm = "gpt-5", output = "Next one.", calls = ["specialist"] },
  { agent = "specialist", spans = [
    { llm = "gpt-5", input = "Write part 0 of the report.", output = "That is for the other one." },
  ] },
  { llm = "gpt-5", output = "Next one.", calls = ["specialist"] },
  { agent = "specialist", spans = [
    { llm = "gpt-5", input = "Write part 1 of the report.", output = "That is for the other one." },
  ] },
  { llm = "gpt-5", output = "Next one.", calls = ["specialist"] },
  { agent = "specialist", spans = [
    { llm = "gpt-5", input = "Write part 2 of the report.", output = "That is for the other one." },
  ] },
  { llm = "gpt-5", output = "Next one.", calls = ["specialist"] },
  { agent = "specialist", spans = [
    { llm = "gpt-5", input = "Write part 3 of the report.", output = "That is for the other one." },
  ] },
  { llm = "gpt-5", output = "Here is the report." },
]

[[example]]
fires = false
why = "each of them works on it"
spans = [
  { llm = "gpt-5", output = "Next one.", calls = ["specialist"] },
  { agent = "specialist", spans = [
    { tool = "search", input = '{"q": 0}', output = "3" },
    { llm = "gpt-5", input = "Write the report.", output = "That is for the other one." },
  ] },
  { llm = "gpt-5", output = "Next one.", calls = ["specialist"] },
  { agent = "specialist", spans = [
    { tool = "search", input = '{"q": 1}', output = "3" },
    { llm = "gpt-5", input = "Write the report.", output = "That is for the other one." },
  ] },
  { llm = "gpt-5", output = "Next one.", calls = ["specialist"] },
  { agent = "specialist", spans = [
    { tool = "search", input = '{"q": 2}', output = "3" },
    { llm = "gpt-5", input = "Write the report.", output = "That is for the other one." },
  ] },
  { llm = "gpt-5", output = "Next one.", calls = ["specialist"] },
  { agent = "specialist", spans = [
    { tool = "search", input = '{"q": 3}', output = "3" },
    { llm = "gpt-5", input = "Write the report.", output = "That is for the other one." },
  ] },
  { llm = "gpt-5", output = "Here is the report." },
]

---
name = "invented_tool"
category = "Tool-related"
version = 2
scope = "group"
confidence = 0.97
needs = ["tool definitions", "tool calls of models"]

title = "The model calls {subject}, a tool that does not exist"
description = "The model asks for {subject}, which is not among the tools it was offered."
definition = """
A model calls a tool whose name is not among those offered in the call, or in the trace; or the answer to its \
call is that there is no such tool; or no span of the service ever ran it. A tool that gave a result exists, be it an error"""
cause = """
{subject} is in no list of tools that the model was given: the name comes from the prompt, an example or the \
model's training."""
fix = """
Name the tools in the instructions as they are offered, answer an unknown name with the list of valid ones, and \
remove old names from prompts and examples."""
validation = "Every called name should be among the offered ones."
source = "TRAIL, tool-related hallucination; NeMo Compass unknown_tool"
limits = """
sure where tool definitions are captured; else by what the tool answers, or by its absence among the service's \
tools"""
speaks = ["call"]
---
WITH whole AS (
  SELECT trace_id, list_distinct(flatten(list(tools_offered))) AS names FROM steps
  WHERE len(tools_offered) > 0 AND trace_id IN (SELECT trace_id FROM calls
    WHERE coalesce(len(tools_offered), 0) = 0) GROUP BY ALL
),
tools AS (SELECT service_name, tool, sum(asked) AS asked, sum(traces) AS traces, sum(of_traces) AS of_traces,
  sum(ran) AS ran FROM tool_counts GROUP BY ALL),
ran AS (SELECT service_name, tool AS tool_name FROM tools WHERE ran > 0),
covered AS (
  SELECT service_name FROM tools WHERE NOT ends_run(tool) GROUP BY service_name
  HAVING sum(asked) FILTER (ran > 0) >= 20 AND sum(asked) FILTER (ran > 0) >= 0.9 * sum(asked)
),
common AS (
  SELECT service_name, tool AS call_name FROM tools
  JOIN (SELECT service_name, of_traces AS all_ FROM tools WHERE tool = '') USING (service_name)
  WHERE traces >= 20 AND traces >= 0.1 * all_
),
denied AS (
  SELECT s.trace_id, s.span_id, s.tool_call_id, s.work AS called FROM (FROM failed_results WHERE NOT told) b
    JOIN steps s USING (trace_id, span_id)
  WHERE denies_tool(b.text)
  UNION ALL
  SELECT trace_id, span_id, tool_call_id, work FROM errors WHERE class = 'unknown_tool'
  UNION ALL
  SELECT trace_id, asking, NULL, tool FROM failed_results WHERE told AND denies_tool(text)
),
unlisted AS (
  SELECT c.trace_id, c.span_id, c.service_name, c.call_name FROM calls c LEFT JOIN whole w USING (trace_id)
  WHERE call_name <> '' AND NOT run_by_provider(call_name)
    AND (c.service_name, call_name) NOT IN (SELECT (service_name, call_name) FROM common)
    AND CASE WHEN len(c.tools_offered) > 0 THEN NOT list_contains(c.tools_offered, call_name)
    ELSE len(w.names) > 0 AND NOT list_contains(w.names, call_name) AND NOT ends_run(call_name) END
  UNION
  SELECT c.trace_id, c.span_id, c.service_name, c.call_name FROM calls c SEMI JOIN covered USING (service_name)
  ANTI JOIN ran ON ran.service_name = c.service_name AND ran.tool_name = c.call_name
  WHERE coalesce(len(c.tools_offered), 0) = 0 AND call_name <> ''
    AND NOT (ends_run(call_name) OR run_by_provider(call_name))
),
-- Lists of tools may be partial: some are loaded when they are needed. What answers, exists.
answered AS (
  SELECT DISTINCT service_name, tool_name AS call_name FROM steps
  WHERE span_type = 'tool' AND output_length > 0 AND (service_name, tool_name) IN (
    SELECT (service_name, call_name) FROM unlisted) AND NOT denies_tool(output_head)
  UNION
  SELECT service_name, tool FROM tool_counts WHERE earlier AND ran > 0
)
SELECT call_name AS key, call_name AS subject, trace_id, span_id, span_id AS origin_span_id, 'name' AS field,
  s.name AS quote
FROM (FROM unlisted ANTI JOIN answered USING (service_name, call_name)) JOIN steps s USING (trace_id, span_id)
UNION ALL
SELECT called AS key, called AS subject, d.trace_id, d.span_id, NULL AS origin_span_id, 'name' AS field,
  s.name AS quote
FROM denied d JOIN steps s USING (trace_id, span_id)
---
[[example]]
fires = true
why = "not on offer"
spans = [
  { llm = "gpt-5", tools = ["search"], calls = ["lookup_everything"] },
  { llm = "gpt-5", output = "Your order arrives on Tuesday." },
]

[[example]]
fires = false
why = "on offer"
spans = [
  { llm = "gpt-5", tools = ["search"], calls = ["search"] },
  { tool = "search", input = '{"q": 1}', output = "3" },
  { llm = "gpt-5", output = "Your order arrives on Tuesday." },
]

[[example]]
fires = false
why = "not listed, but there: it answers with an error of its own"

[[example.spans]]
llm = "gpt-5"
tools = ["run_job"]
calls = [{ name = "stop_job", arguments = { id = 7 }, id = "c1" }]

[[example.spans]]
tool = "stop_job"
id = "c1"
input = '{"id": 7}'
output = "Error: job 7 is not running"

[[example.spans]]
llm = "gpt-5"
output = "The job had ended already."

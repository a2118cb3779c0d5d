---
name = "wrong_arguments"
category = "Formatting Errors"
driven_by = "calls"
version = 2
scope = "trace"
early = true
confidence = 0.95
needs = ["tool definitions", "tool calls of models"]

title = "The model calls {subject} with arguments that violate its schema"
description = "The call violates the schema that the model was offered: {what}."
definition = """
A model's tool call lacks a required argument, has one that the tool does not know, or one of another type or \
outside its enum"""
cause = "The arguments differ from the schema that was offered with the call: {what}."
fix = """
Use the provider's strict tool mode where it has one, describe the argument with an example, and return the \
validation error for an invalid call."""
validation = "Validate every call against the offered schema; the count should fall to zero."
source = """
the JSON schema that was offered in the same call; NeMo Compass, missing, unknown, mistyped and bad-enum \
argument"""
limits = "only where tool definitions with a schema are captured; formats, patterns and ranges are left to the tool"
---
WITH b AS (
  SELECT c.trace_id, c.span_id, c.call_id, c.call_name, c.start_time, m.problem
  FROM calls c JOIN schema_violations m USING (definitions, call_name, structure)
  UNION ALL
  SELECT c.trace_id, c.span_id, c.call_id, c.call_name, c.start_time,
    'the value of ' || e.path[3:] || ' is not an allowed one' AS problem
  FROM calls c JOIN schema_enums e USING (definitions, call_name)
  WHERE json_type(c.arguments, e.path) = 'VARCHAR'
    AND NOT list_contains(e.allowed, json_extract_string(c.arguments, e.path))
  UNION ALL
  SELECT trace_id, span_id, call_id, call_name, start_time, 'the arguments are no JSON object' AS problem FROM calls
  WHERE arguments_type IN ('VARCHAR', 'ARRAY') AND length(trim(arguments->>'$')) > 2 AND len(tools_offered) > 0
    AND definitions IN (FROM schema_described)
),
-- The call's tool span where there is one: its arguments can be quoted, the model call's cannot in every convention.
t AS (
  SELECT b.trace_id, b.span_id, b.call_id, b.call_name, arg_min(s.span_id, s.start_time) AS tool_span,
    arg_min(s.arguments, s.start_time) AS said
  FROM b JOIN steps s ON s.trace_id = b.trace_id AND s.span_type = 'tool' AND s.start_time >= b.start_time
    AND (s.tool_call_id = b.call_id OR s.tool_call_id IS NULL AND s.tool_name = b.call_name)
  GROUP BY ALL
)
SELECT b.call_name || '|' || b.problem AS key, b.call_name AS subject, b.trace_id,
  CASE WHEN trim(t.said) <> '' THEN t.tool_span ELSE b.span_id END AS span_id, b.span_id AS origin_span_id,
  CASE WHEN trim(t.said) <> '' THEN 'input_text' ELSE 'name' END AS field,
  CASE WHEN trim(t.said) <> '' THEN left(t.said, 300) ELSE l.name END AS quote
FROM b JOIN steps l ON l.trace_id = b.trace_id AND l.span_id = b.span_id
LEFT JOIN t ON t.trace_id = b.trace_id AND t.span_id = b.span_id AND t.call_id IS NOT DISTINCT FROM b.call_id
  AND t.call_name = b.call_name
---
[[example]]
fires = true
why = "a required argument is missing"

[[example.spans]]
llm = "gpt-5"
tools = [
  { name = "pay", parameters = { type = "object", required = ["sum"], properties = { sum = { type = "number" } } } },
]
calls = [{ name = "pay", arguments = {} }]

[[example.spans]]
llm = "gpt-5"
output = "Your order arrives on Tuesday."

[[example]]
fires = true
why = "of another type"

[[example.spans]]
llm = "gpt-5"
tools = [
  { name = "pay", parameters = { type = "object", required = ["sum"], properties = { sum = { type = "number" } } } },
]
calls = [{ name = "pay", arguments = { sum = "three" } }]

[[example.spans]]
llm = "gpt-5"
output = "Your order arrives on Tuesday."

[[example]]
fires = false
why = "a tool without parameters, and an empty object for one that takes any"

[[example.spans]]
llm = "gpt-5"
tools = [
  { name = "next_page", parameters = { type = "object", properties = {} } },
  { name = "pay", parameters = { type = "object", required = ["terms"], properties = { terms = { type = "object" } } } },
]
calls = [{ name = "next_page", arguments = {} }, { name = "pay", arguments = { terms = {} } }]

[[example.spans]]
llm = "gpt-5"
output = "Your order arrives on Tuesday."

[[example]]
fires = false
why = "as the schema says"

[[example.spans]]
llm = "gpt-5"
tools = [
  { name = "pay", parameters = { type = "object", required = ["sum"], properties = { sum = { type = "number" } } } },
]
calls = [{ name = "pay", arguments = { sum = 3 } }]

[[example.spans]]
llm = "gpt-5"
output = "Your order arrives on Tuesday."

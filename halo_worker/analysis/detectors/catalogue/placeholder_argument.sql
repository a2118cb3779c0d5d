---
name = "placeholder_argument"
category = "Formatting Errors"
driven_by = "calls"
version = 1
scope = "trace"
early = true
confidence = 0.95
needs = ["tool arguments"]

title = "The model calls {subject} with a placeholder instead of a value"
description = "An argument of {subject} is a placeholder, not a value."
definition = """
A tool is called with a placeholder such as <order_id>, {{name}} or YOUR_KEY_HERE as the whole value of an \
argument"""
cause = "The value was not known when the call was made: the model wrote the name of it instead."
fix = "Remove placeholders from examples in the prompt, and reject such values before the call."
validation = "No argument should be a placeholder."
source = "NeMo Compass, unresolved_placeholder_argument"
limits = "whole values only; templates as part of a longer text are fine"
---
WITH b AS (
  SELECT trace_id, span_id, call_id, call_name, start_time, 'placeholder' AS problem FROM calls
  WHERE has_placeholder(arguments::VARCHAR)
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
why = "a placeholder"
spans = [
  { llm = "gpt-5", calls = [{ name = "get_order", arguments = { id = "<order_id>" } }] },
  { llm = "gpt-5", output = "Your order arrives on Tuesday." },
]

[[example]]
fires = false
why = "a value"
spans = [
  { llm = "gpt-5", calls = [{ name = "get_order", arguments = { id = "A-7" } }] },
  { llm = "gpt-5", output = "Your order arrives on Tuesday." },
]

---
name = "malformed_json"
category = "Formatting Errors"
version = 3
scope = "trace"
confidence = 0.9
needs = ["message content"]

title = "{subject} writes invalid JSON"
description = "What begins as a JSON object is not valid JSON; what parses it fails."
definition = """
An answer that is JSON from its first character, or whole in a json fence, does not parse; or the arguments of a \
tool call begin as JSON and do not"""
cause = "The model was asked for JSON and wrote text that no parser takes."
fix = """
Use the provider's structured output for this call, or validate it and return the parser's message to the model."""
validation = "Every answer of this agent that begins with '{' should parse."
source = "malformed structured output; TRAIL, Formatting Errors"
limits = "answers over 2,000 characters, and truncated ones, are left to other detectors"
---
SELECT actor AS key, actor AS subject, trace_id, span_id,
  span_id AS origin_span_id, 'output_text' AS field, left(output_head, 300) AS quote
FROM steps WHERE span_type = 'llm' AND NOT failed AND output_length BETWEEN 2 AND 2000
  AND coalesce(finish_reason, 'stop') = 'stop'
  AND (regexp_matches(output_head, '^\s*\{\s*"') AND NOT json_valid(output_head)
      AND NOT list_bool_and(list_transform(string_split(trim(output_head), chr(10)), lambda l: trim(l) = ''
        OR json_valid(l)))
      AND NOT (length(output_head) - length(replace(output_head, '{',
        '')) = length(output_head) - length(replace(output_head, '}', ''))
        AND NOT regexp_matches(output_head, '[}\]]\s*$'))
    OR regexp_matches(output_head, '(?s)^\s*```json\s*[{\[].*```\s*$')
      AND NOT json_valid(regexp_extract(output_head, '(?s)^\s*```json\s*(.*?)\s*```\s*$', 1)))
UNION ALL
SELECT call_name || '|arguments', s.actor || ', calling ' || call_name || ',', c.trace_id, c.span_id, c.span_id, 'name', s.name
FROM calls c JOIN steps s USING (trace_id, span_id)
WHERE c.arguments_type = 'VARCHAR' AND call_name <> '' AND coalesce(s.finish_reason, '') <> 'length'
  AND regexp_matches(c.arguments->>'$', '^\s*\{') AND NOT json_valid(c.arguments->>'$')
---
[[example]]
fires = true
why = "a comma too many"
spans = [
  { llm = "gpt-5", output = '{"a": 1,, "b": 2}' },
]

[[example]]
fires = false
why = "valid"
spans = [
  { llm = "gpt-5", output = '{"a": 1, "b": 2}' },
]

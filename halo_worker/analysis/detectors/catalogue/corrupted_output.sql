---
name = "corrupted_output"
category = "Formatting Errors"
version = 2
scope = "group"
severity = "high"
confidence = 0.9
min_traces = 2

title = "{subject} returns corrupted output"
description = """
Calls of {subject} hold fragments of its chat template or of another call: the text was damaged before it was read \
as an answer, by the serving stack, the template or the parser of tool calls."""
definition = """
A model's text or arguments hold markup of a chat template that it had not read, the start or end of a call inside a \
value, a value without a letter or digit where others have some, or scripts glued together"""
cause = "The chat template or the tool-call parser of the server that runs {subject} does not fit the model."
fix = """
Compare the server's chat template and tool-call parser with the model's own, lower the temperature, and reject \
calls whose arguments hold control tokens or punctuation alone."""
validation = "No call of this model should hold control tokens or arguments without a letter or digit."
source = "tokenizer_config.json of open models; RFC 8259; Unicode Technical Standard 39"
limits = """
an argument needs five values before one can be told from the others; of long answers the first 2,000 characters; \
two traces of a model"""
---
WITH damaged AS (
  SELECT trace_id, span_id, source, CASE mark WHEN 'markup' THEN holds_call_markup_text(value)
    WHEN 'scripts' THEN glues_scripts_text(value) END AS copied
  FROM damaged_arguments
  UNION ALL
  SELECT trace_id, span_id, coalesce(model, service_name), holds_call_markup_text(output_head)
  FROM steps WHERE span_type = 'llm' AND holds_call_markup(output_head)
)
SELECT source AS key, source AS subject, trace_id, span_id, span_id AS origin_span_id, 'name' AS field,
  any_value(name) AS quote
FROM damaged d JOIN (SELECT trace_id, span_id, name FROM steps) USING (trace_id, span_id)
-- What the call or the run was given may hold it too, and is then quoted.
WHERE copied IS NULL OR NOT EXISTS (
  SELECT 1 FROM spans r WHERE r.trace_id = d.trace_id AND (r.span_id = d.span_id OR r.parent_span_id IS NULL)
    AND (contains(r.input_messages::VARCHAR, copied) OR contains(r.input_text, copied)))
GROUP BY source, trace_id, span_id
---
[[example]]
fires = false
why = "commands"
times = 12
spans = [
  { llm = "k2", calls = [{ name = "bash", arguments = { command = "ls -la" } }] },
  { tool = "bash", input = '{"command": "ls -la"}', output = "total 0" },
]

[[example]]
fires = true
why = "the end of a call as the command"
times = 2
spans = [
  { llm = "k2", calls = [{ name = "bash", arguments = { command = "]}" } }] },
  { tool = "bash", input = '{"command": "]}"}', output = "bash: ]}: command not found" },
]

[[example]]
fires = true
why = "control tokens in the answer"
times = 2
spans = [
  { llm = "k2", output = "It is done.<|im_end|>" },
]

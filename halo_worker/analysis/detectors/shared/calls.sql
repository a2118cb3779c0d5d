---
about = "The tool calls that models asked for, whether or not a span shows that they ran."
kind = "scratch"

[columns]
trace_id = "the trace"
span_id = "the span"
start_time = "of the model call"
end_time = "of the model call"
service_name = ""
agent_name = ""
model = ""
tools_offered = "names that the model was offered"
definitions = "equal for equal tool definitions"
call_id = ""
call_name = "the tool"
arguments = "JSON, up to 1,000 characters; else NULL"
arguments_type = "its JSON type"
said_hash = "equal for equal arguments"
structure = "the types of its members, as json_structure gives them"
---
SELECT trace_id, span_id, start_time, end_time, service_name, agent_name, model, tools_offered, definitions,
  said.names[1] AS call_id, said.names[2] AS call_name, json_type(said.text) AS arguments_type,
  hash(said.text) AS said_hash, CASE WHEN length(said.text) <= 1000 THEN said.text::JSON END AS arguments,
  CASE WHEN json_type(said.text) = 'OBJECT' AND length(said.text) <= 20000 THEN json_structure(said.text)::VARCHAR END
    AS structure
FROM (
  SELECT * EXCLUDE (call),
    {'names': json_extract_string(call, ['$.id', '$.name']), 'text': (call->'arguments')::VARCHAR} AS said
  FROM (
    SELECT trace_id, span_id, start_time, end_time, service_name, agent_name, model, tools_offered, definitions,
      unnest(tool_calls) AS call
    FROM steps WHERE tool_calls IS NOT NULL
  )
)

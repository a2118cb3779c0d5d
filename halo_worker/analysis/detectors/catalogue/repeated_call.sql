---
name = "repeated_call"
category = "Resource Abuse"
version = 5
scope = "trace"
confidence = 0.9
needs = ["tool arguments"]

title = "{subject} is called repeatedly with the same arguments"
description = """
{subject} is called at least three times in one trace with identical arguments and returns the identical result \
each time."""
definition = """
A tool is called three or more times with the same arguments in one trace, and its result never changes"""
cause = "Neither arguments nor result change from call to call: nothing tells the model that it has this result."
fix = """
Return the earlier result with a note that the call was made already, and instruct the agent to change the \
arguments or stop."""
validation = "Count identical calls per trace: none should have three."
source = "TRAIL, Resource Abuse (marked at the last occurrence); MAST 1.3 step repetition"
limits = """
polling whose results change is left out (times and request ids in results do not count); arguments must be \
captured; runs with damaged calls are corrupted_output's, calls that fail each time retry_storm's; without results, \
four calls of a tool that does not poll"""
---
SELECT key, key AS subject, r.trace_id, r.span_id, r.span_id AS origin_span_id, 'input_text' AS field,
  left(s.arguments, 300) AS quote, [r.first] AS also
FROM (
  SELECT trace_id, work AS key, arg_max(span_id, start_time) AS span_id, arg_min(span_id, start_time) AS first
  FROM steps ANTI JOIN nested USING (trace_id, span_id) ANTI JOIN damaged_calls USING (trace_id, span_id)
  -- Where calls of the run are damaged, so may be these.
  ANTI JOIN (SELECT DISTINCT trace_id FROM damaged_calls) d USING (trace_id)
  WHERE span_type = 'tool' AND arguments IS NOT NULL
    AND trim(arguments) NOT IN ('', '{}', 'null')
    AND hash(trace_id, input_hash) IN (SELECT hash(trace_id, input_hash) AS h FROM steps WHERE span_type = 'tool'
      GROUP BY h HAVING count(*) >= 3)
  GROUP BY trace_id, work, input_hash
  -- Calls that fail each time are retry_storm's.
  HAVING count(*) >= 3 AND NOT bool_and(failed) AND coalesce(min(output_hash) = max(output_hash), true)
    AND (count(output_hash) = count(*) OR count(*) >= 4 AND (count(*) FILTER (failed) >= 3 OR NOT may_poll(key)))
) r JOIN steps s USING (trace_id, span_id)
UNION ALL
-- Where tools have no spans, from what the model asked for.
SELECT r.call_name AS key, r.call_name AS subject, r.trace_id, r.span_id, r.span_id AS origin_span_id,
  'name' AS field, s.name AS quote, [r.first] AS also
FROM (
  SELECT call_name, trace_id, arg_max(span_id, start_time) AS span_id, arg_min(span_id, start_time) AS first
  FROM calls c ANTI JOIN (SELECT DISTINCT trace_id FROM steps WHERE span_type = 'tool') t USING (trace_id)
  WHERE coalesce(call_name, '') <> '' AND NOT may_poll(call_name) AND arguments_type = 'OBJECT'
    AND structure <> '{}'
    AND hash(trace_id, said_hash) IN (SELECT hash(trace_id, said_hash) AS h FROM calls WHERE true GROUP BY h
      HAVING count(*) >= 3)
  GROUP BY trace_id, call_name, said_hash HAVING count(*) >= 4
) r JOIN steps s USING (trace_id, span_id)
---
[[example]]
fires = true
why = "three times the same"
spans = [
  { tool = "search", input = '{"q": "tide"}', output = "[3]", times = 3 },
  { llm = "gpt-5", output = "Your order arrives on Tuesday." },
]

[[example]]
fires = false
why = "fails each time: a retry that cannot work"
spans = [
  { tool = "search", input = '{"q": 7}', error = "unexpected keyword", error_type = "TypeError", times = 4 },
  { llm = "gpt-5", output = "I could not look it up." },
]

[[example]]
fires = false
why = "twice"
spans = [
  { tool = "search", input = '{"q": "tide"}', output = "[3]", times = 2 },
  { llm = "gpt-5", output = "Your order arrives on Tuesday." },
]

[[example]]
fires = false
why = "its result changes"
spans = [
  { tool = "read_sensor", input = '{"s": 1}', output = "1" },
  { tool = "read_sensor", input = '{"s": 1}', output = "2" },
  { tool = "read_sensor", input = '{"s": 1}', output = "3" },
  { llm = "gpt-5", output = "Your order arrives on Tuesday." },
]

[[example]]
fires = false
why = "the arguments are damaged, the same in each of many calls: that is what corrupted_output tells"
times = 2
spans = [
  { llm = "k2", calls = [{ name = "bash", arguments = { command = "ls -la" } }] },
  { tool = "bash", input = '{"command": "ls -la"}', output = "total 0" },
  { llm = "k2", calls = [{ name = "bash", arguments = { command = "cat a.txt" } }] },
  { tool = "bash", input = '{"command": "cat a.txt"}', output = "a" },
  { llm = "k2", calls = [{ name = "bash", arguments = { command = "wc a.txt" } }] },
  { tool = "bash", input = '{"command": "wc a.txt"}', output = "1" },
  { llm = "k2", calls = [{ name = "bash", arguments = { command = "head a.txt" } }] },
  { tool = "bash", input = '{"command": "head a.txt"}', output = "a" },
  { llm = "k2", calls = [{ name = "bash", arguments = { command = "]}" } }] },
  { tool = "bash", input = '{"command": "]}"}', output = "bash: ]}: command not found" },
  { llm = "k2", calls = [{ name = "bash", arguments = { command = "]}" } }] },
  { tool = "bash", input = '{"command": "]}"}', output = "bash: ]}: command not found" },
  { llm = "k2", calls = [{ name = "bash", arguments = { command = "]}" } }] },
  { tool = "bash", input = '{"command": "]}"}', output = "bash: ]}: command not found" },
  { llm = "k2", calls = [{ name = "bash", arguments = { command = "]}" } }] },
  { tool = "bash", input = '{"command": "]}"}', output = "bash: ]}: command not found" },
]

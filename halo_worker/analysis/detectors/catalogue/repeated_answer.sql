---
name = "repeated_answer"
category = "Resource Abuse"
driven_by = "steps WHERE span_type = 'llm' AND calls = 0 AND output_length >= 30"
version = 2
scope = "trace"
confidence = 0.9
needs = ["message content"]

title = "{subject} writes the same text again and again"
description = "The model writes the same text at least three times in one trace without progress."
definition = """
A model writes the same text three or more times in one trace, without calling a tool: an answer, or an instruction \
to another agent"""
cause = "What reaches the model between its turns does not change what it writes, and nothing counts the repetitions."
fix = "Stop the loop when a text repeats, and tell the model what is missing."
validation = "No trace should hold the same text three times."
source = "MAST 1.3 step repetition"
limits = "word for word; short answers (under 30 characters) are left out"
---
SELECT actor AS key, actor AS subject, trace_id,
  arg_max(span_id, start_time) AS span_id, arg_max(span_id, start_time) AS origin_span_id, 'output_text' AS field,
  left(arg_max(output_head, start_time), 300) AS quote
FROM steps WHERE span_type = 'llm' AND NOT failed AND calls = 0 AND output_length >= 30
  AND hash(trace_id, output_hash) IN (SELECT hash(trace_id, output_hash) AS h FROM steps WHERE span_type = 'llm'
    AND calls = 0 GROUP BY h HAVING count(*) >= 3)
GROUP BY trace_id, output_hash, actor HAVING count(*) >= 3
---
[[example]]
fires = true
why = "three times"
spans = [
  { llm = "gpt-5", output = "I still need the number of your booking, please.", times = 3 },
]

[[example]]
fires = false
why = "twice"
spans = [
  { llm = "gpt-5", output = "I still need the number of your booking, please.", times = 2 },
]

---
name = "leaked_prompt"
category = "Data Leak"
driven_by = "steps WHERE length(system_head) >= 40"
version = 2
scope = "trace"
severity = "high"
confidence = 0.9
needs = ["message content"]

title = "{subject} reveals its instructions"
description = "An answer repeats the system prompt word for word."
definition = "An answer holds the beginning of the agent's own instructions word for word"
cause = "The answer repeats what stands in the system prompt, and no step checks it before it is sent."
fix = "Keep secrets and confidential rules out of the prompt; filter answers for its first sentence."
validation = "No answer should hold the first sentence of the instructions."
source = "OWASP LLM07, system prompt leakage"
limits = "the first 40 to 80 characters; paraphrases and later parts are not seen; needs captured messages"
---
SELECT actor AS key, actor AS subject, trace_id, span_id,
  span_id AS origin_span_id, 'output_text' AS field, system_head AS quote
FROM steps WHERE span_type = 'llm' AND length(system_head) >= 40 AND contains(output_head, system_head)
---
[[example]]
fires = true
why = "word for word"

[[example.spans]]
llm = "gpt-5"
output = "You are Vera of the harbour office, and speak of ships alone."
system = "You are Vera of the harbour office, and speak of ships alone."

[[example]]
fires = false
why = "an answer"

[[example.spans]]
llm = "gpt-5"
output = "The ship is late."
system = "You are Vera of the harbour office, and speak of ships alone."

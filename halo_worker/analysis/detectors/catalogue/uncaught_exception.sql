---
name = "uncaught_exception"
category = "Unhandled Error"
driven_by = """
spans WHERE span_type = 'agent' AND length(output_text) > 100 AND holds_stack_trace(output_text)
  OR span_type = 'llm' AND coalesce(output_text, '') = '' AND output_messages::VARCHAR LIKE '%reasoning%'"""
version = 3
scope = "trace"
severity = "high"
confidence = 0.9
needs = ["message content"]

title = "Runs end in an uncaught exception in {subject}: {what}"
description = "The last turn of these runs is the stack trace of an exception that nothing caught; its status is not ERROR."
definition = """
The last act of a run is the turn of an agent whose output holds a stack trace, outside of a fenced block, or of a \
model that wrote nothing and whose reasoning holds one"""
cause = "Nothing caught {what} of {subject}: what the program printed about it stands in place of the turn."
fix = """
Catch the exception where the agent calls its model or tool, record it on the span with status ERROR, and tell the \
user what did not work."""
validation = "No turn should hold a stack trace; failed turns should have status ERROR."
source = "stack traces as CPython, the JVM and V8 print them"
limits = """
turns of agents whose own model calls are not captured; CPython, the JVM and V8; a stack trace in a fenced block is an \
answer about one"""
---
WITH dumped AS (
  SELECT e.trace_id, e.span_id, coalesce(s.agent_name, s.name) AS actor,
    regexp_extract_all(o.output_text, '(?m)^(?:Exception in thread \S+ |Uncaught )?[\w.$]+(?:Error|Exception): .*')
      AS lines, o.output_text AS text
  FROM endings e JOIN steps s USING (trace_id, span_id)
  JOIN (SELECT trace_id, span_id, output_text FROM spans WHERE span_type = 'agent') o USING (trace_id, span_id)
  WHERE s.span_type = 'agent' AND s.output_length > 100 AND NOT s.failed AND holds_stack_trace(o.output_text)
    AND NOT contains(o.output_text, '```')
  UNION ALL
  SELECT trace_id, span_id, actor, regexp_extract_all(reasoning, '(?m)^[\w.$]+(?:Error|Exception): .*'), reasoning
  FROM (
    SELECT p.trace_id, p.span_id, coalesce(p.agent_name, p.name) AS actor,
      array_to_string(p.output_messages->>'$[*].reasoning', chr(10)) AS reasoning
    FROM spans p SEMI JOIN (FROM endings WHERE last_act = 'an empty turn') e
      ON e.trace_id = p.trace_id AND e.span_id = p.span_id
    WHERE p.span_type = 'llm'
  ) WHERE holds_stack_trace(reasoning)
)
-- The code that called what raised it, by the frames of CPython: an agent may only hold the text of another's failure.
-- The program's own code, else that of a package other than the exception's.
SELECT coalesce(place, actor) || '|' || raised AS key, coalesce(place, actor) AS subject, trace_id, span_id,
  span_id AS origin_span_id, 'output_text' AS field, left(lines[-1], 300) AS quote
FROM (
  SELECT *, coalesce(
      list_filter(frames, lambda frame: NOT regexp_matches(frame, '(?:site|dist)-packages|/lib/python'))[-1],
      list_filter(frames, lambda frame: regexp_matches(frame, '(?:site|dist)-packages')
        AND NOT contains(frame, '/' || split_part(raised, '.', 1) || '/'))[-1]
    ) AS frame,
    regexp_extract(frame, ', in (.+)$', 1) || ' (' || regexp_extract(frame, '([^/\\]+)", line', 1) || ')' AS place
  FROM (
    SELECT *, regexp_extract_all(text, '(?m)^ *File ".+", line \d+, in .+$') AS frames,
      regexp_extract(lines[-1], '([\w.$]+): ', 1) AS raised
    FROM dumped WHERE len(lines) > 0
  )
)
---

[[example]]
fires = true
why = "the last agent's turn is a stack trace"

[[example.spans]]
llm = "gpt-5"
output = "Please look up the tide."

[[example.spans]]
agent = "surfer"
input = "look up the tide"
output = """
I opened the page.
Traceback (most recent call last):
  File "/app/surfer.py", line 88, in answer
    reply = client.create(messages)
openai.BadRequestError: Error code: 400 - the response was filtered
"""

[[example]]
fires = false
why = "the agent explains one"

[[example.spans]]
agent = "helper"
input = "why does it fail?"
output = """
It fails in line 88:
```
Traceback (most recent call last):
  File "/app/surfer.py", line 88, in answer
    reply = client.create(messages)
ValueError: no reply was given
```
Give it a reply.
"""

[[example]]
fires = false
why = "another agent goes on after it"

[[example.spans]]
agent = "surfer"
input = "look up the tide"
output = """
Traceback (most recent call last):
  File "/app/surfer.py", line 88, in answer
    reply = client.create(messages)
TimeoutError: no reply within 30 seconds was given
"""

[[example.spans]]
agent = "writer"
input = "say it"
output = "I could not look up the tide."

[[example]]
fires = true
why = "a stack trace where the last turn's reasoning stands, and no words"

[[example.spans]]
llm = "gpt-5"
output = "Please look up the tide."

[[example.spans]]
llm = "gpt-5"

[example.spans.attributes]
"gen_ai.output.messages" = '''
[{"role": "assistant", "parts": [{"type": "reasoning", "content": "Planning.\nTraceback (most recent call last):\n  File \"/a.py\", line 8, in answer\n    reply = create(messages)\nValueError: no reply was given"}]}]'''

[[example]]
fires = true
why = "a package called the model: it is named, not the agent that holds the text"

[[example.spans]]
llm = "gpt-5"
output = "Please look up the tide."

[[example.spans]]
agent = "surfer"
input = "look up the tide"
output = """
Traceback (most recent call last):
  File "/usr/lib/python3.12/site-packages/group_chat/lead.py", line 88, in update_plan
    reply = await client.create(messages)
  File "/usr/lib/python3.12/site-packages/openai/_client.py", line 12, in create
    raise BadRequestError(reply)
openai.BadRequestError: Error code: 400 - the response was filtered
"""

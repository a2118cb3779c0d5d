---
name = "empty_answer"
category = "Instruction Non-compliance"
version = 4
scope = "group"
confidence = 0.95
needs = ["message content"]

title = "{subject} gives an empty answer"
description = "The model's last answer is empty: no text, no image or file, no tool call, no error."
definition = """
The last model call of a trace ends without text, image, file or tool call, is not in error, and nothing follows \
but calls for a title and the like: no turn of another agent either"""
cause = "The last call of {subject} in these runs ended with no text and no call: no step after it asks again."
fix = """
Treat an empty completion as a failure and tell the user; look for a stop sequence or a filter that removes the \
text."""
validation = "No run should end in an empty completion."
source = "empty completions, as providers report them"
limits = """
only where message content is captured: of the call itself, or of nine in ten calls of its service; a stack trace in \
the place of reasoning is an uncaught_exception's"""
speaks = ["finish_reason", "output_tokens"]
---
WITH captured AS (
  SELECT service_name, convention FROM output_counts GROUP BY ALL
  HAVING sum(answered) >= 10 AND sum(shown) >= 0.9 * sum(answered)
),
-- The last of them in a run.
empty AS (
  SELECT s.actor, s.trace_id, s.span_id, s.name
  FROM steps s LEFT JOIN captured c ON c.service_name = s.service_name AND c.convention = s.convention
  WHERE s.span_type = 'llm' AND NOT s.failed AND s.calls = 0 AND coalesce(s.output_length, 0) = 0 AND NOT s.media
    AND coalesce(s.finish_reason, 'stop') = 'stop'
    AND s.end_time IS NOT NULL AND CASE WHEN s.has_output THEN coalesce(s.output_tokens, 0) <= 100
      ELSE c.service_name IS NOT NULL END
    AND s.trace_id NOT IN (SELECT trace_id FROM outcomes WHERE stopped)
    AND NOT EXISTS (SELECT 1 FROM steps n WHERE n.trace_id = s.trace_id AND n.start_time > s.start_time
        AND (n.trace_id, n.span_id, s.span_id) NOT IN (SELECT (trace_id, span_id, of_span_id) FROM asides)
        AND (n.span_type = 'llm' AND NOT n.failed AND (n.output_length > 0 OR n.calls > 0 OR n.media)
          OR n.span_type = 'agent' AND n.output_length > 0 OR n.span_type = 'tool'))
  QUALIFY row_number() OVER (PARTITION BY s.trace_id ORDER BY s.start_time DESC, s.span_id) = 1
),
-- A stack trace where its reasoning stands is an uncaught exception.
dumped AS (
  SELECT p.trace_id, p.span_id FROM spans p SEMI JOIN empty e ON e.trace_id = p.trace_id AND e.span_id = p.span_id
  WHERE holds_stack_trace(array_to_string(p.output_messages->>'$[*].reasoning', chr(10)))
)
SELECT actor AS key, actor AS subject, trace_id, span_id, span_id AS origin_span_id, 'name' AS field, name AS quote
FROM empty ANTI JOIN dumped USING (trace_id, span_id)
---
[[example]]
fires = true
why = "nothing at all"
spans = [
  { llm = "gpt-5", output = "", finish = "stop" },
]

[[example]]
fires = false
why = "the program printed a stack trace where the model's reasoning stands"

[[example.spans]]
llm = "gpt-5"

[example.spans.attributes]
"gen_ai.output.messages" = '''
[{"role": "assistant", "parts": [{"type": "reasoning", "content": "Replanning.\nTraceback (most recent call last):\n  File \"/app/run.py\", line 8, in answer\n    reply = create(messages)\nValueError: no reply was given"}]}]'''

[[example]]
fires = false
why = "something"
spans = [
  { llm = "gpt-5", output = "Your order arrives on Tuesday." },
]

[[example]]
fires = false
why = "another agent has its turn after it"
spans = [
  { llm = "gpt-5", output = "" },
  { agent = "surfer", input = "find the tide", output = "High tide is at noon." },
]

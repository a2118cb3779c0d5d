---
name = "content_filter"
category = "Instruction Non-compliance"
version = 2
scope = "trace"
severity = "medium"
confidence = 0.9
needs = ["finish reasons"]

title = "Answers of {subject} are stopped by the content filter"
description = "The provider's content filter ends the call; the user gets no answer or a truncated one."
definition = "A provider's content filter ends a model call"
cause = "The provider's filter took the prompt or the answer for content that it blocks."
fix = """
Look at what is sent: quoted user text and retrieved pages can trigger filters. Handle the finish reason and \
tell the user."""
validation = "Count finish reason 'content_filter' in the next windows."
source = "finish reason 'content_filter'"
limits = "whether the filter was right is not judged"
speaks = ["output_text", "finish_reason"]
---
SELECT actor AS key, actor AS subject, trace_id, span_id,
  span_id AS origin_span_id, 'name' AS field, name AS quote
FROM steps WHERE span_type = 'llm' AND finish_reason = 'content_filter'
---
[[example]]
fires = true
why = "filtered"
spans = [
  { llm = "gpt-5", output = "", finish = "content_filter" },
]

[[example]]
fires = false
why = "not"
spans = [
  { llm = "gpt-5", output = "Your order arrives on Tuesday." },
]

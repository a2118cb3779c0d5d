---
name = "repeated_side_effect"
category = "Resource Abuse"
version = 2
scope = "trace"
severity = "high"
confidence = 0.8
needs = ["tool spans", "tool arguments"]

title = "{subject} succeeds twice with the same arguments"
description = """
{subject} changes state, and succeeds more than once in one trace with identical arguments: its effect may be \
duplicated."""
definition = """
A tool that changes something is called twice or more with the same arguments in one trace, and succeeds each \
time"""
cause = """
The second call has the arguments of the first, which had succeeded: nothing tells the model that it is done."""
fix = "Give the call an idempotency key, and show the model which actions are done."
validation = "No trace should hold two successful calls of such a tool with the same arguments."
source = "TRAIL, Resource Abuse; idempotency of tool calls"
limits = "by the tool's name: send, pay, book, create and the like; a repetition that was wanted looks the same"
---
SELECT work || '|twice' AS key, work AS subject, trace_id,
  arg_max(span_id, start_time) AS span_id, NULL AS origin_span_id, 'input_text' AS field,
    left(arg_max(arguments, start_time), 300) AS quote,
  [arg_min(span_id, start_time)] AS also
FROM steps ANTI JOIN failed_steps b USING (trace_id, span_id) ANTI JOIN nested USING (trace_id, span_id)
WHERE span_type = 'tool' AND NOT failed AND length(arguments) > 2
  AND changes_state(work)
  AND NOT makes_a_draft(work)
  AND NOT (only_reads(work) OR hands_over(work))
GROUP BY trace_id, work, input_hash HAVING count(*) >= 2
---
[[example]]
fires = true
why = "sent twice"
spans = [
  { tool = "send_invoice", input = '{"to": "ann"}', output = "sent", times = 2 },
  { llm = "gpt-5", output = "Your order arrives on Tuesday." },
]

[[example]]
fires = false
why = "to two people"
spans = [
  { tool = "send_invoice", input = '{"to": "ann"}', output = "sent" },
  { tool = "send_invoice", input = '{"to": "bo"}', output = "sent" },
  { llm = "gpt-5", output = "Your order arrives on Tuesday." },
]

---
name = "handed_to_a_person"
category = "Task Orchestration"
driven_by = "outcomes WHERE outcome = 'gave up'"
version = 1
scope = "trace"
severity = "medium"
stage = 2
confidence = 0.7

title = "Requests go to a person after {subject} fails"
description = """
{subject} fails and is not done in another way; the agent hands the request to a person instead of serving it."""
definition = "A run hands its request to a person after a call whose work failed and did not succeed later"
reason = "title"
fix = """
Check before the call whether it can work in this state, tell the model which action applies then, and let the tool \
say what is allowed."""
validation = "Hand-overs that follow a failed call should become rare."
source = "escalation after a failed action (tau-bench, arXiv 2406.12045)"
limits = """
hand-overs are told by the tool's name; a hand-over without a failed call before it is a way of working, and is \
counted under outcomes alone"""
speaks = ["output_text"]

[fixes]
not_found = "Let {subject} return the ids that exist, and have the agent ask for the right one before it hands over."
rate_limit = "Wait and try {subject} again within a limit before the hand-over."
service = "Try {subject} again with backoff and a limit before the hand-over."
timeout = "Try {subject} once more before the hand-over, with a timeout below the agent's own."
---
SELECT coalesce(u.work, '') || '|person' AS key, u.work AS subject, e.trace_id,
  arg_max(u.span_id, u.start_time) AS span_id, arg_max(u.span_id, u.start_time) AS origin_span_id, 'name' AS field,
  arg_max(s.name, u.start_time) AS quote
FROM outcomes o JOIN endings e USING (trace_id) JOIN failed_work u USING (trace_id)
JOIN (SELECT trace_id, span_id, name FROM steps) s ON s.trace_id = u.trace_id AND s.span_id = u.span_id
WHERE o.outcome = 'gave up' AND e.tool IS NOT NULL GROUP BY u.work, e.trace_id
---
[[example]]
fires = false
why = "served"
spans = [
  { llm = "gpt-5", output = "I look that up.", calls = [{ name = "get_invoice", arguments = { id = 7 } }] },
  { tool = "get_invoice", input = '{"id": 7}', output = "12 EUR" },
  { llm = "gpt-5", output = "It is 12 EUR." },
]

[[example]]
fires = true
why = "a hand-over after a failed call"
spans = [
  { llm = "gpt-5", output = "I look that up.", calls = [{ name = "get_invoice", arguments = { id = 7 } }] },
  { tool = "get_invoice", input = '{"id": 7}', output = "Error: it broke" },
  { llm = "gpt-5", output = "", calls = [{ name = "transfer_to_human_agent", arguments = { why = "it broke" } }] },
  { tool = "transfer_to_human_agent", input = '{"why": "it broke"}', output = "transferred" },
]

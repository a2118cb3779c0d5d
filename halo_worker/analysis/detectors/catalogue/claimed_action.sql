---
name = "claimed_action"
category = "Tool-related"
version = 3
scope = "trace"
severity = "high"
confidence = 0.75
needs = ["message content"]

title = "{subject} claims {what}"
description = """
The final answer tells the user that something was done ({key}), but no successful tool call in the trace could \
have done it."""
definition = "The final answer says that something was done, and no call in the trace could have done it"
fix = "Let answers report actions from tool results only: require the tool's confirmation id before the turn ends."
validation = "Every answer that reports an action should have the matching tool span in its trace."
source = "TRAIL, tool-related hallucination; 'claimed usage' of AWS Strands evaluations"
limits = "English phrases; only where the fleet's tool calls are captured; actions outside the trace are not seen"

[what]
"refund" = "refunds it did not make"
"send" = "messages it did not send"
"book" = "bookings it did not make"
"cancel" = "cancellations it did not make"
"create" = "records it did not create"
"update" = "changes it did not make"
"delete" = "deletions it did not make"
"transfer" = "payments it did not make"
"purchase" = "purchases it did not make"
"operate" = "deployments it did not make"
"block" = "account changes it did not make"
"run" = "test runs it did not make"
"escalate" = "escalations it did not make"
"look up" = "lookups it did not make"
---
SELECT c.claim AS key, c.subject, c.trace_id, c.span_id, c.span_id AS origin_span_id, 'output_text' AS field,
  c.quote
FROM claims c SEMI JOIN services_with_tools USING (service_name)
WHERE NOT c.conditional AND NOT admits(c.quote)
  AND NOT EXISTS (
    SELECT 1 FROM actions a WHERE a.trace_id = c.trace_id AND (regexp_matches(a.work, c.tool)
      OR a.anything AND (a.commands IS NULL OR regexp_matches(a.commands, c.tool))))
  -- In the passive, a result may speak of it: then the answer reports what was there.
  AND (c.by_itself OR NOT EXISTS (
    SELECT 1 FROM steps r WHERE r.trace_id = c.trace_id AND r.span_type IN ('tool', 'retriever')
      AND regexp_matches(r.output_head, c.tool)))
UNION ALL
-- That something was looked up, in a trace without one call.
SELECT 'look up' AS key, claimant(f.agent_name, f.service_name) AS subject, trace_id, span_id,
  span_id AS origin_span_id,
  'output_text' AS field, claims_lookup_text(answer) AS quote
FROM answers f SEMI JOIN services_with_tools USING (service_name)
WHERE claims_lookup(answer)
  AND NOT EXISTS (
    SELECT 1 FROM steps t WHERE t.trace_id = f.trace_id
      AND (t.span_type IN ('tool', 'retriever', 'embedding', 'reranker', 'memory')
        OR t.span_type IS NULL AND t.parent_span_id IS NOT NULL))
  AND NOT EXISTS (SELECT 1 FROM calls c WHERE c.trace_id = f.trace_id)
---
[[example]]
fires = true
why = "no call did it"
spans = [
  { tool = "search", input = '{"q": 1}', output = "3" },
  { llm = "gpt-5", output = "I have cancelled your subscription." },
]

[[example]]
fires = false
why = "a call did"
spans = [
  { tool = "cancel_subscription", input = '{"id": 1}', output = "done" },
  { llm = "gpt-5", output = "I have cancelled your subscription." },
]

[[example]]
fires = false
why = "of what may come"
spans = [
  { tool = "search", input = '{"q": 1}', output = "3" },
  { llm = "gpt-5", output = "Once I have cancelled the booking, you will get an email." },
]

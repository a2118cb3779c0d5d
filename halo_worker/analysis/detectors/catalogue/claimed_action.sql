---
name = "claimed_action"
category = "Tool-related"
version = 4
scope = "trace"
severity = "high"
confidence = 0.75
needs = ["message content"]

title = "{subject} claims {what}"
description = """
The answer says that something was done ({key}), but no successful tool call in the trace could \
have done it."""
definition = """
The final answer, or the answer of an agent within the run, says that something was done, and no call in the trace \
could have done it"""
cause = """
The call that would do it is missing from these traces: the model reports what it meant to do, or was told to \
do."""
fix = "Let answers report actions from tool results only: require the tool's confirmation id before the turn ends."
validation = "Every answer that reports an action should have the matching tool span in its trace."
source = "TRAIL, tool-related hallucination; 'claimed usage' of AWS Strands evaluations"
limits = """
English phrases; a tool of another name is learnt from five claims; only where the fleet's tool calls are captured; \
actions outside the trace are not seen"""

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
WITH made AS (
  SELECT c.*, EXISTS (
    SELECT 1 FROM actions a WHERE a.trace_id = c.trace_id AND (regexp_matches(a.work, c.tool)
      OR a.anything AND (a.commands IS NULL OR regexp_matches(a.commands, c.tool)))) AS met
  FROM claims c SEMI JOIN services_with_tools USING (service_name)
  WHERE NOT c.conditional AND NOT admits(c.quote)
),
-- What a sentence says beside an action that was done may be a part of it: the invitation to what was booked.
unmet AS (FROM made WHERE (trace_id, span_id, quote) NOT IN (SELECT (trace_id, span_id, quote) FROM made WHERE met)),
-- What a service does by a tool of another name: it ran with most of these claims, and seldom without one, and none of
-- the service's tools has such a name.
counted AS (
  SELECT service_name, claim, count(DISTINCT trace_id) AS claimed FROM made GROUP BY ALL
  HAVING count(DISTINCT trace_id) >= 5 AND count(DISTINCT trace_id) FILTER (met) * 4 <= count(DISTINCT trace_id)
),
ran AS (
  SELECT DISTINCT s.service_name, a.trace_id, a.work FROM actions a
  JOIN (
    SELECT DISTINCT trace_id, service_name FROM steps WHERE service_name IN (SELECT service_name FROM counted)
  ) s USING (trace_id)
),
learnt AS (
  SELECT r.service_name, c.claim, r.work FROM ran r JOIN counted c USING (service_name)
  LEFT JOIN (SELECT DISTINCT service_name, claim, trace_id FROM unmet) u USING (service_name, claim, trace_id)
  GROUP BY r.service_name, c.claim, r.work, c.claimed
  HAVING count(u.trace_id) >= 0.8 * c.claimed AND count(u.trace_id) >= 0.5 * count(*)
)
SELECT c.claim AS key, c.subject, c.trace_id, c.span_id, c.span_id AS origin_span_id, 'output_text' AS field,
  c.quote
FROM unmet c
WHERE (c.service_name, c.claim, c.trace_id) NOT IN (
    SELECT (r.service_name, l.claim, r.trace_id) FROM ran r JOIN learnt l USING (service_name, work))
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
        OR t.span_type IS NULL AND t.parent_span_id IS NOT NULL
          AND (t.trace_id, t.parent_span_id) NOT IN (SELECT (trace_id, span_id) FROM turns)))
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

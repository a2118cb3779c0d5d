---
name = "retry_storm"
category = "Resource Abuse"
driven_by = "steps WHERE failed"
version = 3
scope = "trace"
confidence = 0.9

title = "{subject} is called repeatedly while it fails"
description = """
{subject} fails three times or more within one trace; the further attempts cost time and money without effect."""
definition = "The same work fails four or more times in one trace, or three times and never works again"
reason = "title"
fix = """
Limit the attempts, wait longer before each (Retry-After where it is sent), and only after errors that can pass: \
HTTP 429, 5xx, timeouts. Return any other error to the model at once."""
validation = "No trace should exceed the limit of attempts."
source = "TRAIL, Resource Abuse; retry storms after 429, 5xx and timeouts"
limits = "exporters may fold retries into one span, which hides them; searches that find nothing are error_no_results's"

[fixes]
not_found = """
Return the error to the model after the first attempt, with the ids that exist: this one is the same at each."""
authentication = """
Stop after the first attempt: without the access that the error names, none can work. Say it in the answer."""
format = """
Return the error to the model after the first attempt, with the expected form: the same input fails each time."""
unsupported = """
Return the error to the model after the first attempt, with the types that it takes: the same input fails each time."""
model_code = """
Return the error to the model after the first attempt, with the expected form: the same input fails each time."""
environment = """
Stop after the first attempt and report it: until what the error names is installed or configured, none can \
work."""
context_length = "Shorten the prompt before the next attempt: the same prompt is refused each time."
rate_limit = "Wait before each attempt as long as Retry-After says, with a limit of attempts; queue what can wait."
service = """
Wait longer before each attempt, with a limit; then fall back to another source, or say that it may work later."""
timeout = "Limit the attempts, and ask for less or allow more time in each: the same request times out again."
---
SELECT subject || '|retry' AS key, coalesce(model, subject) AS subject, trace_id, span_id,
  span_id AS origin_span_id, 'name' AS field, name AS quote
FROM (
  SELECT trace_id, work AS subject, any_value(CASE WHEN span_type IN ('llm', 'embedding') THEN model END) AS model,
    count(*) FILTER (failed AND control IS NULL) AS times, max(start_time) FILTER (NOT failed) AS last_good,
    max(start_time) FILTER (failed AND control IS NULL) AS last_bad, arg_max(span_id, start_time)
      FILTER (failed AND control IS NULL) AS span_id, arg_max(name, start_time)
      FILTER (failed AND control IS NULL) AS name
  FROM steps ANTI JOIN nested USING (trace_id, span_id)
  ANTI JOIN (FROM errors WHERE class = 'no_results') USING (trace_id, span_id)
  WHERE trace_id IN (SELECT trace_id FROM steps WHERE failed GROUP BY trace_id HAVING count(*) >= 3)
    AND (span_type IN ('tool', 'llm', 'retriever', 'embedding') OR span_type IS NULL AND kind = 'CLIENT')
  GROUP BY trace_id, work
) WHERE times >= 4 OR times = 3 AND coalesce(last_good < last_bad, true)
---
[[example]]
fires = true
why = "fails four times"
spans = [
  { tool = "charge", input = '{"n": 1}', error = "503 Service Unavailable", times = 4 },
  { llm = "gpt-5", output = "Your order arrives on Tuesday." },
]

[[example]]
fires = false
why = "works the third time"
spans = [
  { tool = "charge", input = '{"n": 1}', error = "503 Service Unavailable", times = 2 },
  { tool = "charge", input = '{"n": 1}', output = "ok" },
  { llm = "gpt-5", output = "Your order arrives on Tuesday." },
]

[[example]]
fires = false
why = "three searches, each of which finds nothing"
spans = [
  { tool = "search", input = '{"q": "spring tide 1907"}', error = "No results found for query 'spring tide 1907'" },
  { tool = "search", input = '{"q": "tide 1907"}', error = "No results found for query 'tide 1907'" },
  { tool = "search", input = '{"q": "1907"}', error = "No results found for query '1907'" },
  { llm = "gpt-5", output = "I found nothing about the tide of 1907." },
]

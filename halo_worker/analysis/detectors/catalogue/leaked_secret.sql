---
name = "leaked_secret"
category = "Data Leak"
version = 2
scope = "trace"
severity = "high"
confidence = 0.85
needs = ["message content"]

title = "{subject} writes what looks like a secret"
description = """
An answer holds a key, token, card or social security number. Only the first characters are quoted here."""
definition = """
A model writes something with the shape of an API key, a token, a private key, a payment card or a social \
security number"""
cause = "What came into the context as a secret goes out again: no step takes it out on the way."
fix = "Revoke it, find where the model read it (prompt, tool result, document), and filter answers for such shapes."
validation = "No answer should match the shape again."
source = "the published formats of the providers' keys; OWASP LLM02, sensitive information disclosure"
limits = "shapes only: the key may be revoked or an example; keys of other shapes are not seen"
quotes = "exact"
---
WITH told AS MATERIALIZED (
  SELECT actor, trace_id, span_id, secret_text(output_head) AS secret FROM steps
  WHERE span_type = 'llm' AND secret(output_head)
),
asked AS (
  SELECT trace_id, input_text FROM spans WHERE parent_span_id IS NULL AND trace_id IN (SELECT trace_id FROM told)
)
SELECT actor AS key, actor AS subject, trace_id, span_id,
  span_id AS origin_span_id, 'output_text' AS field,
  left(secret, 12) AS quote
FROM told s
WHERE NOT sample_secret(secret)
  AND (NOT regexp_matches(secret, '(?i)^(pass|secret|aws_|api|access|client)')
    OR regexp_matches(regexp_extract(secret, '\S+$'), '\d')
    AND regexp_matches(regexp_extract(secret, '\S+$'), '[A-Za-z]'))
  -- The user's own words said back to them are no leak.
  AND NOT EXISTS (SELECT 1 FROM asked u WHERE u.trace_id = s.trace_id AND contains(u.input_text, s.secret))
---
[[example]]
fires = true
why = "a key"
spans = [
  { llm = "gpt-5", output = "Use ghp_16C7e42F292c6912E7710c838347Ae178B4a for it." },
]

[[example]]
fires = false
why = "an example"
spans = [
  { llm = "gpt-5", output = "AKIAIOSFODNN7EXAMPLE is the key that the documentation shows." },
]

---
name = "truncated_output"
category = "Formatting Errors"
version = 2
scope = "trace"
confidence = 0.97
needs = ["finish reasons"]

title = "Output of {subject} is truncated at its token limit"
description = "The model stops at its output limit; the next step works with a truncated answer."
definition = "A model call ends because its output limit was reached"
cause = "The answer is longer than the limit of output tokens that the call allows."
fix = """
Raise the output limit for this call, ask for less, or continue the answer when the finish reason is 'length'."""
validation = "The share of calls with finish reason 'length' should fall to zero."
source = "finish reason 'length', or as many output tokens as were allowed"
limits = """
needs finish reasons, or the limit and the token count; limits of 16 tokens or less are meant (a word is asked \
for)"""
quotes = "end"
speaks = ["output_text", "finish_reason"]
---
SELECT actor AS key, actor AS subject, trace_id, span_id,
  span_id AS origin_span_id,
  CASE WHEN trim(coalesce(output_head, '')) <> '' THEN 'output_text' ELSE 'name' END AS field,
  CASE WHEN trim(coalesce(output_head, '')) <> '' THEN left(output_head, 200) ELSE name END AS quote
FROM steps WHERE span_type = 'llm' AND coalesce(max_output_tokens, 1000) > 16 AND (finish_reason = 'length'
  OR finish_reason IS NULL AND output_tokens >= max_output_tokens
  OR finish_reason IS NULL AND max_output_tokens IS NULL
    AND output_tokens IN (256, 512, 1000, 1024, 2000, 2048, 4000, 4096, 8192)
    AND output_length < 2000 AND regexp_matches(output_head, '[A-Za-z,]\s*$'))
---
[[example]]
fires = true
why = "its limit ended it"
spans = [
  { llm = "gpt-5", output = "The three main reasons are", finish = "length" },
]

[[example]]
fires = false
why = "it ended"
spans = [
  { llm = "gpt-5", output = "The three main reasons are", finish = "stop" },
]

---
name = "told_not_served"
category = "Unhandled Error"
driven_by = "unserved_work"
version = 3
scope = "trace"
severity = "low"
stage = 2
confidence = 0.7
replaces = [
  "told_authentication", "told_format", "told_not_found", "told_other", "told_rate_limit", "told_service", "told_timeout",
]

title = "{subject} {what}, and the user is told but not served"
description = """
{subject} {what} and is not done in another way; the run ends with an answer, but not with what was asked for."""
definition = """
A call fails, no work succeeds after it, and the run ends with an answer that says neither what was missing nor asks \
for it"""
reason = "cause"
fix = """
Look at what is asked for in these runs: validate arguments before the call, return what does exist, and let the \
answer say what failed and what the user can do."""
validation = "The share of runs that are told but not served should fall."
source = "run outcomes by structure: told but not served"
limits = """
what other detectors explain is theirs; an answer that tells why, or asks back, counts under the outcomes alone, \
unless the root calls the run failed"""
speaks = ["output_text", "error_message"]

[what]
authentication = "is denied access"
format = "rejects its input"
not_found = "does not find what it is asked for"
other = "fails"
rate_limit = "is rate-limited"
service = "is unavailable"
timeout = "times out"
unsupported = "does not take its input"

[fixes]
authentication = """
Check the credentials and scopes of {subject}; a repeated call cannot work. Say in the answer what access is missing."""
rate_limit = """
Retry {subject} after the time that the answer names, with a limit; queue the request where it can wait."""
service = "Retry {subject} with backoff and a limit, or call another source; say in the answer that it may work later."
timeout = """
Retry {subject} once where that is safe, with a timeout below the agent's own; ask it for less, or return a part."""

[categories]
authentication = "Authentication Errors"
format = "Formatting Errors"
not_found = "Resource Not Found"
rate_limit = "Rate Limiting"
service = "Service Errors"
timeout = "Timeout Issues"
unsupported = "Formatting Errors"
---
SELECT u.class AS key, u.work AS subject, trace_id, span_id, NULL AS origin_span_id, 'name' AS field, s.name AS quote
FROM unserved_work u JOIN (SELECT trace_id, span_id, name FROM steps) s USING (trace_id, span_id)
WHERE trace_id NOT IN (FROM explained) AND CASE
    -- Who says what was missing, or asks back, has answered.
    WHEN u.class IN ('authentication', 'not_found', 'rate_limit', 'service', 'timeout') THEN u.root_failed OR NOT u.why
    -- A failing check is often what was asked for: it counts where the root calls the run failed.
    WHEN u.class IN ('format', 'unsupported', 'other') THEN u.root_failed
      -- All that the user gets is what the tool said.
      OR (trace_id, span_id) IN (SELECT (trace_id, span_id) FROM endings SEMI JOIN passed_on USING (trace_id, span_id))
    ELSE false END
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
why = "the user is told nothing but that it did not work"
spans = [
  { llm = "gpt-5", output = "I look that up.", calls = [{ name = "get_invoice", arguments = { id = 7 } }] },
  { tool = "get_invoice", input = '{"id": 7}', output = "Error: 401 Unauthorized" },
  { llm = "gpt-5", output = "Sorry, I am unable to complete this at the moment." },
]

[[example]]
fires = true
why = "the user is told nothing but that it did not work"
spans = [
  { llm = "gpt-5", output = "I look that up.", calls = [{ name = "get_invoice", arguments = { id = 7 } }] },
  { tool = "get_invoice", input = '{"id": 7}', output = "Error: 404 Not Found" },
  { llm = "gpt-5", output = "Sorry, I am unable to complete this at the moment." },
]

[[example]]
fires = true
why = "the user is told nothing but that it did not work"
spans = [
  { llm = "gpt-5", output = "I look that up.", calls = [{ name = "get_invoice", arguments = { id = 7 } }] },
  { tool = "get_invoice", input = '{"id": 7}', output = "Error: 429 Too Many Requests" },
  { llm = "gpt-5", output = "Sorry, I am unable to complete this at the moment." },
]

[[example]]
fires = true
why = "the user is told nothing but that it did not work"
spans = [
  { llm = "gpt-5", output = "I look that up.", calls = [{ name = "get_invoice", arguments = { id = 7 } }] },
  { tool = "get_invoice", input = '{"id": 7}', output = "Error: 503 Service Unavailable" },
  { llm = "gpt-5", output = "Sorry, I am unable to complete this at the moment." },
]

[[example]]
fires = true
why = "the user is told nothing but that it did not work"
spans = [
  { llm = "gpt-5", output = "I look that up.", calls = [{ name = "get_invoice", arguments = { id = 7 } }] },
  { tool = "get_invoice", input = '{"id": 7}', output = "Error: Read timed out" },
  { llm = "gpt-5", output = "Sorry, I am unable to complete this at the moment." },
]

[[example]]
fires = true
why = "the root calls the run failed"
root = "failed"
spans = [
  { llm = "gpt-5", output = "I look that up.", calls = [{ name = "get_invoice", arguments = { id = 7 } }] },
  { tool = "get_invoice", input = '{"id": 7}', output = "Error: 400 Bad Request: invalid JSON" },
  { llm = "gpt-5", output = "Sorry, I am unable to complete this at the moment." },
]

[[example]]
fires = true
why = "the root calls the run failed"
root = "failed"
spans = [
  { llm = "gpt-5", output = "I look that up.", calls = [{ name = "get_invoice", arguments = { id = 7 } }] },
  { tool = "get_invoice", input = '{"id": 7}', output = "Error: it broke" },
  { llm = "gpt-5", output = "Sorry, I am unable to complete this at the moment." },
]

[[example]]
fires = false
why = "of no known class, and no root calls the run failed"
spans = [
  { llm = "gpt-5", output = "I look that up.", calls = [{ name = "get_invoice", arguments = { id = 7 } }] },
  { tool = "get_invoice", input = '{"id": 7}', output = "Error: it broke" },
  { llm = "gpt-5", output = "Sorry, I am unable to complete this at the moment." },
]

[[example]]
fires = true
why = "what the tool said of its failure is all that the run returns"
returns = "exit code 1: KeyError: 'invoice' in line 8 of the report"
spans = [
  { llm = "gpt-5", output = "I run it.", calls = [{ name = "run_python", arguments = { code = "report()" } }] },
  { tool = "run_python", input = '{"code": "report()"}', output = "exit code 1: KeyError: 'invoice' in line 8 of the report" },
]

[[example]]
fires = false
why = "the run returns words of its own"
returns = "The report needs a column that is missing."
spans = [
  { llm = "gpt-5", output = "I run it.", calls = [{ name = "run_python", arguments = { code = "report()" } }] },
  { tool = "run_python", input = '{"code": "report()"}', output = "exit code 1: KeyError: 'invoice' in line 8 of the report" },
]

[[example]]
fires = false
why = "what a tool printed of its crash is all that the run returns: nobody told anything"
returns = """
exit code 1
Traceback (most recent call last):
  File "/app/report.py", line 8, in <module>
    print(rows['invoice'])
KeyError: 'invoice'"""
spans = [
  { llm = "gpt-5", output = "I run it.", calls = [{ name = "run_python", arguments = { code = "report()" } }] },
  { tool = "run_python", input = '{"code": "report()"}', output = """
exit code 1
Traceback (most recent call last):
  File "/app/report.py", line 8, in <module>
    print(rows['invoice'])
KeyError: 'invoice'""" },
]

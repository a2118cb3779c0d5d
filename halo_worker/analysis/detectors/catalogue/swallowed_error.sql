---
name = "swallowed_error"
category = "Tool Output Misinterpretation"
driven_by = "failed_results"
version = 8
scope = "trace"
confidence = 0.85
needs = ["tool spans", "tool results"]

title = "{subject} fails silently"
description = """
{subject} returns an error as an ordinary result; the agent continues as if it had succeeded, and the user is \
not told."""
definition = """
A tool returns something error-shaped while its status is not ERROR, and the run answers without telling the user, in \
no turn, and without passing on what the tool said; it is not mended by a later call with the same arguments, nor by \
one of the tool among the next two calls (of a shell or an interpreter: by any later one); of code that \
ends in a stack trace, the next turn takes up nothing that it printed before"""
cause = "The call's status is not ERROR, and the answer does not tell of it."
reason = "title"
fix = """
Raise in the tool, or set the span's status to ERROR, so that agent and telemetry see it; tell the model what to \
do then."""
validation = "Failed calls should have status ERROR, and the answers should say what did not work."
source = "'silent failures': OTel status UNSET or OK over a failed result"
limits = """
what damaged arguments lead to is corrupted_output's; what nobody answers after is ended_in_mid_work's or \
empty_answer's; shapes: an error member in a JSON object, success false, a \
status of 400 or more, an exit code other than 0, or a short text that has a form of lexicon/failed_result.toml; of \
tools that read logs, tests and the like, the plain shapes only"""

[fixes]
not_found = """
Let {subject} answer an unknown id or path with those that exist, as an error (status ERROR); tell the model to \
look before it guesses."""
authentication = """
Give {subject} the permission it lacks, or take it off the list of tools; a repeated call cannot work. Set the \
status to ERROR."""
format = """
Validate arguments before {subject} runs, and answer a wrong one with the expected form, as an error (status \
ERROR)."""
model_code = """
Validate what the model wrote before {subject} runs it, and return the parser's message as an error (status \
ERROR)."""
environment = """
Install or configure what the error names where {subject} runs; a repeated call cannot work. Set the status to \
ERROR."""
rate_limit = """
Let {subject} wait and try again within a limit, then raise; set the status to ERROR, and have the answer say \
what is missing."""
service = """
Let {subject} try again with backoff and a limit, then raise; set the status to ERROR, and have the answer say \
what is missing."""
timeout = """
Let {subject} try once more with a timeout below the agent's own, then raise; set the status to ERROR, and have \
the answer say what is missing."""
---
WITH bad AS (
  SELECT r.trace_id, r.span_id, r.start_time, r.tool, r.text, r.weak, r.told, r.asking, s.input_hash, s.arguments,
    s.parent_span_id
  -- Where nobody answers, nothing could hide the failure.
  FROM (FROM failed_results WHERE trace_id NOT IN (SELECT trace_id FROM endings WHERE outcome = 'ended in mid-work')) r
  JOIN steps s USING (trace_id, span_id)
  -- Of a call that several spans tell, the outermost.
  ANTI JOIN (
    SELECT n.trace_id, n.span_id FROM nested n
    JOIN failed_results o ON o.trace_id = n.trace_id AND o.span_id = n.outer_span_id AND NOT o.told
  ) n ON NOT r.told AND n.trace_id = r.trace_id AND n.span_id = r.span_id
  WHERE NOT denies_tool(r.text) AND (r.trace_id, r.span_id) NOT IN (SELECT (trace_id, span_id) FROM damaged_calls)
),
tried AS (
  SELECT trace_id, span_id, start_time, work, input_hash, failed, coalesce(can_do_anything(work), false) AS anything,
    row_number() OVER (PARTITION BY trace_id ORDER BY start_time, span_id) AS nth
  FROM steps ANTI JOIN nested USING (trace_id, span_id)
  WHERE span_type IN ('tool', 'retriever') AND trace_id IN (SELECT trace_id FROM failed_results WHERE NOT told)
),
good AS (FROM tried ANTI JOIN failed_steps USING (trace_id, span_id) WHERE NOT failed),
mended AS (
  SELECT DISTINCT b.trace_id, b.span_id FROM bad b JOIN tried t USING (trace_id, span_id)
  JOIN good g ON g.trace_id = b.trace_id AND g.nth > t.nth
    AND (g.work = t.work AND (t.anything OR g.nth <= t.nth + 2)
      OR g.input_hash = t.input_hash AND length(b.arguments) > 2)
),
-- Runs within a run whose answers a leading agent reads, not the user.
led AS (
  SELECT u.trace_id, u.span_id FROM sub_runs u JOIN steps p USING (trace_id, span_id)
  SEMI JOIN (FROM steps WHERE span_type = 'llm') l ON l.trace_id = p.trace_id AND l.parent_span_id = p.parent_span_id
),
-- A turn of a conversation after the call tells it, though the last one speaks of something else. Where agents take
-- turns with no model beside them that sums them up, the next of their turns does.
said AS (
  SELECT b.trace_id, b.span_id
  FROM (FROM bad ANTI JOIN led ON led.trace_id = bad.trace_id AND led.span_id = bad.parent_span_id) b
  JOIN (FROM steps ANTI JOIN asides USING (trace_id, span_id)) t
    ON t.trace_id = b.trace_id AND t.parent_span_id IS NOT DISTINCT FROM b.parent_span_id
  LEFT JOIN replies r ON r.trace_id = t.trace_id AND r.span_id = t.span_id
  WHERE t.span_type IN ('llm', 'agent') AND t.start_time >= b.start_time AND t.output_length > 0
  GROUP BY ALL
  HAVING bool_or(t.span_type = 'llm' AND coalesce(t.calls, 0) = 0 AND (r.admits OR b.weak AND r.denies))
    OR bool_and(t.span_type = 'agent') AND arg_min(coalesce(r.admits, false), t.start_time)
),
good_told AS (
  SELECT t.trace_id, t.tool, max(t.start_time) AS at_ FROM told_results t
  ANTI JOIN failed_results f ON f.told AND f.trace_id = t.trace_id AND f.span_id = t.span_id GROUP BY ALL
)
SELECT b.tool AS key, b.tool AS subject, b.trace_id, b.span_id, b.asking AS origin_span_id,
  CASE WHEN b.told THEN 'input_text' ELSE 'output_text' END AS field, left(b.text, 300) AS quote
FROM bad b LEFT JOIN (FROM replies WHERE answer) f ON f.trace_id = b.trace_id AND f.end_time > b.start_time
WHERE NOT coalesce(f.admits OR b.weak AND f.denies, false)
  AND (b.trace_id, b.span_id) NOT IN (SELECT (trace_id, span_id) FROM said)
  AND (b.trace_id, b.span_id) NOT IN (SELECT (trace_id, span_id) FROM passed_on)
  AND (b.trace_id, b.span_id) NOT IN (SELECT (trace_id, span_id) FROM half_done)
  AND (b.told OR (b.trace_id, b.span_id) NOT IN (SELECT (trace_id, span_id) FROM mended))
  AND NOT (b.told AND EXISTS (
    SELECT 1 FROM good_told g WHERE g.trace_id = b.trace_id AND g.at_ > b.start_time AND g.tool = b.tool))
---
[[example]]
fires = true
why = "the result is an error, the answer does not tell"
spans = [
  { tool = "get_balance", input = '{"account": "a"}', output = '{"error": "ledger offline"}' },
  { llm = "gpt-5", output = "Your balance is 12 NOK." },
]

[[example]]
fires = false
why = "the answer tells"
spans = [
  { tool = "get_balance", input = '{"account": "a"}', output = '{"error": "ledger offline"}' },
  { llm = "gpt-5", output = "I could not reach the ledger. Please try again later." },
]

[[example]]
fires = false
why = "the answer passes on what the tool said"
spans = [
  { tool = "get_balance", input = '{"account": "a"}', output = '{"error": "ledger offline"}' },
  { llm = "gpt-5", output = "Result of get_balance: ledger offline" },
]

[[example]]
fires = true
why = "the answer holds other words of the result alone"
spans = [
  { tool = "get_balance", input = '{"account": "a"}', output = '{"error": "ledger offline since noon"}' },
  { llm = "gpt-5", output = "In the ledger your balance is 12 NOK." },
]

[[example]]
fires = false
why = "a turn of the conversation tells, the last one speaks of something else"
spans = [
  { tool = "get_balance", input = '{"account": "a"}', output = '{"error": "no such account"}' },
  { llm = "gpt-5", output = "I could not find that account. Which one do you mean?" },
  { tool = "get_address", input = '{"user": "a"}', output = "Bryggen 1" },
  { llm = "gpt-5", output = "The address is Bryggen 1." },
]

[[example]]
fires = false
why = "a later call works"
spans = [
  { tool = "get_balance", input = '{"account": "a"}', output = '{"error": "ledger offline"}' },
  { tool = "get_balance", input = '{"account": "a"}', output = '{"balance": 12}' },
  { llm = "gpt-5", output = "Your balance is 12 NOK." },
]

[[example]]
fires = false
why = "a member for errors says there is none"
spans = [
  { tool = "get_balance", input = "{}", output = '{"error": null, "balance": 3}' },
  { llm = "gpt-5", output = "The balance is 3 NOK." },
]

[[example]]
fires = false
why = "nobody answers after it: there is nothing to be silent in"
spans = [
  { llm = "gpt-5", output = "I look that up.", calls = [{ name = "get_balance", arguments = { account = "a" } }] },
  { tool = "get_balance", input = '{"account": "a"}', output = '{"error": "ledger offline"}' },
]

[[example]]
fires = true
why = "agents take turns, and none of them tells"
spans = [
  { agent = "clerk", input = "the balance", output = "Please run get_balance." },
  { tool = "get_balance", input = '{"account": "a"}', output = '{"error": "ledger offline"}' },
  { agent = "auditor", input = "ledger offline", output = "The balance is 12 NOK." },
]

[[example]]
fires = false
why = "code fails after it printed what the next turn takes up"

[[example.spans]]
tool = "python"
input = '{"code": "for hit in find(query): print(hit)"}'
output = """
exit code 1
Traceback (most recent call last):
  File "/tmp/a.py", line 6, in <module>
    for hit in find(query):
TypeError: 'NoneType' object is not iterable
The harbour museum exhibits wooden fishing vessels on Thursdays."""

[[example.spans]]
llm = "gpt-5"
output = "On Thursdays the harbour museum shows wooden vessels."

[[example]]
fires = true
why = "the next turn takes up nothing that the code printed"

[[example.spans]]
tool = "python"
input = '{"code": "for hit in find(query): print(hit)"}'
output = """
exit code 1
Traceback (most recent call last):
  File "/tmp/a.py", line 6, in <module>
    for hit in find(query):
TypeError: 'NoneType' object is not iterable
Loading the configuration of the index."""

[[example.spans]]
llm = "gpt-5"
output = "On Thursdays the harbour museum shows wooden vessels."

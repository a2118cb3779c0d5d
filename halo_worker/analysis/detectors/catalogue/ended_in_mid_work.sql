---
name = "ended_in_mid_work"
category = "Task Orchestration"
driven_by = "outcomes WHERE outcome = 'ended in mid-work' AND basis = 'structure'"
version = 4
scope = "trace"
severity = "medium"
stage = 2
confidence = 0.8
replaces = ["ends_without_answer"]

title = "Runs of {subject} end in mid-work, without an answer"
description = "The last thing that happens in these runs is {what}: work was under way, and nobody answered the request."
definition = """
The last act of a run is a call of a tool, its result, a hand-off or an empty turn: nobody answers after it, or \
all that the run returns is the stack trace that the tool printed"""
cause = "The step that answers is missing: after {what} no model is called again."
fix = """
Look at what stops these runs: a limit of turns or time, a crash, a client that stops reading. Let the loop end only \
after a turn that answers, and record a limit as an error."""
validation = "The last act of every run should be an answer."
source = "run outcomes by structure; TRAIL, Task Orchestration (arXiv 2505.08638)"
limits = """
runs with an agent, or with several calls; a tool that runs end in as a rule (final_answer, or 90 % of its runs) \
ends them; not where the session goes on in another trace"""
speaks = ["output_text", "input_text"]

[what]
"a call of a tool" = "a call of a tool"
"the result of a tool" = "the result of a tool"
"a hand-off" = "a hand-off"
"an empty turn" = "an empty turn"
---
SELECT coalesce(e.agent_name, e.service_name, s.name) || '|' || e.last_act AS key,
  coalesce(e.agent_name, e.service_name, s.name) AS subject, e.trace_id, e.span_id, e.span_id AS origin_span_id,
  'name' AS field, s.name AS quote
FROM outcomes o JOIN endings e USING (trace_id)
JOIN (SELECT trace_id, span_id, name FROM steps) s USING (trace_id, span_id)
WHERE o.outcome = 'ended in mid-work' AND o.basis = 'structure' AND o.status_code IS DISTINCT FROM 'ERROR'
  -- These say it already.
  AND e.trace_id NOT IN (
    SELECT trace_id FROM hits WHERE detector IN ('unfinished_run', 'empty_answer', 'uncaught_exception'))
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
why = "nobody answers after the last result"
spans = [
  { llm = "gpt-5", output = "I look that up.", calls = [{ name = "get_invoice", arguments = { id = 7 } }] },
  { tool = "get_invoice", input = '{"id": 7}', output = "12 EUR" },
]

[[example]]
fires = true
why = "the run returns the stack trace of its last tool"
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

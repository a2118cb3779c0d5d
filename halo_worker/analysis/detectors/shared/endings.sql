---
about = "The last act of each run, by its structure."

[columns]
trace_id = "the trace"
span_id = "the act"
service_name = ""
agent_name = ""
tool = "that it calls, or that it is the result of"
last_act = "a call of a tool, the result of a tool, a hand-off, an empty turn; NULL of an answer"
outcome = "what the structure alone says, as in outcomes"
---
SELECT trace_id, span_id, service_name, agent_name, tool, last_act, outcome FROM _endings

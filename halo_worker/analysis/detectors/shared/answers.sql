---
about = "The answer of each trace that a user saw: the model call that ended its work."

[columns]
trace_id = "the trace"
span_id = "the span"
agent_name = ""
service_name = ""
system_head = "the beginning of its system prompt"
end_time = ""
answer = "2,000 characters; NULL of an image or a file"
---
SELECT * FROM _final

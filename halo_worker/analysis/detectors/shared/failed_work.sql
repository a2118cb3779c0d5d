---
about = "Work whose last attempt failed, and that was not done in another way."

[columns]
trace_id = "the trace"
span_id = "the last attempt"
work = "the tool"
start_time = ""
last = "no work of the trace succeeded after it"
---
SELECT trace_id, span_id, work, start_time, last FROM _failed_work

---
about = "How each trace ended, as far as it is recorded."

[columns]
trace_id = "the trace"
outcome = "error, ok, paused, cancelled or unknown"
stopped = "it ended on purpose in the middle of its work"
root_name = "the root span's name"
status_code = "the root span's"
---
SELECT t.trace_id, e.outcome, t.trace_id IN (FROM _stopped) AS stopped, t.root_name, t.status_code
FROM _t t LEFT JOIN _ended e USING (trace_id)

---
about = "How each trace ended."

[columns]
trace_id = "the trace"
outcome = """
served, told but not served, error, ended in mid-work, limit reached, gave up, cancelled, paused or unknown"""
basis = "recorded or structure"
stopped = "it ended on purpose in the middle of its work"
root_name = "the root span's name"
status_code = "the root span's"
---
SELECT t.trace_id, e.outcome, e.basis, t.trace_id IN (FROM _stopped) AS stopped, t.root_name, t.status_code
FROM _t t LEFT JOIN _ended e USING (trace_id)

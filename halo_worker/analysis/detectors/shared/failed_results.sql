---
about = "Results that say the call failed, although the status is not ERROR."
kind = "table"

[columns]
trace_id = "the trace"
span_id = "as in results"
start_time = ""
tool = "its name"
text = "2,000 characters"
told = "as in results"
asking = "as in results"
weak = "an answer may pass it on as a plain no: {\"ok\": false}"
---
SELECT trace_id, span_id, start_time, tool, text, told, asking, t.weak
FROM results JOIN result_texts t USING (said)
WHERE NOT status_failed AND (t.failed OR t.may_have_failed AND NOT inspects(tool))

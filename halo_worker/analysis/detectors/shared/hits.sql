---
about = "What the detectors before have found; those with a later `stage` run after the others."

[columns]
detector = "its name"
trace_id = "the trace"
span_id = "the span"
---
SELECT detector, trace_id, span_id FROM _hits

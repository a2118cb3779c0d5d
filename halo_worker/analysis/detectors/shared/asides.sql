---
about = "Model calls after the answer that are not part of the run: for a title, follow-up questions, a verdict."

[columns]
trace_id = "the trace"
span_id = "the span"
of_span_id = "the answer they came after"
---
SELECT * FROM _asides

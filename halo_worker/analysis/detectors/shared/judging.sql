---
about = "Spans within an evaluator or a guardrail: nobody there speaks to the user."

[columns]
trace_id = "the trace"
span_id = "the span"
---
SELECT trace_id, span_id FROM _judging

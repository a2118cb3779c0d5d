---
about = "Spans that tell again of a call which another span around them, or with the same call id, tells."

[columns]
trace_id = "the trace"
span_id = "the span"
outer_span_id = "the span that is counted in its place"
at_once = "both are of one attempt"
---
SELECT trace_id, span_id, outer_span_id, at_once FROM _inner

---
about = "Every span that tells of an attempt with such a result, also where another span holds the result."
kind = "table"

[columns]
trace_id = "the trace"
span_id = "the span"
---
WITH outer_ AS (
  SELECT trace_id, span_id FROM failed_results WHERE NOT told
  UNION
  SELECT i.trace_id, i.outer_span_id FROM nested i SEMI JOIN (FROM failed_results WHERE NOT told) f
    ON f.trace_id = i.trace_id AND f.span_id = i.span_id WHERE i.at_once
)
SELECT trace_id, span_id FROM outer_
UNION ALL
SELECT i.trace_id, i.span_id FROM nested i
JOIN outer_ o ON o.trace_id = i.trace_id AND o.span_id = i.outer_span_id WHERE i.at_once

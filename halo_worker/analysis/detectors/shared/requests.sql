---
about = "What was asked of each trace, where it is short."
kind = "table"

[columns]
trace_id = "the trace"
service_name = ""
asked = "the request"
---
SELECT trace_id, any_value(service_name) AS service_name,
  coalesce(arg_min(asked, start_time) FILTER (span_type = 'llm'), arg_min(asked, start_time)) AS asked
FROM steps WHERE length(asked) BETWEEN 8 AND 290 GROUP BY trace_id

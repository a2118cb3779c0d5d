---
about = "Traces of each service, and those that have a root span."
kind = "counts"

[columns]
service_name = ""
traces = ""
rooted = "that have one"
earlier = "as in tool_counts"
---
SELECT service_name, count(*) AS traces, count(*) FILTER (root) AS rooted, false AS earlier
FROM (
  SELECT trace_id, bool_or(parent_span_id IS NULL) AS root, any_value(service_name) AS service_name
  FROM steps WHERE span_type IS NOT NULL OR parent_span_id IS NULL GROUP BY trace_id
) GROUP BY service_name

---
about = "The calls of shifts."

[columns]
measure = "as in shifts"
trace_id = "the trace"
span_id = "the span"
key = "dimension and value"
subject = "agent, service, or tool or model"
---
SELECT measure, trace_id, span_id, dimension || ' ' || value AS key,
  coalesce(nullif(agent, ''), nullif(service, ''), what) AS subject
FROM shifts JOIN measures m USING (measure, service, agent, what)
LEFT JOIN untimed u ON u.service_name = m.service AND u.span_type = split_part(m.what, ' ', 1)
WHERE (measure <> 'duration' OR u.service_name IS NULL)
  AND value = CASE dimension WHEN 'version' THEN m.version WHEN 'prompt' THEN m.prompt ELSE m.day::VARCHAR END

---
about = "How often tools were asked for and ran, by service: counts that add up over parts of a window, and over windows."
kind = "counts"

[columns]
service_name = ""
tool = "'' where it has no name"
asked = "calls that models asked for"
traces = "with such a call"
of_traces = "traces with any call: in the row of the tool ''"
ran = "its spans that did not fail"
earlier = "counted by the last report before the window, where one is compared with: the looks of alerts"
---
SELECT service_name, coalesce(call_name, '') AS tool, count(*) AS asked, count(DISTINCT trace_id) AS traces,
  0 AS of_traces, 0 AS ran, false AS earlier
FROM calls GROUP BY ALL
UNION ALL
SELECT service_name, '', 0, 0, count(DISTINCT trace_id), 0, false FROM calls GROUP BY service_name
UNION ALL
SELECT service_name, tool_name, 0, 0, 0, count(*), false FROM steps ANTI JOIN failed_steps b USING (trace_id, span_id)
WHERE span_type = 'tool' AND NOT failed AND tool_name IS NOT NULL GROUP BY service_name, tool_name

---
about = """
Spans of a service whose durations no clock measured: of 15 or more there are at most eight different ones, all of \
them of calls that take longer than the steps of a clock."""
kind = "table"

[columns]
service_name = ""
span_type = "llm, tool or retriever"
---
SELECT service_name, span_type FROM steps
WHERE span_type IN ('llm', 'tool', 'retriever') AND NOT failed
GROUP BY ALL
-- Calls of tools may take no millisecond; those of models do. 50 ms are told apart by any clock of milliseconds.
HAVING count(duration_ns) >= 15 AND approx_count_distinct(duration_ns) <= least(8, count(duration_ns) / 5)
  AND (span_type = 'llm' OR 2 * count(*) FILTER (duration_ns >= 50e6) > count(*))

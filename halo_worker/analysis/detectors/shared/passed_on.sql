---
about = """
Failed results whose very words the run passes on: its answer, or what its root returns, holds what a result in JSON \
says of its failure, else the end of the result."""
kind = "table"

[columns]
trace_id = "the trace"
span_id = "as in failed_results"
---
WITH failing AS (
  SELECT trace_id, span_id, start_time,
    regexp_extract(text, '"(?:error|message|detail|reason)"\s*:\s*"([^"\\]{12,120})', 1) AS said,
    rtrim(right(CASE WHEN said = '' THEN text ELSE said END, 60)) AS words
  FROM failed_results
),
shown AS (
  SELECT trace_id, end_time, answer AS text FROM answers
  UNION ALL
  SELECT trace_id, end_time, output_head FROM steps WHERE parent_span_id IS NULL AND output_length > 0
)
SELECT DISTINCT f.trace_id, f.span_id
FROM failing f JOIN (FROM shown WHERE trace_id IN (SELECT trace_id FROM failing)) a USING (trace_id)
WHERE coalesce(a.end_time >= f.start_time, true) AND length(f.words) >= 12 AND contains(a.text, f.words)

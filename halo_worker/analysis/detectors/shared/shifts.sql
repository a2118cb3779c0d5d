---
about = """
Versions, prompts and days whose calls take twice as much as the others of their service, agent and tool or model, \
by the ratio of geometric means, and lie above them by a rank test (Mann and Whitney 1947) at 4.5 standard \
deviations. Eight traces at least, and five calls of others. Days are also compared with the calls of the last report."""
kind = "table"

[columns]
measure = "'duration' or 'first prompt'"
service = "as in measures"
agent = "as in measures"
what = "as in measures"
dimension = "version, prompt or day"
value = "of the dimension"
times = "the ratio"
---
WITH valued AS (
  SELECT measure, service, agent, what, 'version' AS dimension, version AS value, bin, trace_id FROM measures
  UNION ALL SELECT measure, service, agent, what, 'prompt', prompt, bin, trace_id FROM measures
  UNION ALL SELECT measure, service, agent, what, 'day', day::VARCHAR, bin, trace_id FROM measures
),
bins AS (
  SELECT measure, service, agent, what, dimension, value, bin, count(*) AS n, approx_count_distinct(trace_id) AS traces
  FROM valued WHERE value <> '' AND measure IN ('duration', 'first prompt') GROUP BY ALL
  UNION ALL
  SELECT measure, service, agent, what, 'day', NULL, bin, n, 0 FROM baseline_bins
  WHERE earlier AND measure IN ('duration', 'first prompt')
),
ranks AS (
  SELECT *, sum(n) OVER (k ORDER BY bin) - n / 2.0 AS below, sum(n) OVER k AS total, sum(n * bin) OVER k AS all_bins
  FROM (SELECT measure, service, agent, what, dimension, bin, sum(n) AS n FROM bins GROUP BY ALL)
  WINDOW k AS (PARTITION BY measure, service, agent, what, dimension)
),
ranked AS (
  SELECT b.measure, b.service, b.agent, b.what, b.dimension, b.value, sum(b.n) AS n, any_value(r.total) AS total,
    sum(b.n * r.below) AS rank_sum, sum(b.n * b.bin) / sum(b.n) AS own, sum(b.traces) AS traces,
    (any_value(r.all_bins) - sum(b.n * b.bin)) / nullif(any_value(r.total) - sum(b.n), 0) AS rest
  FROM bins b JOIN ranks r USING (measure, service, agent, what, dimension, bin)
  WHERE b.value IS NOT NULL
  GROUP BY b.measure, b.service, b.agent, b.what, b.dimension, b.value
)
SELECT measure, service, agent, what, dimension, value, exp((own - rest) / 20) AS times FROM ranked
WHERE total >= 15 AND traces >= 8 AND total - n >= 5 AND times >= 2
  AND (rank_sum - n * total / 2.0) / sqrt(n * (total - n) * (total + 1) / 12.0) > 4.5

---
about = """
Versions, prompts and days whose calls take twice as much as the others of their service, agent and tool or model, \
by the ratio of geometric means, and lie above them by a rank test (Mann and Whitney 1947) at 4.5 standard \
deviations: one in 300,000, for hundreds are made. Five traces at least, and as many calls of others."""
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
  SELECT measure, service, agent, what, dimension, value, bin, trace_id FROM (
    SELECT measure, service, agent, what, bin, trace_id, unnest(['version', 'prompt', 'day']) AS dimension,
      unnest([version, prompt, day::VARCHAR]) AS value
    FROM measures WHERE measure IN ('duration', 'first prompt')
  ) WHERE value <> ''
),
bins AS (SELECT measure, service, agent, what, dimension, bin, count(*) AS n FROM valued GROUP BY ALL),
ranks AS (
  SELECT *, sum(n) OVER (k ORDER BY bin) - n / 2.0 AS below, sum(n) OVER k AS total, sum(n * bin) OVER k AS all_bins
  FROM bins WINDOW k AS (PARTITION BY measure, service, agent, what, dimension)
),
ranked AS (
  SELECT measure, service, agent, what, dimension, value, count(*) AS n, any_value(total) AS total,
    sum(below) AS rank_sum, avg(bin) AS own,
    (any_value(all_bins) - sum(bin)) / nullif(any_value(total) - count(*), 0) AS rest
  FROM valued JOIN ranks USING (measure, service, agent, what, dimension, bin) WHERE total >= 15
  GROUP BY measure, service, agent, what, dimension, value HAVING count(DISTINCT trace_id) >= 5
)
SELECT measure, service, agent, what, dimension, value, exp((own - rest) / 20) AS times FROM ranked
WHERE total - n >= 5 AND times >= 2
  AND (rank_sum - n * total / 2.0) / sqrt(n * (total - n) * (total + 1) / 12.0) > 4.5

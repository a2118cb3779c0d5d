---
about = """
What is usual of a measure for a service, agent and tool or model: median and MAD of the logarithm (Iglewicz and \
Hoaglin 1993). Where its calls are few they are drawn by ten calls towards those of the service, and these towards \
all calls of the tool or model (empirical Bayes)."""
kind = "table"

[columns]
measure = "as in measures"
service = "as in measures"
agent = "as in measures"
what = "as in measures"
calls = "of the service and agent"
peers = "of all services"
usual = "the bin in the middle"
spread = "1.4826 × median absolute deviation in bins, 3 bins at least: equal calls differ by chance all the same"
---
WITH levels AS (
  SELECT grouping(service, agent) AS level, measure, service, agent, what, bin, sum(n) AS n FROM baseline_bins
  GROUP BY GROUPING SETS ((measure, service, agent, what, bin), (measure, service, what, bin), (measure, what, bin))
),
medians AS (
  SELECT level, measure, service, agent, what, any_value(total) AS total, min(bin) FILTER (2 * upto >= total) AS middle
  FROM (
    SELECT *, sum(n) OVER (k ORDER BY bin) AS upto, sum(n) OVER k AS total FROM levels
    WINDOW k AS (PARTITION BY level, measure, service, agent, what)
  ) GROUP BY level, measure, service, agent, what
),
away AS (
  SELECT l.level, l.measure, l.service, l.agent, l.what, m.total, m.middle, abs(l.bin - m.middle) AS distance,
    sum(l.n) AS n
  FROM levels l JOIN medians m ON m.level = l.level AND m.measure = l.measure AND m.what = l.what
    AND m.service IS NOT DISTINCT FROM l.service AND m.agent IS NOT DISTINCT FROM l.agent
  GROUP BY ALL
),
spreads AS (
  SELECT level, measure, service, agent, what, any_value(total)::DOUBLE AS n, any_value(middle)::DOUBLE AS middle,
    min(distance) FILTER (2 * upto >= total)::DOUBLE AS mad
  FROM (
    SELECT *, sum(n) OVER (PARTITION BY level, measure, service, agent, what ORDER BY distance) AS upto FROM away
  ) GROUP BY level, measure, service, agent, what
)
SELECT a.measure, a.service, a.agent, a.what, a.n::BIGINT AS calls, o.n::BIGINT AS peers,
  (a.n * a.middle + 10 * (s.n * s.middle + 10 * o.middle) / (s.n + 10)) / (a.n + 10) AS usual,
  1.4826 * greatest(3, (a.n * a.mad + 10 * (s.n * s.mad + 10 * o.mad) / (s.n + 10)) / (a.n + 10)) AS spread
FROM (FROM spreads WHERE level = 0) a JOIN (FROM spreads WHERE level = 1) s USING (measure, service, what)
JOIN (FROM spreads WHERE level = 3) o USING (measure, what)

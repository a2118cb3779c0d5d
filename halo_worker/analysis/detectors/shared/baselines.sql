---
about = """
What is usual of a measure in its kind, of 40 spans or more: median and MAD of the logarithm (Iglewicz and \
Hoaglin 1993)."""
kind = "by measure"

[columns]
measure = "as in measures"
kind = "as in measures"
median = "of ln(value)"
deviation = "median absolute deviation of ln(value), 0.05 at least"
n = "spans"
---
SELECT measure, kind, median(ln(value)) AS median, greatest(mad(ln(value)), 0.05) AS deviation, count(*) AS n
FROM measures WHERE measure = $measure GROUP BY ALL HAVING n >= 40

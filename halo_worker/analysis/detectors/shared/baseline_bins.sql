---
about = "How many calls lie in each bin of a measure."
kind = "counts"

[columns]
measure = "as in measures"
service = "as in measures"
agent = "as in measures"
what = "as in measures"
bin = "as in measures"
n = "calls"
earlier = "as in tool_counts"
---
SELECT measure, service, agent, what, bin, count(*) AS n, false AS earlier FROM measures GROUP BY ALL

---
about = "How many calls lie in each bin of a measure."
kind = "table"

[columns]
measure = "as in measures"
service = "as in measures"
agent = "as in measures"
what = "as in measures"
bin = "as in measures"
n = "calls"
---
SELECT measure, service, agent, what, bin, count(*) AS n FROM measures GROUP BY ALL

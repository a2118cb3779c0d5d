---
about = """
Traces whose user sent 4,000 characters or more, and five times what the users of the service usually send: that \
explains a long prompt, and a slow answer."""
kind = "table"

[columns]
trace_id = "the trace"
---
WITH inputs AS (
  SELECT trace_id, any_value(service_name) AS service, max(asked_length) AS sent FROM steps WHERE asked_length > 0
  GROUP BY trace_id
),
usual AS (SELECT service, median(sent) AS sent FROM inputs GROUP BY ALL)
SELECT trace_id FROM inputs i JOIN usual u ON u.service IS NOT DISTINCT FROM i.service
WHERE i.sent >= 4000 AND i.sent >= 5 * u.sent

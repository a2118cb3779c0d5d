---
name = "unusual_tool"
category = "Tool Selection Errors"
driven_by = "request_forms"
version = 2
scope = "group"
confidence = 0.7
needs = ["message content"]

title = "{subject} is called for requests that another tool answers"
description = "Requests of this form nearly always use another tool ({key}); here the model called {subject}."
definition = """
Of 20 requests or more of the same form, 90% are answered with one tool; this one was answered without it, with \
a tool that is the usual one for requests of another form"""
cause = "The requests have the form of those that another tool answers; the tool differs."
fix = "State in the tools' descriptions when to use each, with one example; remove overlaps."
validation = "Requests of this form should all call the usual tool."
source = "TRAIL, Tool Selection Errors; majority within a form of request"
limits = "only where requests come in forms; a request that differs in what makes it different looks the same"
---
WITH used AS (
  SELECT DISTINCT trace_id, work AS tool FROM steps WHERE span_type = 'tool' AND NOT ends_run(work)
  UNION SELECT DISTINCT trace_id, call_name FROM calls WHERE call_name <> '' AND NOT ends_run(call_name)
),
forms AS (SELECT f.*, count(*) OVER (PARTITION BY service_name, share, form) AS alike FROM request_forms f SEMI
  JOIN used USING (trace_id)),
tools AS (
  SELECT service_name, share, form, tool, any_value(alike) AS alike, count(*) AS n
  FROM forms JOIN used USING (trace_id) WHERE alike >= 20 GROUP BY ALL
),
usual AS (SELECT service_name, share, form, arg_max(tool, n) AS tool FROM tools WHERE n >= 0.9 * alike
  GROUP BY ALL),
odd AS (
  SELECT f.trace_id, u.tool AS usual, min(t.tool) AS tool
  FROM forms f JOIN usual u USING (service_name, share, form) JOIN used d ON d.trace_id = f.trace_id
  JOIN tools t ON t.service_name = f.service_name AND t.share = f.share AND t.form = f.form AND t.tool = d.tool
  ANTI JOIN used x ON x.trace_id = f.trace_id AND x.tool = u.tool
  SEMI JOIN usual other ON other.service_name = f.service_name AND other.tool = d.tool
  GROUP BY f.trace_id, u.tool, f.share HAVING max(t.n / t.alike) <= 0.06 AND count(DISTINCT d.tool) = 1
),
-- Work of many calls, failures, and answers that speak of the tool or say what is missing are other matters.
plain AS (
  SELECT o.*, regexp_replace(lower(o.tool), '[^a-z]+', '|', 'g') AS words FROM odd o JOIN (
    SELECT trace_id FROM steps ANTI JOIN nested USING (trace_id, span_id) GROUP BY ALL HAVING count(*)
      FILTER (span_type = 'tool') <= 2 AND count(*) FILTER (failed) = 0
  ) USING (trace_id) JOIN answers f USING (trace_id) JOIN requests a USING (trace_id)
  ANTI JOIN (FROM replies WHERE admits) r ON r.trace_id = f.trace_id AND r.span_id = f.span_id
  WHERE NOT regexp_matches(lower(f.answer), stems_of(o.tool))
    AND NOT regexp_matches(lower(a.asked), stems_of(o.tool))
)
SELECT any_value(o.usual) || '|' || any_value(o.tool) AS key, any_value(o.tool) AS subject, o.trace_id,
  coalesce(arg_min(s.span_id, s.start_time) FILTER (s.span_type = 'tool'),
    arg_min(s.span_id, s.start_time)) AS span_id, NULL AS origin_span_id,
  'name' AS field, coalesce(arg_min(s.name, s.start_time) FILTER (s.span_type = 'tool'),
    arg_min(s.name, s.start_time)) AS quote
FROM plain o JOIN steps s ON s.trace_id = o.trace_id
  AND (s.span_type = 'tool' AND s.work = o.tool OR s.span_type = 'llm' AND s.calls > 0)
GROUP BY o.trace_id
---
[[example]]
fires = false
why = "the usual tool of its form"
times = 40
spans = [
  { llm = "gpt-5", input = "Where is the parcel with number A7 now please", calls = ["track_parcel"] },
  { tool = "track_parcel", input = '{"id": 1}', output = "fine" },
  { llm = "gpt-5", output = "It is done." },
]

[[example]]
fires = false
why = "the usual tool of another form"
times = 40
spans = [
  { llm = "gpt-5", input = "What is the exchange rate of the krone today", calls = ["get_rate"] },
  { tool = "get_rate", input = '{"id": 1}', output = "fine" },
  { llm = "gpt-5", output = "It is done." },
]

[[example]]
fires = true
why = "the other form's tool"
spans = [
  { llm = "gpt-5", input = "Where is the parcel with number A8 now please", calls = ["get_rate"] },
  { tool = "get_rate", input = '{"id": 1}', output = "fine" },
  { llm = "gpt-5", output = "It is done." },
]

---
about = "The deepest error of each chain: the spans above repeat it. Without control flow."
kind = "table"

[columns]
trace_id = "the trace"
span_id = "the span"
parent_span_id = ""
name = "the span's name"
span_type = ""
start_time = ""
end_time = "NULL where it never ended"
subject = "the tool, model, agent or span that failed"
class = "authentication, rate_limit, timeout …: lexicon/errors.toml"
key = "the error with ids and numbers masked"
passed = """
the same work succeeded later: the same tool, another one with the same arguments, or another one to which the next \
turn says it goes instead; of model calls, any later one of the agent"""
field = "where the error is quoted from: error_message, status_message or name"
quote = "from there, 300 characters"
error_type = ""
error_message = ""
status_message = ""
error_signature = ""
work = "tool_name, else name"
tool_call_id = ""
said = "type, message and status, a line each"
---
SELECT * EXCLUDE (doing, same, sub_run, handled), error_class(said) AS class,
  coalesce(error_signature, error_type, name) AS key,
  CASE WHEN trim(coalesce(error_message, '')) <> '' THEN 'error_message'
    WHEN trim(coalesce(status_message, '')) <> '' THEN 'status_message' ELSE 'name' END AS field,
  left(CASE WHEN trim(coalesce(error_message, '')) <> '' THEN error_message
    WHEN trim(coalesce(status_message, '')) <> '' THEN status_message ELSE name END, 300) AS quote
FROM (
  SELECT f.*, coalesce(w.last_time > f.start_time, false) OR coalesce(o.last_time > f.start_time, false)
    OR x.span_id IS NOT NULL AS passed
  FROM failures f
  LEFT JOIN good_work w ON w.trace_id = f.trace_id AND w.work = f.doing AND w.sub_run IS NOT DISTINCT FROM f.sub_run
  LEFT JOIN good_work o ON o.trace_id = f.trace_id AND o.work = f.same
  LEFT JOIN other_ways x ON x.trace_id = f.trace_id AND x.span_id = f.span_id
) e
-- A client error of a plain span, under a tool that ended well, was the tool's to handle.
WHERE NOT (handled AND class IN ('not_found', 'format', 'unsupported', 'no_results'))

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
subject = "the tool, model, agent or span that failed"
class = "authentication, rate_limit, timeout …: lexicon/errors.toml"
key = "the error with ids and numbers masked"
passed = """
the same work succeeded later: the same tool, or another one with the same arguments; of model calls, any later \
one of the agent"""
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
WITH work AS (
  SELECT trace_id, start_time, failed, work_of(span_type, agent_name, work) AS work,
    CASE WHEN span_type = 'tool' AND length(arguments) > 2 THEN input_hash END AS same
  FROM steps ANTI JOIN nested USING (trace_id, span_id) WHERE trace_id IN (SELECT trace_id FROM steps WHERE failed)
),
good AS (
  SELECT trace_id, work, max(start_time) AS at_ FROM (
    SELECT trace_id, work, start_time FROM work WHERE NOT failed
    UNION ALL SELECT trace_id, 'same ' || same, start_time FROM work WHERE NOT failed AND same IS NOT NULL
  ) GROUP BY ALL
)
SELECT *, error_class(said) AS class, coalesce(error_signature, error_type, name) AS key,
  CASE WHEN trim(coalesce(error_message, '')) <> '' THEN 'error_message'
    WHEN trim(coalesce(status_message, '')) <> '' THEN 'status_message' ELSE 'name' END AS field,
  left(CASE WHEN trim(coalesce(error_message, '')) <> '' THEN error_message
    WHEN trim(coalesce(status_message, '')) <> '' THEN status_message ELSE name END, 300) AS quote
FROM (
  SELECT s.trace_id, s.span_id, s.parent_span_id, s.name, s.span_type, s.start_time, s.work, s.tool_call_id,
    s.error_type, s.error_signature, s.error_message, s.status_message,
    concat_ws(chr(10), s.error_type, s.error_message, s.status_message) AS said,
    coalesce(s.tool_name, CASE WHEN s.span_type IN ('llm', 'embedding') THEN nullif(s.model, '') END,
      CASE WHEN s.span_type IS NOT NULL THEN s.agent_name END, s.name) AS subject,
    coalesce(w.at_ > s.start_time, false) OR coalesce(o.at_ > s.start_time, false) AS passed
  FROM steps s
  LEFT JOIN (SELECT DISTINCT trace_id, parent_span_id FROM steps WHERE failed AND control IS NULL) c
    ON c.trace_id = s.trace_id AND c.parent_span_id = s.span_id
  LEFT JOIN good w ON w.trace_id = s.trace_id AND w.work = work_of(s.span_type, s.agent_name, s.work)
  LEFT JOIN good o ON s.span_type = 'tool' AND length(s.arguments) > 2 AND o.trace_id = s.trace_id
    AND o.work = 'same ' || s.input_hash
  WHERE s.failed AND s.control IS NULL AND c.trace_id IS NULL
) e
-- A client error of a plain span, under a tool that ended well, was the tool's to handle.
WHERE NOT (e.span_type IS NULL AND class IN ('not_found', 'format', 'no_results') AND EXISTS (
  SELECT 1 FROM steps p ANTI JOIN (FROM failed_results WHERE NOT told) b
    ON b.trace_id = p.trace_id AND b.span_id = p.span_id
  WHERE p.trace_id = e.trace_id AND p.span_id = e.parent_span_id AND NOT p.failed
    AND p.span_type IN ('tool', 'retriever')))

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
WITH work AS (
  SELECT s.trace_id, s.start_time, s.failed, work_of(s.span_type, s.agent_name, s.work) AS work,
    CASE WHEN s.span_type <> 'llm' THEN u.span_id END AS sub_run,
    CASE WHEN s.span_type = 'tool' AND length(s.arguments) > 2 THEN s.input_hash END AS same
  FROM (
    FROM steps ANTI JOIN nested USING (trace_id, span_id) WHERE trace_id IN (SELECT trace_id FROM steps WHERE failed)
  ) s
  LEFT JOIN sub_runs u ON u.trace_id = s.trace_id AND u.span_id = s.parent_span_id
),
-- Tools that ended well although a plain span below them failed.
handling AS (
  SELECT trace_id, span_id FROM steps
  SEMI JOIN (
    SELECT DISTINCT trace_id, parent_span_id AS span_id FROM steps
    WHERE failed AND control IS NULL AND span_type IS NULL
  ) USING (trace_id, span_id)
  ANTI JOIN (FROM failed_results WHERE NOT told) USING (trace_id, span_id)
  WHERE NOT failed AND span_type IN ('tool', 'retriever')
),
good AS (
  SELECT trace_id, sub_run, work, max(start_time) AS at_ FROM (
    SELECT trace_id, sub_run, work, start_time FROM work WHERE NOT failed
    UNION ALL SELECT trace_id, NULL, 'same ' || same, start_time FROM work WHERE NOT failed AND same IS NOT NULL
  ) GROUP BY ALL
),
-- Tools that failed, whose next turn goes another way, and a tool that works after that turn.
elsewhere AS (
  SELECT f.trace_id, f.span_id FROM (FROM steps WHERE failed AND span_type IN ('tool', 'retriever')) f
  ASOF JOIN (
    SELECT trace_id, start_time AS at_, takes_another_way(output_head) AS another FROM steps
    WHERE span_type = 'llm' AND trace_id IN (SELECT trace_id FROM work)
  ) l ON l.trace_id = f.trace_id AND f.start_time < l.at_
  JOIN (
    SELECT trace_id, max(start_time) AS at_ FROM work WHERE NOT failed AND NOT starts_with(work, 'llm ') GROUP BY ALL
  ) g ON g.trace_id = f.trace_id
  WHERE g.at_ > l.at_ AND l.another
)
SELECT * EXCLUDE (handled), error_class(said) AS class, coalesce(error_signature, error_type, name) AS key,
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
    coalesce(w.at_ > s.start_time, false) OR coalesce(o.at_ > s.start_time, false) OR x.span_id IS NOT NULL AS passed,
    s.span_type IS NULL AND h.span_id IS NOT NULL AS handled
  FROM steps s
  LEFT JOIN (SELECT DISTINCT trace_id, parent_span_id FROM steps WHERE failed AND control IS NULL) c
    ON c.trace_id = s.trace_id AND c.parent_span_id = s.span_id
  LEFT JOIN sub_runs u ON s.span_type <> 'llm' AND u.trace_id = s.trace_id AND u.span_id = s.parent_span_id
  LEFT JOIN good w ON w.trace_id = s.trace_id AND w.work = work_of(s.span_type, s.agent_name, s.work)
    AND w.sub_run IS NOT DISTINCT FROM u.span_id
  LEFT JOIN good o ON s.span_type = 'tool' AND length(s.arguments) > 2 AND o.trace_id = s.trace_id
    AND o.work = 'same ' || s.input_hash
  LEFT JOIN elsewhere x ON x.trace_id = s.trace_id AND x.span_id = s.span_id
  LEFT JOIN handling h ON h.trace_id = s.trace_id AND h.span_id = s.parent_span_id
  WHERE s.failed AND s.control IS NULL AND c.trace_id IS NULL
) e
-- A client error of a plain span, under a tool that ended well, was the tool's to handle.
WHERE NOT (handled AND class IN ('not_found', 'format', 'no_results'))

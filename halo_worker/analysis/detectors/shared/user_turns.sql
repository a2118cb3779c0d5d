---
about = """
What users write after an answer, with what they wrote before it: in one trace, where a turn of the agent that calls \
nothing is followed by a text that nothing in the trace wrote; in a session, where a trace follows within an hour."""
kind = "table"

[columns]
trace_id = "of the later message"
span_id = "the span that has it as its input"
said = "its beginning, 300 characters"
before = "the message before it, likewise"
answer_trace_id = "of the answer between them"
answer_span_id = "the answer; in a session, the span that was given the message before"
subject = "agent or service"
---
WITH several AS (
  SELECT trace_id FROM steps WHERE span_type = 'llm' AND calls = 0 AND output_length > 0
  GROUP BY trace_id HAVING count(*) >= 2
),
-- A window copies each column: texts are read of those alone that follow an answer.
acts AS (
  SELECT trace_id, span_id, span_type, failed, agent_name, lag({'id': span_id, 'agent': agent_name,
      'answers': span_type = 'llm' AND NOT failed AND calls = 0 AND output_length > 0})
      OVER (PARTITION BY trace_id, parent_span_id ORDER BY start_time, span_id) AS last
  FROM (FROM steps ANTI JOIN asides USING (trace_id, span_id) ANTI JOIN judging USING (trace_id, span_id)) s
  SEMI JOIN several USING (trace_id)
  -- A user that has spans of its own is no act of the run.
  WHERE span_type IN ('llm', 'tool', 'retriever') OR failed OR span_type IS NOT NULL AND output_length > 0
),
within AS (
  SELECT trace_id, span_id, last.id AS answer_span_id FROM acts
  WHERE span_type = 'llm' AND NOT failed AND last.answers AND last.agent IS NOT DISTINCT FROM agent_name
),
sessions AS (SELECT session_id FROM _t WHERE session_id <> '' GROUP BY session_id HAVING count(*) >= 2),
roots AS (
  SELECT t.session_id, trace_id, t.start_time, t.end_time, s.asked.id AS span_id, s.asked.text AS said, s.subject
  FROM (FROM _t SEMI JOIN sessions USING (session_id)) t JOIN (
    SELECT trace_id, arg_min({'id': span_id, 'text': asked}, start_time) AS asked,
      arg_min(coalesce(agent_name, service_name), start_time) AS subject
    FROM steps WHERE asked <> '' AND trace_id IN (SELECT trace_id FROM _t SEMI JOIN sessions USING (session_id))
    GROUP BY trace_id
  ) s USING (trace_id)
),
followed AS (
  SELECT *, lag({'trace': trace_id, 'id': span_id, 'said': said, 'ended': end_time}) OVER (
    PARTITION BY session_id ORDER BY start_time, trace_id) AS last
  FROM roots
)
SELECT w.trace_id, w.span_id, s.asked AS said, a.asked AS before, w.trace_id AS answer_trace_id, w.answer_span_id,
  coalesce(s.agent_name, s.service_name) AS subject
FROM within w JOIN steps s ON s.trace_id = w.trace_id AND s.span_id = w.span_id
JOIN steps a ON a.trace_id = w.trace_id AND a.span_id = w.answer_span_id
WHERE s.asked <> a.asked AND left(s.asked, 60) <> left(a.output_head, 60)
UNION ALL
SELECT trace_id, span_id, said, last.said, last.trace, last.id, subject
FROM followed WHERE last.ended <= start_time AND start_time <= last.ended + INTERVAL 1 HOUR

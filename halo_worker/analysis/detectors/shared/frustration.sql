---
about = """
Signs that an answer did not help its user: the same request again, with the same words or with more of them; a \
correction; a run that the user cancelled before asking again; feedback that calls it bad."""
kind = "table"

[columns]
trace_id = "of the answer"
span_id = "the answer, as in user_turns; of feedback the first span"
sign = "asks again, corrects, cancels or feedback"
said_trace_id = "where it shows; of feedback, the trace"
said_span_id = "the span that has the user's message as its input"
said = "the message"
subject = "agent or service"
---
-- Words are told apart where all of the message before may be in this one: that message is whole (`user_turns` has 300
-- characters of it), and its first word is.
WITH close AS (
  SELECT *, length(before) < 300 AND contains(lower(said), regexp_extract(lower(before), '[\p{L}\p{N}]+')) AS near
  FROM user_turns
),
read AS (
  SELECT *, CASE WHEN near THEN list_distinct(regexp_extract_all(lower(said), '[\p{L}\p{N}]+')) END AS words,
    CASE WHEN near THEN list_distinct(regexp_extract_all(lower(before), '[\p{L}\p{N}]+')) END AS words_before
  FROM close
),
signs AS (
  SELECT *, CASE
      -- Who cancels asks for the same in other words; who goes on to something else had enough.
      WHEN answer_trace_id <> trace_id AND cancelled IS NOT NULL AND (said = before OR corrects(said)
        OR 2 * len(list_intersect(words, words_before)) > greatest(len(words), len(words_before))) THEN 'cancels'
      -- A request with a word in another's place is another request.
      WHEN said = before AND length(said) >= 12 OR len(words_before) >= 5 AND len(words) <= 2 * len(words_before)
        AND list_has_all(words, words_before) THEN 'asks again'
      WHEN corrects(said) THEN 'corrects' END AS sign
  FROM read
  LEFT JOIN (SELECT trace_id AS cancelled FROM outcomes WHERE outcome = 'cancelled') ON cancelled = answer_trace_id
),
-- What is sent again and again is sent by a program.
sent AS (
  SELECT subject, said FROM signs WHERE sign = 'asks again' GROUP BY ALL HAVING count(DISTINCT trace_id) <= 5
)
SELECT answer_trace_id AS trace_id, answer_span_id AS span_id, sign, trace_id AS said_trace_id, span_id AS said_span_id,
  said, subject
FROM signs WHERE sign IS NOT NULL AND (sign <> 'asks again' OR (subject, said) IN (SELECT (subject, said) FROM sent))
UNION ALL
SELECT o.trace_id, s.first.id, 'feedback', o.trace_id, s.first.id, NULL, s.first.subject
FROM (FROM _outcomes WHERE source = 'evaluation' AND failed) o JOIN (
  SELECT trace_id, arg_min({'id': span_id, 'subject': coalesce(agent_name, service_name)}, start_time) AS first
  FROM steps WHERE trace_id IN (SELECT trace_id FROM _outcomes WHERE source = 'evaluation' AND failed) GROUP BY trace_id
) s USING (trace_id)
-- Where an evaluator spoke too, it may be the one that says so.
JOIN (
  SELECT trace_id FROM _evaluations GROUP BY trace_id HAVING bool_and(is_feedback(concat_ws(' ', name, label)))
) USING (trace_id)

---
name = "unfounded_after_empty_retrieval"
category = "Language-only"
version = 3
scope = "trace"
severity = "high"
confidence = 0.75
needs = ["message content", "tool results"]

title = "{subject} answers from an empty retrieval"
description = "Retrieval returns nothing and the agent answers as if it had sources."
definition = """
Every retrieval of a trace comes back empty, or the prompt's place for what was retrieved is, and the final answer \
does not say so"""
cause = "Nothing was retrieved, and the answer states facts all the same: the step that says so is missing."
fix = """
Tell the agent what to answer when retrieval is empty, return 'no documents found' as text, and require a \
citation for each claim."""
validation = "Answers after an empty retrieval should say that nothing was found."
source = "TRAIL, language-only hallucination; grounding checks of retrieval evaluations"
limits = "needs retrieval results; general knowledge may have been enough for the answer"
---
WITH given AS (
  SELECT trace_id, start_time, tool, retriever, told, true AS captured, t.empty
  FROM results JOIN result_texts t USING (said) WHERE NOT status_failed
  UNION ALL
  SELECT trace_id, start_time, work, span_type = 'retriever', false, output_head IS NOT NULL, true
  FROM steps WHERE coalesce(output_length, 0) = 0 AND NOT failed
    AND (span_type = 'retriever' OR span_type = 'tool' AND output_head IS NOT NULL)
),
-- Traces in which all that came back is empty.
barren AS (SELECT trace_id, told FROM given GROUP BY ALL HAVING bool_and(empty)),
looked AS (
  SELECT trace_id, told, start_time, captured, retriever OR CASE WHEN told THEN retrieves_plainly(tool)
    ELSE retrieves(tool) END AS retrieves
  FROM given SEMI JOIN barren USING (trace_id, told) WHERE told OR retriever OR only_reads(tool) OR searches(tool)
),
r AS (
  SELECT trace_id, told, max(start_time) AS at_, bool_or(captured) AS captured, bool_and(retrieves) AS retrieves
  FROM looked GROUP BY ALL
),
captured AS (SELECT count(*) AS n FROM steps WHERE span_type = 'retriever' AND output_length > 2)
SELECT coalesce(f.agent_name, f.service_name, 'the agent') AS key, key AS subject, f.trace_id, f.span_id,
  f.span_id AS origin_span_id, 'output_text' AS field, left(f.answer, 300) AS quote
FROM r JOIN answers f ON f.trace_id = r.trace_id AND f.end_time > r.at_
ANTI JOIN (FROM replies WHERE admits) a ON a.trace_id = f.trace_id AND a.span_id = f.span_id
WHERE length(f.answer) >= 40 AND (r.captured OR (SELECT n FROM captured) > 0)
  AND (r.retrieves OR NOT told AND NOT negates(f.answer) AND regexp_matches(f.answer, '\d'))
UNION ALL
-- Where no span retrieves: the prompt has a place for documents, and nothing in it.
SELECT coalesce(f.agent_name, f.service_name, 'the agent'), coalesce(f.agent_name, f.service_name, 'the agent'),
  f.trace_id, f.span_id, f.span_id, 'output_text', left(f.answer, 300)
FROM answers f JOIN (SELECT trace_id, span_id FROM steps WHERE span_type = 'llm' AND has_empty_context(asked)) p
  USING (trace_id, span_id)
ANTI JOIN (FROM replies WHERE admits) a ON a.trace_id = f.trace_id AND a.span_id = f.span_id
WHERE length(f.answer) >= 40 AND f.trace_id NOT IN (
  SELECT trace_id FROM steps WHERE span_type IN ('tool', 'retriever') AND trace_id IS NOT NULL)
---
[[example]]
fires = true
why = "nothing found, answered"
spans = [
  { tool = "kb_search", input = '{"q": 1}', output = '{"results": []}' },
  { llm = "gpt-5", output = "Late arrivals pay a fee of 25 dollars, and breakfast ends at half past ten." },
]

[[example]]
fires = false
why = "found"
spans = [
  { tool = "kb_search", input = '{"q": 1}', output = '{"results": ["fees: 25 dollars"]}' },
  { llm = "gpt-5", output = "Late arrivals pay a fee of 25 dollars, and breakfast ends at half past ten." },
]

[[example]]
fires = false
why = "says so"
spans = [
  { tool = "kb_search", input = '{"q": 1}', output = "[]" },
  { llm = "gpt-5", output = "I found no document about fees, so I cannot say what they are." },
]

[[example]]
fires = true
why = "no span retrieves, and the prompt holds nothing"
spans = [
  { llm = "gpt-5", input = "Context:\n\n\nQuestion: Fee?", output = "Late arrivals pay 25 dollars, in cash, at once." },
]

[[example]]
fires = false
why = "the prompt holds what was retrieved"
spans = [
  { llm = "gpt-5", input = "Context:\nThe fee is 25.\n\nQuestion: Fee?", output = "Late arrivals pay 25 dollars, in cash, at once." },
]

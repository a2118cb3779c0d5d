---
name = "fruitless_tool"
category = "Tool Selection Errors"
driven_by = "result_texts WHERE misfit OR empty"
version = 1
scope = "trace"
stage = 2
confidence = 0.75
needs = ["tool results"]

title = "{subject} is called again and again, and has nothing for the request"
description = """
Call after call of {subject} comes back empty or as not applicable: another tool is needed, and the agent stays \
with this one."""
definition = """
Three calls or more of one tool, one after another and not all with the same arguments, have results that are empty \
or say that the tool does not apply"""
cause = "Each call differs in its arguments alone; the tool stays the same though it has nothing of the kind."
fix = """
State in the tools' descriptions when to use each, let the tool name the one that applies, and tell the agent to \
change the tool after two results without content."""
validation = "Runs of empty results from one tool should become rare."
source = "TRAIL, Tool Selection Errors: the wrong tool for the job (arXiv 2505.08638)"
limits = """
searches that only come back empty are left alone: then there may be nothing to find; results must be captured"""
---
WITH short AS (
  SELECT trace_id, span_id, start_time, tool, t.misfit, t.misfit OR t.empty AS barren
  FROM results JOIN result_texts t USING (said) ANTI JOIN nested USING (trace_id, span_id)
  WHERE NOT status_failed AND length <= 300
),
often AS (SELECT trace_id, tool FROM short WHERE barren GROUP BY ALL HAVING count(*) >= 3),
ordered AS (
  SELECT r.trace_id, r.span_id, r.start_time, r.tool, coalesce(s.barren, false) AS barren,
    coalesce(s.misfit, false) AS misfit, row_number() OVER (PARTITION BY r.trace_id ORDER BY r.start_time, r.span_id) AS nth
  FROM (FROM results SEMI JOIN often USING (trace_id) ANTI JOIN nested USING (trace_id, span_id)) r
  LEFT JOIN short s ON s.trace_id = r.trace_id AND s.span_id = r.span_id AND s.tool = r.tool
),
stretches AS (
  SELECT trace_id, tool, arg_max(span_id, start_time) AS span_id, arg_min(span_id, start_time) AS first
  FROM (
    SELECT *, nth - row_number() OVER (PARTITION BY trace_id, tool, barren ORDER BY nth) AS stretch FROM ordered
  ) WHERE barren GROUP BY trace_id, tool, stretch
  HAVING count(*) >= 3 AND (bool_or(misfit) OR NOT (searches(tool) OR retrieves(tool)))
)
SELECT t.tool AS key, t.tool AS subject, t.trace_id, t.span_id, NULL AS origin_span_id, 'name' AS field,
  s.name AS quote, [t.first] AS also
FROM stretches t JOIN (SELECT trace_id, span_id, name FROM steps) s USING (trace_id, span_id)
WHERE trace_id NOT IN (SELECT trace_id FROM hits WHERE detector = 'repeated_call')
---
[[example]]
fires = true
why = "the job's tool is asked for an address"
spans = [
  { tool = "job_status", input = '{"id": 1}', output = "[]" },
  { tool = "job_status", input = '{"id": 2}', output = '{"note": "not applicable to orders"}' },
  { tool = "job_status", input = '{"id": 3}', output = "[]" },
  { llm = "gpt-5", output = "Sorry, I could not do that." },
]

[[example]]
fires = false
why = "a search that finds nothing"
spans = [
  { tool = "search", input = '{"q": 1}', output = "[]" },
  { tool = "search", input = '{"q": 2}', output = "no results" },
  { tool = "search", input = '{"q": 3}', output = "[]" },
  { llm = "gpt-5", output = "I found nothing about it." },
]

[[example]]
fires = false
why = "with content between"
spans = [
  { tool = "job_status", input = '{"id": 1}', output = "[]" },
  { tool = "job_status", input = '{"id": 2}', output = "[]" },
  { tool = "job_status", input = '{"id": 3}', output = '{"state": "done"}' },
  { tool = "job_status", input = '{"id": 4}', output = "[]" },
  { llm = "gpt-5", output = "One of them is done." },
]

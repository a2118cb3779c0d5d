---
about = """
What is measured of the calls that did not fail, by bins of the logarithm 5 % wide: counts of bins can be made of \
parts of a window and added."""
kind = "scratch"

[columns]
measure = """
'duration' (of model calls for each 50 tokens of the answer: long answers are not slow), 'first prompt' (tokens), \
'later prompt' (tokens beyond the call before it: the steady growth of long work is no outlier, a page pasted in \
is), 'cost' (USD, of model calls)"""
trace_id = "the trace"
span_id = "the span"
service = "'' where it has no name"
agent = "'' where it has no name"
what = "span type, and tool or model"
version = "service.version"
prompt = "the system prompt: hash and beginning"
day = "of its start, UTC"
bin = "floor(20 × ln(value))"
enough = "it is worth telling: 5 s, 8,000 tokens, 5 cents"
---
WITH measured AS (
  SELECT s.trace_id, s.span_id, span_type, coalesce(service_name, '') AS service, coalesce(agent_name, '') AS agent,
    span_type || ' ' || coalesce(tool_name, model, '') AS what, model, version, prompt, start_time, duration_ns,
    input_tokens, output_tokens, cost_usd
  FROM steps s ANTI JOIN _repeated r ON r.trace_id = s.trace_id AND r.span_id = s.span_id
  WHERE span_type IN ('llm', 'tool', 'retriever', 'embedding', 'reranker') AND NOT failed
),
prompts AS (
  -- A window copies each column that it passes on: those that are read below, and one number for three keys.
  SELECT trace_id, span_id, service, agent, what, version, prompt, start_time, input_tokens,
    lag(input_tokens) OVER (PARTITION BY hash(trace_id, agent, model) ORDER BY start_time, span_id) AS earlier
  FROM measured WHERE span_type = 'llm' AND input_tokens > 0
)
SELECT measure, trace_id, span_id, service, agent, what, version, prompt, start_time::DATE AS day,
  floor(20 * ln(value))::INTEGER AS bin, enough
FROM (
  SELECT *, 'duration' AS measure, duration_ns / (1 + coalesce(output_tokens, 0) / 50.0) AS value,
    duration_ns >= 5e9 AS enough
  FROM measured
  UNION ALL BY NAME
  SELECT *, CASE WHEN earlier IS NULL THEN 'first prompt' ELSE 'later prompt' END AS measure,
    (input_tokens - coalesce(earlier, 0))::DOUBLE AS value, value >= 8000 AS enough
  FROM prompts
  UNION ALL BY NAME
  SELECT *, 'cost' AS measure, cost_usd AS value, cost_usd >= 0.05 AS enough FROM measured WHERE span_type = 'llm'
) WHERE value > 0

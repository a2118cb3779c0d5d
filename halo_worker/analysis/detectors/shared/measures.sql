---
about = "What is measured of the spans that did not fail, of the kinds that others are compared with."

[columns]
measure = """
'duration' (ns, of model, tool and retrieval calls), 'gained' (tokens a model call reads beyond the one before \
it: the steady growth of long work is no outlier, a page pasted in is), 'cost' (USD, of model calls)"""
trace_id = "the trace"
span_id = "the span"
kind = "agent, name, tool and model"
value = "above 0"
enough = "it is worth telling: 5 s, 8,000 tokens, 5 cents"
---
SELECT 'duration' AS measure, trace_id, span_id, concat_ws('|', agent_name, name, tool_name, model) AS kind,
  duration_ns::DOUBLE AS value, duration_ns >= 5e9 AS enough
FROM steps
WHERE duration_ns > 0 AND NOT failed AND span_type IN ('llm', 'tool', 'retriever', 'embedding', 'reranker')
UNION ALL
SELECT 'gained', trace_id, span_id, concat_ws('|', agent_name, name, tool_name, model), gained::DOUBLE, gained >= 8000
FROM (
  SELECT trace_id, span_id, failed, agent_name, name, tool_name, model, input_tokens - coalesce(
    lag(input_tokens) OVER (PARTITION BY trace_id, agent_name, model ORDER BY start_time, span_id), 0) AS gained
  FROM steps WHERE span_type = 'llm' AND input_tokens > 0
) WHERE gained > 0 AND NOT failed
UNION ALL
SELECT 'cost', trace_id, span_id, concat_ws('|', agent_name, name, tool_name, model), cost_usd, cost_usd >= 0.05
FROM steps WHERE cost_usd > 0 AND NOT failed AND span_type = 'llm'

---
about = "Plans of agents that have tools, in traces in which no tool runs or is asked for."
kind = "table"

[columns]
trace_id = "the trace"
plan_id = "the model call with the plan"
next_id = "the model call after it"
field = "output_text, or name where it says nothing"
quote = "from there"
usable = "names of the tools on offer"
named = "the first of them that the plan names"
seeks = "it names one, or wants something looked up: more than what follows from the request alone"
checks = "it wants something checked"
code_calls = "code of a turn calls a tool on offer"
code_computes = "code of a turn does more than to hand over what is written in it"
---
-- Traces with a plan in which no tool ever runs or is asked for.
WITH idle AS (
  SELECT trace_id FROM steps WHERE trace_id IN (SELECT trace_id FROM steps WHERE plans) GROUP BY trace_id
  HAVING count(*) FILTER (span_type IN ('tool', 'retriever') AND NOT ends_run(work)) = 0
    AND count(*) FILTER (span_type = 'agent') <= 1 AND count(*) FILTER (parent_span_id IS NULL AND failed) = 0
),
idling AS (FROM idle ANTI JOIN (FROM calls WHERE NOT ends_run(call_name)) USING (trace_id)),
offered AS (
  SELECT trace_id, list_distinct(flatten(list(names))) AS names FROM (
    SELECT trace_id, tools_offered AS names FROM steps WHERE len(tools_offered) > 0
    UNION ALL
    -- smolagents names the tools and the managed agents on the agent's span, not on the model calls.
    SELECT trace_id, regexp_extract_all(attributes::VARCHAR, 'managed_agents\.\d+\.name":"([^"]+)"', 1)
      || coalesce(from_json(attr(attributes, 'smolagents.tools_names'), '["VARCHAR"]'), [])
    FROM spans WHERE span_type = 'agent' AND scope_name = 'openinference.instrumentation.smolagents'
  ) WHERE trace_id IN (FROM idling) GROUP BY trace_id
),
asked AS (
  SELECT trace_id, span_id, start_time, output_head, calls, plans, row_number() OVER w AS nth,
    lead(span_id) OVER w AS next_id, lead(name) OVER w AS next_name, lead(output_head) OVER w AS next_said
  FROM steps WHERE span_type = 'llm' AND NOT failed AND trace_id IN (FROM idling)
  WINDOW w AS (PARTITION BY trace_id ORDER BY start_time, span_id)
),
coded AS (
  SELECT trace_id, string_agg(code_in(output_head), chr(10)) AS code FROM asked
  WHERE code_in(output_head) <> '' GROUP BY trace_id
)
SELECT c.trace_id, c.span_id AS plan_id, c.next_id,
  CASE WHEN trim(coalesce(c.next_said, '')) <> '' THEN 'output_text' ELSE 'name' END AS field,
  CASE WHEN trim(coalesce(c.next_said, '')) <> '' THEN left(c.next_said, 300) ELSE c.next_name END AS quote,
  list_filter(o.names, lambda n: NOT ends_run(n)) AS usable,
  list_filter(usable, lambda n: contains(c.output_head, n))[1] AS named,
  named IS NOT NULL OR looks_up(c.output_head) AS seeks, checks_something(c.output_head) AS checks,
  coalesce(len(list_filter(usable, lambda n: contains(d.code, n || '('))) > 0, false) AS code_calls,
  coalesce(computes(d.code), false) AS code_computes
FROM asked c JOIN offered o USING (trace_id) LEFT JOIN coded d USING (trace_id)
WHERE c.plans AND c.nth <= 2 AND c.calls = 0 AND c.next_id IS NOT NULL AND len(usable) > 0
QUALIFY row_number() OVER (PARTITION BY c.trace_id ORDER BY c.nth DESC) = 1

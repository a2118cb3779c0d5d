"""Plans that name tools, and runs that end without any of them."""

from __future__ import annotations

from halo_worker.analysis.detectors.detector import Unit
from halo_worker.analysis.detectors.tables import ENDING

PREPARE = f"""
CREATE OR REPLACE TEMP TABLE _dropped_plans AS
-- Traces with a plan in which no tool ever runs or is asked for.
WITH idle AS (
  SELECT trace_id FROM _s WHERE trace_id IN (SELECT trace_id FROM _s WHERE plans) GROUP BY trace_id
  HAVING count(*) FILTER (span_type IN ('tool', 'retriever')
      AND NOT regexp_matches(coalesce(tool_name, name), '{ENDING}')) = 0
    AND count(*) FILTER (span_type = 'agent') <= 1 AND count(*) FILTER (parent_span_id IS NULL AND failed) = 0
),
idling AS (FROM idle ANTI JOIN (FROM _calls WHERE NOT regexp_matches(call_name, '{ENDING}')) USING (trace_id)),
offered AS (
  SELECT trace_id, list_distinct(flatten(list(names))) AS names FROM (
    SELECT trace_id, tools_offered AS names FROM _s WHERE len(tools_offered) > 0
    UNION ALL
    -- smolagents names the tools and the managed agents on the agent's span, not on the model calls.
    SELECT trace_id, regexp_extract_all(attributes::VARCHAR, 'managed_agents\\.\\d+\\.name":"([^"]+)"', 1)
      || coalesce(from_json(attr(attributes, 'smolagents.tools_names'), '["VARCHAR"]'), [])
    FROM spans WHERE span_type = 'agent' AND scope_name = 'openinference.instrumentation.smolagents'
  ) WHERE trace_id IN (FROM idling) GROUP BY trace_id
),
calls AS (
  SELECT trace_id, span_id, start_time, output_head, calls, plans, row_number() OVER w AS nth,
    lead(span_id) OVER w AS next_id, lead(name) OVER w AS next_name, lead(output_head) OVER w AS next_said
  FROM _s WHERE span_type = 'llm' AND NOT failed AND trace_id IN (FROM idling)
  WINDOW w AS (PARTITION BY trace_id ORDER BY start_time, span_id)
)
SELECT c.trace_id, c.span_id AS plan_id, c.next_id, c.next_name, c.next_said,
  list_filter(o.names, lambda n: NOT regexp_matches(n, '{ENDING}')) AS usable,
  list_filter(usable, lambda n: contains(c.output_head, n))[1] AS named
FROM calls c JOIN offered o USING (trace_id)
WHERE c.plans AND c.nth <= 2 AND c.calls = 0 AND c.next_id IS NOT NULL AND len(usable) > 0
QUALIFY row_number() OVER (PARTITION BY c.trace_id ORDER BY c.nth DESC) = 1
"""

_ACTING = "trace_id, next_id AS span_id, next_id AS origin_span_id"
_SAID = """
  CASE WHEN trim(coalesce(next_said, '')) <> '' THEN 'output_text' ELSE 'name' END AS field,
  CASE WHEN trim(coalesce(next_said, '')) <> '' THEN left(next_said, 300)
    ELSE next_name END AS quote
"""

UNITS = (
    Unit(
        name="planned_tool_unused",
        category="Tool Selection Errors",
        definition="An agent that has tools makes a plan, and the run ends without one call of any tool",
        source="TRAIL, Tool Selection Errors: the wrong tool, or none where one was needed",
        limits="needs the names of the tools on offer, and a plan, asked for in the prompt, as a numbered list among the first two answers",
        sql=f"SELECT coalesce(named, 'a tool') AS key, coalesce(named, 'a tool') AS subject, {_ACTING}, {_SAID} "
        "FROM _dropped_plans",
        title="The plan names {subject}, and no tool is called",
        description="The agent plans to use {subject}, and then answers without calling any tool.",
        fix="Do not accept a final answer before the tools that the plan names were called, or have the agent say why not.",
        validation="Every tool that a plan names should be called in its trace.",
        confidence=0.7,
    ),
    Unit(
        name="plan_abandoned",
        category="Goal Deviation",
        definition="The model call after a plan leaves it: no step of the plan that needs a tool is carried out",
        source="TRAIL, Goal Deviation: the work drifts from its own plan; MAST 2.3, 2.6",
        limits="as planned_tool_unused; a plan that was rightly dropped looks the same",
        sql=f"SELECT 'plan' AS key, 'the agent' AS subject, {_ACTING}, {_SAID} FROM _dropped_plans",
        title="Agents write a plan and do not follow it",
        description="The model call after the plan does something else, and no planned step that needs a tool is made.",
        fix="Keep the plan in the context as a list of open steps, and check it off before an answer is accepted.",
        validation="The share of traces whose plan names tools and that call none should fall.",
        confidence=0.6,
    ),
    Unit(
        name="answer_from_memory",
        category="Language-only",
        definition="An agent that planned to look things up answers from what the model remembers",
        source="TRAIL, language-only hallucination: states facts nobody gave it, with no tool involved",
        limits="as planned_tool_unused; the answer may happen to be right",
        sql=f"SELECT 'memory' AS key, 'the agent' AS subject, {_ACTING}, {_SAID} FROM _dropped_plans",
        title="Agents answer without looking up what they planned to",
        description="The plan says what to look up; the answer is given without it, so nothing in the trace supports it.",
        fix="Require a source from a tool result for every fact in the answer.",
        validation="Answers in traces without any tool call should fall.",
        confidence=0.6,
    ),
)  # fmt: skip

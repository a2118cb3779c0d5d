"""Tool calls: repeated, invented, without a result, handed to and fro."""

from __future__ import annotations

from halo_worker.analysis.detectors.shared import ENDING
from halo_worker.analysis.detectors.unit import Unit

UNITS = (
    Unit(
        name="repeated_call",
        category="Resource Abuse",
        definition="A tool is called three or more times with the same arguments in one trace, and its result never changes",
        source="TRAIL, Resource Abuse (marked at the last occurrence); MAST 1.3 step repetition",
        limits="polling whose results change is left out; arguments must be captured",
        sql="""
          SELECT coalesce(tool_name, name) AS key, coalesce(tool_name, name) AS subject, trace_id,
            arg_max(span_id, start_time) AS span_id, arg_max(span_id, start_time) AS origin_span_id,
            CASE WHEN max(length(trim(arguments))) > 0 THEN 'input_text' ELSE 'name' END AS field,
            CASE WHEN max(length(trim(arguments))) > 0 THEN left(arg_max(arguments, start_time), 300)
              ELSE arg_max(name, start_time) END AS quote
          FROM _s WHERE span_type = 'tool' AND arguments IS NOT NULL AND trim(arguments) NOT IN ('', '{}', 'null')
          GROUP BY trace_id, coalesce(tool_name, name), name, tool_name, input_hash
          HAVING count(*) >= 3 AND count(DISTINCT output_hash) = 1
        """,
        title="{subject} is called again and again with the same arguments",
        description="{subject} is called at least three times in one trace with identical arguments and gives the identical result; the agent does not use what it has.",
        fix="Return the earlier result with a note that it was already asked for, and tell the agent in its instructions to change the arguments or stop.",
        validation="Count identical calls per trace: none should have three.",
    ),
    Unit(
        name="invented_tool",
        category="Tool-related",
        definition="A model calls a tool whose name is not among those offered in the same call",
        source="TRAIL, tool-related hallucination; NeMo Compass unknown_tool",
        limits="only where tool definitions are captured",
        sql="""
          SELECT call_name AS key, call_name AS subject, c.trace_id, c.span_id, c.span_id AS origin_span_id,
            'name' AS field, s.name AS quote
          FROM _calls c JOIN _s s USING (trace_id, span_id)
          WHERE len(c.tools_offered) > 0 AND call_name IS NOT NULL AND call_name <> ''
            AND NOT list_contains(c.tools_offered, call_name)
        """,
        title="The model calls {subject}, a tool that does not exist",
        description="The model asks for {subject}, which is not among the tools it was offered.",
        fix="Name the tools in the instructions as they are offered, answer an unknown name with the list of valid ones, and remove old names from prompts and examples.",
        validation="Every called name should be among the offered ones.",
        confidence=0.97,
    ),
    Unit(
        name="call_without_result",
        category="Task Orchestration",
        definition="A model asks for a tool call that no tool span in the trace answers, though the trace has tool spans, and the model is never asked again",
        source="NeMo Compass, missing tool result",
        limits="sampling and late spans look the same; only judged when the trace has tool spans",
        sql=f"""
          SELECT c.call_name AS key, c.call_name AS subject, c.trace_id, c.span_id, c.span_id AS origin_span_id,
            'name' AS field, s.name AS quote
          FROM _calls c JOIN _s s USING (trace_id, span_id)
          WHERE coalesce(c.call_name, '') <> '' AND NOT regexp_matches(c.call_name, '{ENDING}')
            AND EXISTS (SELECT 1 FROM _s t WHERE t.trace_id = c.trace_id AND t.span_type = 'tool')
            AND NOT EXISTS (SELECT 1 FROM _s t WHERE t.trace_id = c.trace_id AND t.tool_call_id = c.call_id)
            AND NOT EXISTS (SELECT 1 FROM _s t WHERE t.trace_id = c.trace_id AND t.span_type = 'tool'
              AND t.tool_name = c.call_name AND t.start_time >= c.start_time)
            AND NOT EXISTS (SELECT 1 FROM _s n WHERE n.trace_id = c.trace_id AND n.span_type = 'llm' AND n.start_time > c.end_time)
        """,
        title="Calls of {subject} are asked for and never made",
        description="The model asks for {subject}, no span shows that it ran, and the run ends there.",
        fix="Look at what ends the run between the model's answer and the tool: an exception in the loop, a limit, or a name that is dispatched nowhere.",
        validation="Every tool call id of a model should appear on a tool span.",
        confidence=0.7,
    ),
    Unit(
        name="handoff_ping_pong",
        category="Task Orchestration",
        definition="Two agents hand the work to each other at least three times each, in turn",
        source="MAST 1.3 step repetition, 2.1 conversation reset",
        limits="needs agent names on agent spans",
        sql="""
          WITH turns AS (
            SELECT trace_id, span_id, name, agent_name, start_time,
              lag(agent_name, 1) OVER w AS one, lag(agent_name, 2) OVER w AS two, lag(agent_name, 3) OVER w AS three,
              lag(agent_name, 4) OVER w AS four, lag(agent_name, 5) OVER w AS five
            FROM _s WHERE span_type = 'agent' AND agent_name IS NOT NULL
            WINDOW w AS (PARTITION BY trace_id ORDER BY start_time, span_id)
          )
          SELECT least(agent_name, one) || ' ⇄ ' || greatest(agent_name, one) AS key,
            least(agent_name, one) || ' ⇄ ' || greatest(agent_name, one) AS subject, trace_id,
            arg_max(span_id, start_time) AS span_id, arg_max(span_id, start_time) AS origin_span_id,
            'name' AS field, arg_max(name, start_time) AS quote
          FROM turns WHERE agent_name = two AND two = four AND one = three AND three = five AND agent_name <> one
          GROUP BY ALL
        """,
        title="{subject} hand the work to and fro",
        description="Two agents hand the same work to each other at least three times each without finishing it.",
        fix="Let one of them own the task, and make a hand-off carry what was tried and why it is handed on.",
        validation="No trace should have more than two hand-offs between the same pair.",
    ),
)  # fmt: skip

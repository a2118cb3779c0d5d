"""Tool calls: repeated, invented, without a result, handed to and fro."""

from __future__ import annotations

from halo_worker.analysis.detectors.detector import Unit
from halo_worker.analysis.detectors.tables import ENDING, ERROR_CLASSES_SQL, READING, thrice

_UNKNOWN_TOOL = dict(ERROR_CLASSES_SQL)["unknown_tool"]
# Waiting for something is no loop; without results it cannot be told whether they change.
_POLLS = "(?i)(status|poll|wait|sleep|progress|heartbeat|health|ping|job|check|screenshot|snapshot|observe|scroll|click|press|next|back|refresh|reload)"
# Tools that a provider runs itself: they are asked for by type, and no definition names them. Hand-offs are listed apart.
_PROVIDERS_OWN = "^(web_search(_preview)?|file_search|code_interpreter|code_execution|computer_use_preview|image_generation|google_search|url_context|transfer_to_.*|handoff_.*)$"
# Tools that hand a run to another agent or to a person: nothing else is changed.
HANDS_OVER = r"(?i:^(transfer_to|hand_?(off|over)(_to)?|delegate(_to)?)$|^(transfer|hand_?(off|over)|delegate)_to_\w*(agent|assistant|human|team|support|desk|specialist))"
COMMON_CALL = (
    0.1  # share of a service's traces that call a name which is never offered: the capture's gap, no invention
)
MIN_KNOWN_CALLS = 20  # calls of a service that tool spans answer, before a name without any span is taken as invented

UNITS = (
    Unit(
        name="repeated_call",
        category="Resource Abuse",
        definition="A tool is called three or more times with the same arguments in one trace, and its result never changes",
        source="TRAIL, Resource Abuse (marked at the last occurrence); MAST 1.3 step repetition",
        limits="polling whose results change is left out (times and request ids in results do not count); arguments must be captured; without results, four calls of a tool that does not poll",
        sql=f"""
          SELECT key, key AS subject, r.trace_id, r.span_id, r.span_id AS origin_span_id, 'input_text' AS field, left(s.arguments, 300) AS quote, [r.first] AS also
          FROM (
            SELECT trace_id, coalesce(tool_name, name) AS key, arg_max(span_id, start_time) AS span_id, arg_min(span_id, start_time) AS first
            FROM _s ANTI JOIN _inner USING (trace_id, span_id) WHERE span_type = 'tool' AND arguments IS NOT NULL AND trim(arguments) NOT IN ('', '{{}}', 'null')
              AND {thrice("trace_id, input_hash", "span_type = 'tool'")}
            GROUP BY trace_id, name, tool_name, input_hash
            HAVING count(*) >= 3 AND coalesce(min(output_hash) = max(output_hash), true) AND (count(output_hash) = count(*)
              OR count(*) >= 4 AND (count(*) FILTER (failed) >= 3 OR NOT regexp_matches(key, '{_POLLS}')))
          ) r JOIN _s s USING (trace_id, span_id)
          UNION ALL
          -- Where tools have no spans, from what the model asked for.
          SELECT r.call_name AS key, r.call_name AS subject, r.trace_id, r.span_id, r.span_id AS origin_span_id, 'name' AS field, s.name AS quote, [r.first] AS also
          FROM (
            SELECT call_name, trace_id, arg_max(span_id, start_time) AS span_id, arg_min(span_id, start_time) AS first
            FROM _calls c ANTI JOIN (SELECT DISTINCT trace_id FROM _s WHERE span_type = 'tool') t USING (trace_id)
            WHERE coalesce(call_name, '') <> '' AND NOT regexp_matches(call_name, '{_POLLS}') AND arguments_type = 'OBJECT' AND structure <> '{{}}'
              AND {thrice("trace_id, said_hash", "true", table="_calls")}
            GROUP BY trace_id, call_name, said_hash HAVING count(*) >= 4
          ) r JOIN _s s USING (trace_id, span_id)
        """,
        title="{subject} is called repeatedly with the same arguments",
        description="{subject} is called at least three times in one trace with identical arguments and returns the identical result each time.",
        fix="Return the earlier result with a note that the call was made already, and instruct the agent to change the arguments or stop.",
        validation="Count identical calls per trace: none should have three.",
    ),
    Unit(
        name="invented_tool",
        speaks=("call",),
        category="Tool-related",
        definition="A model calls a tool whose name is not among those offered in the call, or in the trace; or the answer to its call is that there is no such tool; or no span of the service ever ran it",
        source="TRAIL, tool-related hallucination; NeMo Compass unknown_tool",
        limits="sure where tool definitions are captured; else by what the tool answers, or by its absence among the service's tools",
        sql=f"""
          WITH whole AS (
            SELECT trace_id, list_distinct(flatten(list(tools_offered))) AS names FROM _s
            WHERE len(tools_offered) > 0 AND trace_id IN (SELECT trace_id FROM _calls WHERE coalesce(len(tools_offered), 0) = 0) GROUP BY ALL
          ),
          ran AS (SELECT DISTINCT service_name, tool_name FROM _s ANTI JOIN _bad_calls b USING (trace_id, span_id) WHERE span_type = 'tool' AND NOT failed AND tool_name IS NOT NULL),
          covered AS (
            SELECT c.service_name FROM _calls c LEFT JOIN ran ON ran.service_name = c.service_name AND ran.tool_name = c.call_name
            WHERE NOT regexp_matches(coalesce(c.call_name, ''), '{ENDING}') GROUP BY c.service_name
            HAVING count(ran.tool_name) >= {MIN_KNOWN_CALLS} AND count(ran.tool_name) >= 0.9 * count(*)
          ),
          common AS (
            SELECT service_name, call_name FROM (SELECT service_name, call_name, count(DISTINCT trace_id) AS n FROM _calls GROUP BY ALL)
            JOIN (SELECT service_name, count(DISTINCT trace_id) AS all_ FROM _calls GROUP BY ALL) USING (service_name) WHERE n >= {MIN_KNOWN_CALLS} AND n >= {COMMON_CALL} * all_
          ),
          denied AS (
            SELECT s.trace_id, s.span_id, s.tool_call_id, coalesce(s.tool_name, s.name) AS called FROM _bad_results b JOIN _s s USING (trace_id, span_id)
            WHERE regexp_matches(b.output_head, '(?i){_UNKNOWN_TOOL}')
            UNION ALL
            SELECT trace_id, span_id, tool_call_id, coalesce(tool_name, name) FROM _errors WHERE class = 'unknown_tool'
            UNION ALL
            SELECT trace_id, asking, NULL, tool_name FROM _bad_told WHERE regexp_matches(output_head, '(?i){_UNKNOWN_TOOL}')
          ),
          called AS (
            SELECT c.trace_id, c.span_id, c.call_name FROM _calls c LEFT JOIN whole w USING (trace_id)
            WHERE call_name <> '' AND NOT regexp_matches(call_name, '{_PROVIDERS_OWN}') AND (c.service_name, call_name) NOT IN (SELECT (service_name, call_name) FROM common)
              AND CASE WHEN len(c.tools_offered) > 0 THEN NOT list_contains(c.tools_offered, call_name)
              ELSE len(w.names) > 0 AND NOT list_contains(w.names, call_name) AND NOT regexp_matches(call_name, '{ENDING}') END
            UNION
            SELECT c.trace_id, c.span_id, c.call_name FROM _calls c SEMI JOIN covered USING (service_name)
            ANTI JOIN ran ON ran.service_name = c.service_name AND ran.tool_name = c.call_name
            WHERE coalesce(len(c.tools_offered), 0) = 0 AND call_name <> '' AND NOT regexp_matches(call_name, '{ENDING}|{_PROVIDERS_OWN}')
          )
          SELECT call_name AS key, call_name AS subject, trace_id, span_id, span_id AS origin_span_id, 'name' AS field, s.name AS quote
          FROM called JOIN _s s USING (trace_id, span_id)
          UNION ALL
          SELECT called AS key, called AS subject, d.trace_id, d.span_id, NULL AS origin_span_id, 'name' AS field, s.name AS quote
          FROM denied d JOIN _s s USING (trace_id, span_id)
        """,
        title="The model calls {subject}, a tool that does not exist",
        description="The model asks for {subject}, which is not among the tools it was offered.",
        fix="Name the tools in the instructions as they are offered, answer an unknown name with the list of valid ones, and remove old names from prompts and examples.",
        validation="Every called name should be among the offered ones.",
        confidence=0.97,
    ),
    Unit(
        name="call_without_result",
        version=2,
        category="Task Orchestration",
        definition="A model asks for a tool call that no tool span in the trace answers, though the trace has tool spans, and the model is never asked again",
        source="NeMo Compass, missing tool result",
        limits="sampling and late spans look the same; only judged when the trace has tool spans",
        sql=f"""
          WITH last AS (SELECT trace_id, max(start_time) AS asked_at FROM _s ANTI JOIN _asides USING (trace_id, span_id) WHERE span_type = 'llm' GROUP BY trace_id),
          open AS (
            SELECT c.trace_id, c.span_id, c.call_id, c.call_name, c.start_time, c.service_name FROM _calls c JOIN last USING (trace_id)
            WHERE coalesce(c.call_name, '') <> '' AND NOT regexp_matches(c.call_name, '{ENDING}') AND NOT coalesce(last.asked_at > c.end_time, false)
              AND trace_id NOT IN (FROM _stopped)
          ),
          beside AS (FROM _s SEMI JOIN open USING (trace_id))
          SELECT c.call_name AS key, c.call_name AS subject, c.trace_id, c.span_id, c.span_id AS origin_span_id,
            'name' AS field, s.name AS quote
          FROM open c JOIN _s s USING (trace_id, span_id)
          WHERE (c.service_name, c.call_name) IN (SELECT DISTINCT (service_name, tool_name) FROM _s WHERE span_type = 'tool' AND tool_name IS NOT NULL)
            AND EXISTS (SELECT 1 FROM beside t WHERE t.trace_id = c.trace_id AND t.span_type = 'tool')
            AND NOT EXISTS (SELECT 1 FROM beside t WHERE t.trace_id = c.trace_id AND t.tool_call_id = c.call_id)
            AND NOT EXISTS (SELECT 1 FROM beside t WHERE t.trace_id = c.trace_id AND t.span_type = 'tool'
              AND t.tool_name = c.call_name AND t.start_time >= c.start_time)
        """,
        title="Calls of {subject} are requested and never executed",
        description="The model requests {subject}, no span shows that it ran, and the run ends there.",
        fix="Look at what ends the run between the model's answer and the tool: an exception in the loop, a limit, or a name that is dispatched nowhere.",
        validation="Every tool call id of a model should appear on a tool span.",
        confidence=0.7,
    ),
    Unit(
        name="repeated_side_effect",
        version=2,
        category="Resource Abuse",
        definition="A tool that changes something is called twice or more with the same arguments in one trace, and succeeds each time",
        source="TRAIL, Resource Abuse; idempotency of tool calls",
        limits="by the tool's name: send, pay, book, create and the like; a repetition that was wanted looks the same",
        sql=f"""
          SELECT coalesce(tool_name, name) || '|twice' AS key, coalesce(tool_name, name) AS subject, trace_id,
            arg_max(span_id, start_time) AS span_id, NULL AS origin_span_id, 'input_text' AS field, left(arg_max(arguments, start_time), 300) AS quote,
            [arg_min(span_id, start_time)] AS also
          FROM _s ANTI JOIN _bad_calls b USING (trace_id, span_id) ANTI JOIN _inner USING (trace_id, span_id)
          WHERE span_type = 'tool' AND NOT failed AND length(arguments) > 2
            AND regexp_matches(coalesce(tool_name, name), '(?i)(^|_|\\W)(send|pay|charge|transfer|refund|book|buy|purchase|order|place|create|submit|issue|post|publish|notify|email|open_(ticket|case|issue|account))(_|\\W|$)')
            AND NOT regexp_matches(coalesce(tool_name, name), '(?i)(file|dir|folder|path|table|index|plan|draft|note|todo|chart|plot|embed|summar|report|document|image|query|session|thread|branch|search)')
            AND NOT regexp_matches(coalesce(tool_name, name), '{READING}|{HANDS_OVER}')
          GROUP BY trace_id, coalesce(tool_name, name), input_hash HAVING count(*) >= 2
        """,
        title="{subject} succeeds twice with the same arguments",
        description="{subject} changes state, and succeeds more than once in one trace with identical arguments: its effect may be duplicated.",
        fix="Give the call an idempotency key, and show the model which actions are done.",
        validation="No trace should hold two successful calls of such a tool with the same arguments.",
        confidence=0.8,
        severity="high",
    ),
    Unit(
        name="handoff_ping_pong",
        version=2,
        category="Task Orchestration",
        definition="The same two or three agents take turns at least three times, and no tool but a hand-off is called meanwhile",
        source="MAST 1.3 step repetition, 2.1 conversation reset",
        limits="needs agent names on agent spans, or hand-off tools; a supervisor whose workers use tools is left alone",
        sql=f"""
          WITH turns AS (
            SELECT trace_id, span_id, name, start_time, agent_name AS who FROM _s WHERE span_type = 'agent' AND agent_name IS NOT NULL
            UNION ALL
            SELECT trace_id, span_id, name, start_time, coalesce(tool_name, name) FROM _s ANTI JOIN _inner USING (trace_id, span_id)
            WHERE span_type = 'tool' AND regexp_matches(coalesce(tool_name, name), '(?i)^(transfer|hand_?off|delegate|route|escalate)[_ -]')
              AND trace_id NOT IN (SELECT trace_id FROM _s WHERE span_type = 'agent' GROUP BY trace_id HAVING count(DISTINCT agent_name) > 1)
          ),
          long AS (SELECT trace_id FROM turns GROUP BY trace_id HAVING count(*) >= 6),
          stepped AS (
            SELECT trace_id, span_id, name, start_time, who, {", ".join(f"lag(who, {n}) OVER w AS b{n}" for n in range(1, 9))},
              lag(start_time, 5) OVER w AS began
            FROM turns SEMI JOIN long USING (trace_id) WINDOW w AS (PARTITION BY trace_id ORDER BY start_time, span_id)
          ),
          rounds AS (
            SELECT trace_id, span_id, name, start_time, began, array_to_string(list_sort(list_distinct([who, b1, b2])), ' ⇄ ') AS who_all
            FROM stepped WHERE who = b2 AND b2 = b4 AND b1 = b3 AND b3 = b5 AND who <> b1
              OR who = b3 AND b3 = b6 AND b1 = b4 AND b4 = b7 AND b2 = b5 AND b5 = b8 AND who <> b1 AND b1 <> b2 AND who <> b2
          )
          SELECT who_all AS key, who_all AS subject, trace_id, arg_max(span_id, start_time) AS span_id,
            arg_max(span_id, start_time) AS origin_span_id, 'name' AS field, arg_max(name, start_time) AS quote
          FROM rounds r WHERE NOT EXISTS (
            SELECT 1 FROM _s t WHERE t.trace_id = r.trace_id AND t.span_type IN ('tool', 'retriever') AND NOT t.failed
              AND t.start_time BETWEEN r.began AND r.start_time
              AND NOT regexp_matches(coalesce(t.tool_name, t.name), '(?i)^(transfer|hand_?off|delegate|route|escalate)[_ -]'))
          GROUP BY ALL
        """,
        severity="medium",
        title="{subject} hand the task back and forth",
        description="The agents hand the task to each other at least three times each without any other tool call in between.",
        fix="Let one of them own the task, and pass what was tried and why with each hand-off.",
        validation="No trace should have more than two hand-offs between the same agents.",
    ),
)  # fmt: skip

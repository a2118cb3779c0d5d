"""Answers: truncated, empty, malformed, filtered, claimed without a call, unfounded after an empty retrieval."""

from __future__ import annotations

from halo_worker.analysis.detectors.shared import ADMITS
from halo_worker.analysis.detectors.unit import Unit

_ADMITS = ADMITS.replace("'", "''")

# Actions an agent says it has done, and words that the name of a tool which does them would hold.
CLAIMS = (
    ("refund", r"\b(issued|processed|initiated|completed) (a|the|your|that)?\s*(full |partial )?refund|refunded", "refund|payment|return|credit"),
    ("send", r"(i have|i''ve|i) (just |already |successfully )*(sent|emailed|notified|messaged)", "send|mail|notif|message|slack|sms|contact"),
    ("book", r"(i have|i''ve|i) (just |already |successfully )*(booked|reserved|scheduled)", "book|reserv|schedul|calendar|appointment|event"),
    ("cancel", r"(i have|i''ve|i) (just |already |successfully )*(cancell?ed)", "cancel|terminate|order|subscription"),
    ("create", r"(i have|i''ve|i) (just |already |successfully )*(created|opened|filed|submitted) (a|an|the|your) \w*\s?(ticket|issue|case|order|account|pull request)", "create|open|file|submit|ticket|issue|case|order|account|pull"),
    ("update", r"(i have|i''ve|i) (just |already |successfully )*(updated|changed) (your|the) \w*\s?(address|account|order|subscription|record|profile|plan)", "update|change|set|edit|modify|address|account|order|profile|plan"),
    ("run", r"(i have|i''ve|i) (just |already |successfully )*(ran|executed|run) (all |the |your )*(tests?|test suite)", "test|run|exec|shell|bash|command|python|terminal"),
)  # fmt: skip


def _claim(name: str, said: str, tool: str) -> str:
    return f"""
      SELECT '{name}' AS key, '{name}' AS subject, f.trace_id, f.span_id, f.span_id AS origin_span_id,
        'output_text' AS field, regexp_extract(f.answer, '(?i)[^.!?\\n]*({said})[^.!?\\n]*') AS quote
      FROM _final f
      WHERE regexp_matches(f.answer, '(?i)({said})') AND NOT regexp_matches(f.answer, '{_ADMITS}')
        AND NOT EXISTS (SELECT 1 FROM _s t WHERE t.trace_id = f.trace_id AND t.span_type = 'tool' AND NOT t.failed
          AND regexp_matches(coalesce(t.tool_name, t.name), '(?i){tool}'))
        AND NOT EXISTS (SELECT 1 FROM _calls c WHERE c.trace_id = f.trace_id AND regexp_matches(c.call_name, '(?i){tool}'))
        AND EXISTS (SELECT 1 FROM _fleet_tools)
    """


UNITS = (
    Unit(
        name="truncated_output",
        category="Formatting Errors",
        definition="A model call ends because its output limit was reached",
        source="finish reason 'length', or as many output tokens as were allowed",
        limits="needs finish reasons, or the limit and the token count",
        sql="""
          SELECT coalesce(agent_name, model, name) AS key, coalesce(agent_name, model, name) AS subject, trace_id, span_id,
            span_id AS origin_span_id,
            CASE WHEN trim(coalesce(output_head, '')) <> '' THEN 'output_text' ELSE 'name' END AS field,
            CASE WHEN trim(coalesce(output_head, '')) <> '' THEN left(output_head, 200) ELSE name END AS quote
          FROM _s WHERE span_type = 'llm' AND (finish_reason = 'length'
            OR (finish_reason IS NULL AND max_output_tokens > 1 AND output_tokens >= max_output_tokens))
        """,
        title="Output of {subject} is cut off at its token limit",
        description="The model stops because its output limit is reached; what follows works with half an answer.",
        fix="Raise the output limit for this call, ask for less, or continue the answer when the finish reason is 'length'.",
        validation="The share of calls with finish reason 'length' should fall to zero.",
        confidence=0.97,
    ),
    Unit(
        name="empty_answer",
        category="Instruction Non-compliance",
        definition="A model call ends without text and without tool calls, and is not in error",
        source="empty completions, as providers report them",
        limits="only where message content is captured",
        sql="""
          SELECT coalesce(s.agent_name, s.model, s.name) AS key, coalesce(s.agent_name, s.model, s.name) AS subject, s.trace_id, s.span_id,
            s.span_id AS origin_span_id, 'name' AS field, s.name AS quote
          FROM _s s WHERE s.span_type = 'llm' AND NOT s.failed AND s.has_output AND s.calls = 0
            AND coalesce(s.output_length, 0) = 0 AND coalesce(s.finish_reason, 'stop') = 'stop' AND coalesce(s.output_tokens, 0) <= 16
            AND NOT EXISTS (SELECT 1 FROM _s n WHERE n.trace_id = s.trace_id AND n.span_type = 'llm'
              AND n.start_time > s.start_time AND NOT n.failed AND (n.output_length > 0 OR n.calls > 0))
        """,
        title="{subject} answers with nothing",
        description="The model's last answer is empty: no text, no tool call, no error.",
        fix="Treat an empty completion as a failure: ask again once, then tell the user; look for a stop sequence or a filter that eats the text.",
        validation="No run should end in an empty completion.",
        confidence=0.95,
    ),
    Unit(
        name="content_filter",
        category="Instruction Non-compliance",
        definition="A provider's content filter ends a model call",
        source="finish reason 'content_filter'",
        limits="whether the filter was right is not judged",
        sql="""
          SELECT coalesce(agent_name, model, name) AS key, coalesce(agent_name, model, name) AS subject, trace_id, span_id,
            span_id AS origin_span_id, 'name' AS field, name AS quote
          FROM _s WHERE span_type = 'llm' AND finish_reason = 'content_filter'
        """,
        title="Answers of {subject} are stopped by the content filter",
        description="The provider's content filter ends the call; the user gets nothing, or half an answer.",
        fix="Look at what is sent: quoted user text and retrieved pages trip filters. Catch the finish reason and tell the user.",
        validation="Count finish reason 'content_filter' in the next windows.",
        severity="medium",
    ),
    Unit(
        name="malformed_json",
        category="Formatting Errors",
        definition="An answer that is JSON from its first character does not parse",
        source="malformed structured output; TRAIL, Formatting Errors",
        limits="answers over 2,000 characters, and truncated ones, are left to other detectors",
        sql="""
          SELECT coalesce(agent_name, model, name) AS key, coalesce(agent_name, model, name) AS subject, trace_id, span_id,
            span_id AS origin_span_id, 'output_text' AS field, left(output_head, 300) AS quote
          FROM _s WHERE span_type = 'llm' AND NOT failed AND output_length BETWEEN 2 AND 2000
            AND coalesce(finish_reason, 'stop') = 'stop' AND regexp_matches(output_head, '^\\s*\\{\\s*"') AND NOT json_valid(output_head)
        """,
        title="{subject} writes JSON that does not parse",
        description="The answer begins as a JSON object and is not valid JSON; whatever reads it fails or guesses.",
        fix="Use the provider's structured output for this call, or validate and send the parser's message back once.",
        validation="Every answer of this agent that begins with '{' should parse.",
        confidence=0.9,
    ),
    Unit(
        name="claimed_action",
        category="Tool-related",
        definition="The final answer says that something was done, and no call in the trace could have done it",
        source="TRAIL, tool-related hallucination; 'claimed usage' of AWS Strands evaluations",
        limits="English phrases; only where the fleet's tool calls are captured; actions outside the trace are not seen",
        sql=" UNION ALL ".join(_claim(*claim) for claim in CLAIMS),
        title="Agents say they did it ({subject}) without doing it",
        description="The final answer tells the user that something was done ({subject}), but no successful tool call in the trace could have done it.",
        fix="Only let the answer report actions from tool results: require the tool's confirmation id, and refuse to end the turn without it.",
        validation="Every answer that reports an action should have the matching tool span in its trace.",
        confidence=0.75,
        severity="high",
    ),
    Unit(
        name="unfounded_after_empty_retrieval",
        category="Language-only",
        definition="Every retrieval of a trace comes back empty, and the final answer does not say so",
        source="TRAIL, language-only hallucination; grounding checks of retrieval evaluations",
        limits="needs retrieval results; general knowledge may have been enough for the answer",
        sql=f"""
          WITH r AS (
            SELECT trace_id, max(start_time) AS at_, arg_max(span_id, start_time) AS span_id,
              bool_and(regexp_matches(coalesce(output_head, ''), '(?is)^\\s*(|\\[\\s*\\]|\\{{\\s*\\}}|null|none|no (results|documents|matches)( found)?\\.?|\\{{\\s*"(results|documents|matches|hits|items)"\\s*:\\s*\\[\\s*\\].*)\\s*$')) AS empty
            FROM _s WHERE NOT failed AND (span_type = 'retriever'
              OR (span_type = 'tool' AND regexp_matches(coalesce(tool_name, name), '(?i)(search|retriev|lookup_doc|knowledge)')))
              AND (output_head IS NOT NULL OR span_type = 'retriever') GROUP BY trace_id
          ),
          captured AS (SELECT count(*) AS n FROM _s WHERE span_type = 'retriever' AND output_length > 2)
          SELECT coalesce(f.agent_name, 'the agent') AS key, coalesce(f.agent_name, 'the agent') AS subject, f.trace_id, f.span_id,
            f.span_id AS origin_span_id, 'output_text' AS field, left(f.answer, 300) AS quote
          FROM r JOIN _final f ON f.trace_id = r.trace_id AND f.end_time > r.at_
          JOIN _s s ON s.trace_id = r.trace_id AND s.span_id = r.span_id
          WHERE r.empty AND (s.output_length > 0 OR (SELECT n FROM captured) > 0) AND NOT regexp_matches(f.answer, '{_ADMITS}')
        """,
        title="{subject} answers although retrieval found nothing",
        description="Retrieval comes back empty and the agent answers as if it had sources; the answer has no ground in the data.",
        fix="Tell the agent what to say when retrieval is empty, pass the emptiness on as a sentence, and require a citation for each claim.",
        validation="Answers after an empty retrieval should say that nothing was found.",
        confidence=0.75,
        severity="high",
    ),
)  # fmt: skip

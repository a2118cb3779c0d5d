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

# What providers' keys, private keys and payment cards look like. Shapes that documentation shows (sk-..., a key cut
# short, AKIAIOSFODNN7EXAMPLE) are left out by length and by the word.
KEY_SHAPES = (
    r"\b(sk-(proj-|ant-|svcacct-)?[A-Za-z0-9_-]{32,}|AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{50,}"
    r"|xox[baprs]-[0-9A-Za-z-]{24,}|AIza[0-9A-Za-z_-]{35}|eyJ[A-Za-z0-9_-]{16,}\.eyJ[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,})"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----|\b[45]\d{3}[ -]\d{4}[ -]\d{4}[ -]\d{4}\b|\b\d{3}-\d{2}-\d{4}\b"
)
# A refusal from its first words on; what it refuses is not named, as models do by reflex.
REFUSAL = (
    r"(?i)^\W*(i('?m| am) (really |very |so )?sorry|sorry|i apologi[sz]e|unfortunately)?,?\W*(but )?(as an ai[^.]{0,40}, )?"
    r"i (can('?t|not)|am (unable|not able) to|won'?t|'?m (unable|not able) to)( be able to)? "
    r"(assist|help|comply|fulfil+|continue|engage|provide assistance|answer)( you)?( with)? ?(that|this|your request|the request|it)?"
    r"( request| question| topic)?\W*($|[.!]\W)"
)
# What a right refusal is about.
WRONG_REQUESTS = (
    r"(?i)\b(hack|exploit|malware|ransomware|phish|weapon|bomb|explosiv|poison|drug|kill|suicid|steal|fraud|forge|fake|illegal|"
    r"bypass|crack|pirat|credential|password|jailbreak|ignore (all|your|previous)|system prompt|someone else|another "
    r"(customer|user|person|employee|patient)|other (customer|user|people)|personal (data|information)|home address|phone "
    r"number|social security|salary|medical (record|advice)|legal advice|diagnos|racist|sexual|porn|nude|spy|stalk|track my)"
)
PROMISE = (
    r"(?i)(^|[.!\n]\s*)(let me|i('ll| will)( now)?|i('m| am) going to|now i('ll| will)|next,? i('ll| will)) (just |quickly |first |go and )*"
    r"(check|look (into|up|at)|search|find out|fetch|query|run|investigate|try|retrieve|call|open|read)\b[^.!?\n]*[.!:…]*\s*$"
)


def _quoted(pattern: str) -> str:
    return pattern.replace("'", "''")


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
        name="refusal",
        category="Instruction Non-compliance",
        definition="The final answer is a blanket refusal, the request holds nothing that asks for one, and the agent mostly answers",
        source="Strands evaluations and TRAIL, non-compliance; refusal shapes of chat models",
        limits="English; whether a refusal is right is only guessed from the words of the request",
        sql=f"""
          WITH refused AS (
            SELECT f.*, coalesce(agent_name, 'the agent') AS subject FROM _final f WHERE regexp_matches(left(answer, 300), '{_quoted(REFUSAL)}')
          ),
          asked AS (
            SELECT trace_id, bool_or(regexp_matches(left(input_text, 4000), '{_quoted(WRONG_REQUESTS)}')) AS wrong FROM spans
            WHERE trace_id IN (SELECT trace_id FROM refused) AND span_type IN ('agent', 'llm', 'workflow', 'chain') GROUP BY ALL
          ),
          usual AS (SELECT count(*) AS n FROM _final)
          SELECT subject AS key, subject, r.trace_id, r.span_id, r.span_id AS origin_span_id, 'output_text' AS field, left(answer, 300) AS quote
          FROM refused r JOIN asked a USING (trace_id)
          WHERE NOT coalesce(a.wrong, false) AND (SELECT count(*) FROM refused) <= 0.5 * (SELECT n FROM usual)
        """,
        title="{subject} refuses requests that look harmless",
        description="The answer is a blanket refusal, although nothing in the request asks for one.",
        fix="Say in the instructions what is allowed, show one such request with its answer, and offer a way to a human.",
        validation="Ask the refused questions again: they should be answered.",
        confidence=0.6,
    ),
    Unit(
        name="leaked_secret",
        category="Data Leak",
        definition="A model writes something with the shape of an API key, a token, a private key, a payment card or a social security number",
        source="the published formats of the providers' keys; OWASP LLM02, sensitive information disclosure",
        limits="shapes only: the key may be revoked or an example; keys of other shapes are not seen",
        sql=f"""
          SELECT coalesce(agent_name, model, name) AS key, coalesce(agent_name, model, name) AS subject, trace_id, span_id,
            span_id AS origin_span_id, 'output_text' AS field,
            left(regexp_extract(output_head, '{_quoted(KEY_SHAPES)}'), 12) AS quote
          FROM _s WHERE span_type = 'llm' AND regexp_matches(output_head, '{_quoted(KEY_SHAPES)}')
            AND NOT regexp_matches(regexp_extract(output_head, '{_quoted(KEY_SHAPES)}'), '(?i)example|xxxx|1234-?5678|000-00|(0000[ -]?){{2}}|(1111[ -]?){{2}}|your')
        """,
        title="{subject} writes what looks like a secret",
        description="An answer holds a key, token, card or social security number. Only the first characters are quoted here.",
        fix="Revoke it, find where the model read it (prompt, tool result, document), and filter answers for such shapes.",
        validation="No answer should match the shape again.",
        confidence=0.85,
        severity="high",
    ),
    Unit(
        name="repeated_answer",
        category="Resource Abuse",
        definition="A model writes the same text three or more times in one trace, without calling a tool",
        source="MAST 1.3 step repetition",
        limits="word for word; short answers (under 30 characters) are left out",
        sql="""
          SELECT coalesce(agent_name, model, name) AS key, coalesce(agent_name, model, name) AS subject, trace_id,
            arg_max(span_id, start_time) AS span_id, arg_max(span_id, start_time) AS origin_span_id, 'output_text' AS field,
            left(arg_max(output_head, start_time), 300) AS quote
          FROM _s WHERE span_type = 'llm' AND NOT failed AND calls = 0 AND output_length >= 30
          GROUP BY trace_id, output_hash, coalesce(agent_name, model, name) HAVING count(*) >= 3
        """,
        title="{subject} says the same thing over and over",
        description="The model writes the same text at least three times in one trace: it makes no progress.",
        fix="Stop the loop when an answer repeats, and tell the model what is missing.",
        validation="No trace should hold the same answer three times.",
    ),
    Unit(
        name="promise_not_kept",
        category="Task Orchestration",
        definition="The last model call of a trace announces a step, calls no tool, and nothing follows",
        source="MAST 3.1, stops too early; 'reasoning mismatch' of AWS Strands evaluations",
        limits="English; only where the agent has tools",
        sql=f"""
          SELECT coalesce(f.agent_name, 'the agent') AS key, coalesce(f.agent_name, 'the agent') AS subject, f.trace_id, f.span_id,
            f.span_id AS origin_span_id, 'output_text' AS field, trim(right(f.answer, 300)) AS quote
          FROM _final f JOIN _s s USING (trace_id, span_id)
          WHERE s.output_length < 2000 AND len(s.tools_offered) > 0 AND regexp_matches(f.answer, '{_quoted(PROMISE)}')
            AND NOT EXISTS (SELECT 1 FROM _s n WHERE n.trace_id = f.trace_id AND n.start_time > s.start_time
              AND n.span_type IN ('llm', 'tool', 'retriever', 'agent'))
        """,
        title="{subject} announces a step and then stops",
        description="The answer ends by saying what will be done next; no tool is called and the run is over.",
        fix="Do not end a turn on an announcement: ask the model to go on, or to answer with what it has.",
        validation="Final answers should not end in an announcement.",
        confidence=0.8,
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

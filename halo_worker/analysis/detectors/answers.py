"""Answers: truncated, empty, malformed, filtered, leaking, claimed without a call, unfounded after an empty retrieval."""

from __future__ import annotations

from halo_worker.analysis.detectors.detector import Unit, escaped
from halo_worker.analysis.detectors.tables import ADMITS, ENDING, NEGATES, thrice

_ADMITS = escaped(ADMITS)
_NEGATES = escaped(NEGATES)

# A refusal from its first words on; what it refuses is not named, as models do by reflex.
REFUSAL = (
    r"(?i)^\W*(i('?m| am) (really |very |so )?sorry|sorry|i apologi[sz]e|unfortunately|my apologies)?,?\W*(but |however )?,?(as an ai[^.]{0,40}, )?"
    r"((i('?m| am) (unable|not able|not allowed) to|i (can('?t|not)|could not|won'?t|must decline to|have to decline to)( be able to)?) "
    r"(assist|help|comply|fulfil+|continue|engage|provide (assistance|help|that|this)|answer|do|support|process|discuss)( you)?( with)? ?(that|this|your request|the request|it|such requests?)?"
    r"( request| question| topic| inquiry)?(,? (as|because|since|due to|at this time)\b|\W*($|[.!]\W))|(this|that|your) request (violates|goes against|is against)|i must (respectfully )?decline)"
)
# What a right refusal is about.
WRONG_REQUESTS = (
    r"(?i)\b(hack|exploit|malware|ransomware|phish|weapon|bomb|explosiv|poison|drug|kill|suicid|steal|fraud|forge|fake|illegal|"
    r"bypass|crack|pirat|credential|password|jailbreak|ignore (all|your|previous)|system prompt|someone else|another "
    r"(customer|user|person|employee|patient)|(neighbou?r|colleague|boss|wife|husband|girlfriend|boyfriend|friend|ex)'?s |other (customer|user|people)|personal (data|information)|home address|phone "
    r"number|social security|salary|medical (record|advice)|legal advice|diagnos|racist|sexual|porn|nude|spy|stalk|track my)"
)
PROMISE = (
    r"(?i)(^|[.!\n]\s*)((sure|of course|certainly|okay|ok|great|absolutely|no problem|got it|alright|thanks)[,!.]? )?(let me|i('ll| will)( now)?|i('m| am) going to|now i('ll| will)|next,? i('ll| will)|allow me to|give me (a|one) (moment|second|minute)) ?(just |quickly |first |now |go and |to |while i |and i('ll| will) )*"
    r"(check|look|search|find|fetch|query|run|investigate|try|retrieve|call|open|read|pull|get|gather|see|review|verify)\b[^.!?\n]*[.!:…]*\s*$"
)
# How frameworks say, as the answer, that they stopped a run.
STOPPED = (
    r"(?i)\b((agent|execution|run) (was )?(stopped|terminated|halted|ended)\b.{0,40}\b(limit|iterations?|steps|turns|time)|(stopped|stopping|terminated|ended|aborted) (due to|because of|after) (the |reaching |hitting )*(iteration|time|step|turn|max)"
    r"|(reached|hit|exceeded|exhausted) (the |my |its |our )?(max(imum)?|iteration|step|turn|recursion)( number of| allowed)? ?(steps|turns|iterations|limit|attempts|tool calls)|max(imum)? (iterations|turns|steps|tool calls) (reached|exceeded)"
    r"|need more steps to process this request|step limit reached)"
)


UNITS = (
    Unit(
        name="truncated_output",
        version=2,
        quotes="end",
        speaks=("output_text", "finish_reason"),
        category="Formatting Errors",
        definition="A model call ends because its output limit was reached",
        source="finish reason 'length', or as many output tokens as were allowed",
        limits="needs finish reasons, or the limit and the token count; limits of 16 tokens or less are meant (a word is asked for)",
        sql="""
          SELECT coalesce(agent_name, model, name) AS key, coalesce(agent_name, model, name) AS subject, trace_id, span_id,
            span_id AS origin_span_id,
            CASE WHEN trim(coalesce(output_head, '')) <> '' THEN 'output_text' ELSE 'name' END AS field,
            CASE WHEN trim(coalesce(output_head, '')) <> '' THEN left(output_head, 200) ELSE name END AS quote
          FROM _s WHERE span_type = 'llm' AND coalesce(max_output_tokens, 1000) > 16 AND (finish_reason = 'length'
            OR finish_reason IS NULL AND output_tokens >= max_output_tokens
            OR finish_reason IS NULL AND max_output_tokens IS NULL AND output_tokens IN (256, 512, 1000, 1024, 2000, 2048, 4000, 4096, 8192)
              AND output_length < 2000 AND regexp_matches(output_head, '[A-Za-z,]\\s*$'))
        """,
        title="Output of {subject} is truncated at its token limit",
        description="The model stops at its output limit; the next step works with a truncated answer.",
        fix="Raise the output limit for this call, ask for less, or continue the answer when the finish reason is 'length'.",
        validation="The share of calls with finish reason 'length' should fall to zero.",
        confidence=0.97,
    ),
    Unit(
        name="empty_answer",
        version=2,
        speaks=("finish_reason", "output_tokens"),
        category="Instruction Non-compliance",
        definition="The last model call of a trace ends without text, image, file or tool call, is not in error, and nothing follows but calls for a title and the like",
        source="empty completions, as providers report them",
        limits="only where message content is captured: of the call itself, or of nine in ten calls of its service",
        sql="""
          WITH captured AS (
            SELECT service_name, convention FROM _s WHERE span_type = 'llm' AND NOT failed GROUP BY ALL
            HAVING count(*) >= 10 AND count(*) FILTER (output_length > 0 OR calls > 0 OR media) >= 0.9 * count(*)
          )
          SELECT coalesce(s.agent_name, s.model, s.name) AS key, coalesce(s.agent_name, s.model, s.name) AS subject, s.trace_id, s.span_id,
            s.span_id AS origin_span_id, 'name' AS field, s.name AS quote
          FROM _s s LEFT JOIN captured c ON c.service_name = s.service_name AND c.convention = s.convention
          WHERE s.span_type = 'llm' AND NOT s.failed AND s.calls = 0 AND coalesce(s.output_length, 0) = 0 AND NOT s.media AND coalesce(s.finish_reason, 'stop') = 'stop'
            AND s.end_time IS NOT NULL AND CASE WHEN s.has_output THEN coalesce(s.output_tokens, 0) <= 100 ELSE c.service_name IS NOT NULL END
            AND s.trace_id NOT IN (FROM _stopped)
            AND NOT EXISTS (SELECT 1 FROM _s n WHERE n.trace_id = s.trace_id AND n.start_time > s.start_time
                AND (n.trace_id, n.span_id, s.span_id) NOT IN (SELECT (trace_id, span_id, of_span_id) FROM _asides)
                AND (n.span_type = 'llm' AND NOT n.failed AND (n.output_length > 0 OR n.calls > 0 OR n.media) OR n.span_type = 'tool'))
        """,
        title="{subject} gives an empty answer",
        description="The model's last answer is empty: no text, no image or file, no tool call, no error.",
        fix="Treat an empty completion as a failure and tell the user; look for a stop sequence or a filter that removes the text.",
        validation="No run should end in an empty completion.",
        confidence=0.95,
    ),
    Unit(
        name="refusal",
        version=2,
        category="Instruction Non-compliance",
        definition="The final answer is a blanket refusal, the request holds nothing that asks for one, and the agent mostly answers",
        source="Strands evaluations and TRAIL, non-compliance; refusal shapes of chat models",
        limits="English; whether a refusal is right is only guessed from the words of the request",
        sql=f"""
          WITH refused AS (
            SELECT f.*, coalesce(agent_name, 'the agent') AS subject FROM _final f WHERE regexp_matches(left(answer, 300), '{escaped(REFUSAL)}')
          ),
          asked AS (
            SELECT trace_id, bool_or(regexp_matches(left(input_text, 4000), '{escaped(WRONG_REQUESTS)}')) AS wrong FROM spans
            WHERE trace_id IN (SELECT trace_id FROM refused) AND span_type IN ('agent', 'llm', 'workflow', 'chain') GROUP BY ALL
          ),
          usual AS (SELECT count(*) AS n FROM _final)
          SELECT subject AS key, subject, r.trace_id, r.span_id, r.span_id AS origin_span_id, 'output_text' AS field, left(answer, 300) AS quote
          FROM refused r JOIN asked a USING (trace_id)
          WHERE NOT coalesce(a.wrong, false) AND (SELECT count(*) FROM refused) <= 0.5 * (SELECT n FROM usual)
        """,
        title="{subject} refuses requests that look harmless",
        description="The answer is a blanket refusal, although nothing in the request calls for one.",
        fix="State in the instructions what is allowed, show one such request with its answer, and offer a hand-over to a person.",
        validation="Ask the refused questions again: they should be answered.",
        confidence=0.6,
    ),
    Unit(
        name="stopped_at_limit",
        version=2,
        category="Task Orchestration",
        definition="The answer of a run is the framework's own word that it stopped at a limit of steps, turns or time",
        source="LangChain, LangGraph, smolagents and others answer so instead of failing",
        limits="English; the words of frameworks, not of models",
        sql=f"""
          SELECT coalesce(agent_name, name) AS key, coalesce(agent_name, name) AS subject, trace_id, arg_max(span_id, start_time) AS span_id,
            arg_max(span_id, start_time) AS origin_span_id, 'output_text' AS field, arg_max(regexp_extract(output_head, '{escaped(STOPPED)}'), start_time) AS quote
          FROM _s WHERE span_type IN ('llm', 'agent', 'workflow', 'chain') AND NOT failed AND output_length < 300 AND regexp_matches(output_head, '{escaped(STOPPED)}')
          GROUP BY ALL
        """,
        title="{subject} stops at its step limit",
        description="The run reaches its limit, and the user gets the framework's message instead of an answer.",
        fix="Look at what the agent repeats before the limit; give it a stopping rule, and let it answer with partial results at the last step.",
        validation="No answer should be a message about a limit.",
        confidence=0.95,
    ),
    Unit(
        name="ends_without_answer",
        version=2,
        category="Task Orchestration",
        definition="A run ends after its tools answered: the model asked for them and is never called again, while this agent's runs mostly end in an answer",
        source="MAST 3.1, stops too early; goals abandoned",
        limits="needs model and tool spans, 20 runs of the kind of which nine in ten end in an answer; runs that end in ERROR are told elsewhere",
        sql=f"""
          WITH ends AS (
            SELECT s.*, t.root_name, t.status_code FROM (
              SELECT trace_id, arg_max(span_id, start_time) AS span_id, arg_max(name, start_time) AS name, max(end_time) AS end_time, arg_max(calls, start_time) AS calls,
                bool_and(has_output) AS known, arg_max(failed, start_time) AS failed, any_value(service_name) AS service_name
              FROM _s ANTI JOIN _asides USING (trace_id, span_id) ANTI JOIN _judging USING (trace_id, span_id)
              WHERE span_type = 'llm' AND end_time IS NOT NULL AND trace_id NOT IN (FROM _stopped) GROUP BY trace_id
            ) s JOIN _t t USING (trace_id)
          ),
          followed AS (
            SELECT c.service_name, c.call_name FROM _calls c JOIN ends e USING (trace_id) WHERE c.call_name IS NOT NULL GROUP BY ALL
            HAVING count(*) >= 10 AND count(*) FILTER (c.span_id <> e.span_id) >= 0.8 * count(*)
          ),
          usual AS (
            SELECT service_name, root_name FROM ends WHERE root_name IS NOT NULL GROUP BY ALL
            HAVING count(*) >= 20 AND count(*) FILTER (calls = 0) >= 0.9 * count(*)
          )
          SELECT e.root_name AS key, e.root_name AS subject, e.trace_id, e.span_id, e.span_id AS origin_span_id, 'name' AS field, e.name AS quote
          FROM ends e SEMI JOIN usual u ON u.service_name = e.service_name AND u.root_name = e.root_name
          WHERE e.calls > 0 AND e.known AND NOT e.failed AND e.status_code IS DISTINCT FROM 'ERROR'
            AND EXISTS (SELECT 1 FROM _s t WHERE t.trace_id = e.trace_id AND t.span_type = 'tool' AND t.start_time >= e.end_time AND NOT t.failed)
            AND NOT EXISTS (SELECT 1 FROM _calls c WHERE c.trace_id = e.trace_id AND c.span_id = e.span_id AND (regexp_matches(c.call_name, '{ENDING}')
              OR (c.service_name, c.call_name) NOT IN (SELECT (service_name, call_name) FROM followed)))
        """,
        title="Runs of {subject} end without an answer",
        description="The tools returned, and the model is not called again: the user gets no answer.",
        fix="Look at what ends the loop after the tools: a limit, a swallowed exception, or a stop condition that is met too early.",
        validation="Every run that is not in error should end in an answer.",
        confidence=0.85,
    ),
    Unit(
        name="repeated_answer",
        version=2,
        category="Resource Abuse",
        definition="A model writes the same text three or more times in one trace, without calling a tool",
        source="MAST 1.3 step repetition",
        limits="word for word; short answers (under 30 characters) are left out",
        sql=f"""
          SELECT coalesce(agent_name, model, name) AS key, coalesce(agent_name, model, name) AS subject, trace_id,
            arg_max(span_id, start_time) AS span_id, arg_max(span_id, start_time) AS origin_span_id, 'output_text' AS field,
            left(arg_max(output_head, start_time), 300) AS quote
          FROM _s WHERE span_type = 'llm' AND NOT failed AND calls = 0 AND output_length >= 30
            AND {thrice("trace_id, output_hash", "span_type = 'llm' AND calls = 0")}
          GROUP BY trace_id, output_hash, coalesce(agent_name, model, name) HAVING count(*) >= 3
        """,
        title="{subject} repeats the same answer",
        description="The model writes the same text at least three times in one trace without progress.",
        fix="Stop the loop when an answer repeats, and tell the model what is missing.",
        validation="No trace should hold the same answer three times.",
    ),
    Unit(
        name="promise_not_kept",
        version=2,
        category="Task Orchestration",
        definition="The last model call of a trace announces a step, calls no tool, and nothing follows",
        source="MAST 3.1, stops too early; 'reasoning mismatch' of AWS Strands evaluations",
        limits="English; only where the agent has tools",
        sql=f"""
          SELECT coalesce(f.agent_name, 'the agent') AS key, coalesce(f.agent_name, 'the agent') AS subject, f.trace_id, f.span_id,
            f.span_id AS origin_span_id, 'output_text' AS field, trim(right(f.answer, 300)) AS quote
          FROM _final f JOIN _s s USING (trace_id, span_id)
          WHERE s.output_length < 2000 AND (len(s.tools_offered) > 0 OR f.service_name IN (SELECT service_name FROM _with_tools)) AND regexp_matches(f.answer, '{escaped(PROMISE)}')
            AND NOT regexp_matches(f.answer, '(?i)\\?|\\b(if|once|when|as soon as|after|tomorrow|later|back to you|next week|again (in|on|at))\\b')
            AND f.trace_id NOT IN (FROM _stopped)
            AND NOT EXISTS (SELECT 1 FROM _s n ANTI JOIN _asides USING (trace_id, span_id) WHERE n.trace_id = f.trace_id AND n.start_time > s.start_time
              AND n.span_type IN ('llm', 'tool', 'retriever', 'agent'))
        """,
        title="{subject} announces a step and stops",
        description="The answer ends with an announced step; no tool is called and the run ends.",
        fix="Do not end a turn on an announcement: let the model continue, or answer with partial results.",
        validation="Final answers should not end in an announcement.",
        confidence=0.8,
    ),
    Unit(
        name="content_filter",
        version=2,
        speaks=("output_text", "finish_reason"),
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
        description="The provider's content filter ends the call; the user gets no answer or a truncated one.",
        fix="Look at what is sent: quoted user text and retrieved pages can trigger filters. Handle the finish reason and tell the user.",
        validation="Count finish reason 'content_filter' in the next windows.",
        severity="medium",
    ),
    Unit(
        name="malformed_json",
        version=2,
        category="Formatting Errors",
        definition="An answer that is JSON from its first character, or whole in a json fence, does not parse; or the arguments of a tool call begin as JSON and do not",
        source="malformed structured output; TRAIL, Formatting Errors",
        limits="answers over 2,000 characters, and truncated ones, are left to other detectors",
        sql=r"""
          SELECT coalesce(agent_name, model, name) AS key, coalesce(agent_name, model, name) AS subject, trace_id, span_id,
            span_id AS origin_span_id, 'output_text' AS field, left(output_head, 300) AS quote
          FROM _s WHERE span_type = 'llm' AND NOT failed AND output_length BETWEEN 2 AND 2000 AND coalesce(finish_reason, 'stop') = 'stop'
            AND (regexp_matches(output_head, '^\s*\{\s*"') AND NOT json_valid(output_head)
                AND NOT list_bool_and(list_transform(string_split(trim(output_head), chr(10)), lambda l: trim(l) = '' OR json_valid(l)))
                AND NOT (length(output_head) - length(replace(output_head, '{', '')) = length(output_head) - length(replace(output_head, '}', ''))
                  AND NOT regexp_matches(output_head, '[}\]]\s*$'))
              OR regexp_matches(output_head, '(?s)^\s*```json\s*[{\[].*```\s*$') AND NOT json_valid(regexp_extract(output_head, '(?s)^\s*```json\s*(.*?)\s*```\s*$', 1)))
          UNION ALL
          SELECT call_name || '|arguments', call_name, c.trace_id, c.span_id, c.span_id, 'name', s.name
          FROM _calls c JOIN _s s USING (trace_id, span_id)
          WHERE c.arguments_type = 'VARCHAR' AND call_name <> '' AND coalesce(s.finish_reason, '') <> 'length'
            AND regexp_matches(c.arguments->>'$', '^\s*\{') AND NOT json_valid(c.arguments->>'$')
        """,
        title="{subject} writes invalid JSON",
        description="What begins as a JSON object is not valid JSON; what parses it fails.",
        fix="Use the provider's structured output for this call, or validate it and return the parser's message to the model.",
        validation="Every answer of this agent that begins with '{' should parse.",
        confidence=0.9,
    ),
)  # fmt: skip

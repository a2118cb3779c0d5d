"""Answers: truncated, empty, malformed, filtered, leaking, claimed without a call, unfounded after an empty retrieval."""

from __future__ import annotations

from halo_worker.analysis.detectors.detector import Unit
from halo_worker.analysis.detectors.tables import ADMITS, ENDING, NEGATES, READING, thrice

_ADMITS = ADMITS.replace("'", "''")
_NEGATES = NEGATES.replace("'", "''")

# Actions an agent says it has done, and words that the name of a tool which does them would hold.
CLAIMS = (
    ("refund", r"(refunded|(issued|processed|initiated|submitted) (a|the|your|that|this)( \w+){0,2} refund)", "refund|payment|return|credit|revers|money|billing"),
    ("send", r"(sent|emailed|e-mailed|mailed|notified|messaged|texted|forwarded|alerted)", "send|mail|notif|messag|slack|sms|text|contact|alert|post|publish|webhook|communicat|reply|outlook|forward"),
    ("book", r"(booked|reserved|scheduled|rescheduled)", "book|reserv|schedul|calendar|appointment|event|meeting|order"),
    ("cancel", r"(cancell?ed)", "cancel|terminat|stop|delet|remov|refund|update|change"),
    ("create", r"(created|opened|filed|submitted|raised|logged|registered) (a|an|the|your|this|that) (\w+ ){0,2}(ticket|issue|case|complaint|account|order|pull request|request|incident|claim|task|event|booking|dispute)", "create|open|file|submit|ticket|issue|case|account|pull|add|new|register|insert|post|write|save|raise|log|report|jira|incident|complain|order|book"),
    ("update", r"(updated|changed|modified|corrected|adjusted|reset|renewed|upgraded|downgraded) (your|the|that|this|their) (\w+ ){0,2}(address|account|order|subscription|record|profile|plan|password|email|settings?|booking|ticket|phone|status|limit|database|configuration|reservation)", "updat|chang|set|edit|modif|reset|write|save|patch|put|upsert|manage|renew|upgrad|downgrad|adjust|correct"),
    ("delete", r"(deleted|removed|erased|purged) (your|the|that|this|all|their)", "delet|remov|eras|purg|drop|clean|clear|edit|write|updat|cancel|file|trash|patch"),
    ("transfer", r"((transferred|wired|deposited|withdrawn|charged|paid) (the|your|it|that|this|[$€£]?\d[\d.,]*)|(processed|completed|made|submitted|authori[sz]ed) (the|your|a|that) (\w+ )?(payment|transfer|transaction))", "transfer|pay|wire|charg|deposit|withdraw|send|money|billing|purchas"),
    ("purchase", r"(purchased|bought|placed (an|the|your|that) order)", "order|purchas|buy|cart|checkout|place|book"),
    ("operate", r"(deployed|rolled back|reverted|restarted|rebooted|redeployed|scaled (up|down)|(just )?(pushed|merged|committed|released|published) (the|your|a|my|all|these|this))", "deploy|roll|revert|restart|reboot|merg|scal|git|kube|helm|apply|edit|patch|write|push|commit|releas|publish"),
    ("block", r"(blocked|frozen|froze|locked|suspended|disabled|enabled|activated|deactivated|unlocked|unblocked) (your|the|that|this|it|his|her|their)", "block|freez|lock|suspend|disabl|enabl|activat|updat|set|change"),
    ("run", r"(ran|executed|run|re-?ran) (all |the |your |our )*(unit |integration )?(tests?|test suite|benchmarks?)", "test|build|bench|ci"),
    ("escalate", r"(escalated|handed (this|it|you) over|connected you)", "escalat|hand|transfer|assign|human|ticket|queue|notif|send|page"),
)  # fmt: skip
# Tools that can do anything.
_ANYTHING = r"(?i)(bash|shell|exec|command|terminal|python|interpreter|http|request|api|browser|computer|workflow|action|code|sql|invoke|mcp|cli|github|gitlab|jira|stripe|salesforce|hubspot|zendesk|zapier|notion|airtable|crm|erp|twilio|gmail|outlook|google|aws|database|assistant|perform|manage|handle|process)"
_ADVERBS = r"((just|already|now|also|successfully|immediately|gone ahead and|went ahead and) )*"
_I_DID = r"\bI(''ve| have|) " + _ADVERBS
_WAS_DONE = r"\b(has|have) (now |just |already |successfully |also )*been (successfully |now )*"
_IF = r"\b(once|after|when|if|until|before|unless|whether|as soon as) "
_LOOKED = (
    r"\bI(''ve| have|) " + _ADVERBS + r"(searched|checked|queried|looked through|verified|consulted|reviewed) "
    r"((in|with|against|through) )?(the|our|your|their|all) (\w+ )?(database|records|system|web|internet|inventory|calendar|logs|documentation|docs|knowledge base|repository|catalog(ue)?)\b"
)

# What providers' keys, private keys and payment cards look like. Shapes that documentation shows (sk-..., a key cut
# short, AKIAIOSFODNN7EXAMPLE) are left out by length and by the word.
KEY_SHAPES = (
    r"\b(sk-(proj-|ant-|svcacct-|or-v1-)?[A-Za-z0-9_-]{32,}|[sr]k_live_[A-Za-z0-9]{16,}|whsec_[A-Za-z0-9]{24,}|AKIA[0-9A-Z]{16}|ASIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{50,}"
    r"|glpat-[A-Za-z0-9_-]{20,}|npm_[A-Za-z0-9]{36}|hf_[A-Za-z0-9]{30,}|xox[baprs]-[0-9A-Za-z-]{24,}|AIza[0-9A-Za-z_-]{35}|ya29\.[0-9A-Za-z_-]{30,}|SG\.[\w-]{20,}\.[\w-]{30,}"
    r"|eyJ[A-Za-z0-9_-]{16,}\.eyJ[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,})"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----|\b(postgres(ql)?|mysql|mariadb|mongodb(\+srv)?|redis|amqps?|mssql|ftp|https?)://[^\s:/@]{1,60}:[^\s:/@*<{$]{6,}@[\w.-]+"
    r"|\b[45]\d{3}[ -]\d{4}[ -]\d{4}[ -]\d{4}\b|\b\d{3}-\d{2}-\d{4}\b"
    r"|(?i:\b(password|passwd|(aws_)?secret([_ ]access)?[_ ]key|api[_ -]?key|access[_ -]?token|client[_ -]?secret)[\"']?\s*(is|=|:)\s*[\"']?[^\s\"'<>*{}$()\[\]]{10,})"
)
NOT_REAL = r"(?i)example|xxxx|1234-?5678|123-45-6789|000-00|(0000[ -]?){2}|(1111[ -]?){2}|(4242[ -]?){2}|your|password@|user(name)?:pass|redacted|placeholder"
MIN_PROMPT = 40  # characters of an agent's instructions, said again word for word, that are a leak
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


_CLAIMANT = "coalesce(nullif(f.agent_name, ''), nullif(f.service_name, ''), 'an agent')"
# What is claimed, in the words of a title.
CLAIMED = {
    "refund": "refunds it did not make", "send": "messages it did not send", "book": "bookings it did not make",
    "cancel": "cancellations it did not make", "create": "records it did not create",
    "update": "changes it did not make", "delete": "deletions it did not make",
    "transfer": "payments it did not make", "purchase": "purchases it did not make",
    "operate": "deployments it did not make", "block": "account changes it did not make",
    "run": "test runs it did not make", "escalate": "escalations it did not make", "look up": "lookups it did not make",
}  # fmt: skip


def _quoted(pattern: str) -> str:
    return pattern.replace("'", "''")


def _claim(name: str, done: str, tool: str) -> str:
    """Find answers that claim an action which no call of the trace could have done.

    Passive claims (`has been cancelled`) also need that no result speaks of it: else the answer reports what was there.
    """
    first, passive = f"{_I_DID}{done}\\b", f"{_WAS_DONE}{done}\\b"
    return f"""
      SELECT '{name}' AS key, {_CLAIMANT} AS subject, trace_id, span_id, span_id AS origin_span_id, 'output_text' AS field, quote
      FROM (
        SELECT f.*, regexp_matches(answer, '(?i){first}') AS by_itself,
          regexp_extract(answer, '(?i)[^.!?\\n]*({first}|{passive})[^.!?\\n]*') AS quote
        FROM _claiming f WHERE regexp_matches(answer, '(?i){first}|{passive}')
      ) f
      WHERE NOT regexp_matches(quote, '(?i){_IF}(I(''ve| have|)|\\w+ \\w+) (\\w+ ){{0,3}}{done}') AND NOT regexp_matches(quote, '{_ADMITS}')
        AND NOT EXISTS (SELECT 1 FROM _done d WHERE d.trace_id = f.trace_id AND regexp_matches(d.work, '(?i){tool}'))
        AND NOT EXISTS (SELECT 1 FROM _done d WHERE d.trace_id = f.trace_id AND d.anything)
        AND (by_itself OR NOT EXISTS (SELECT 1 FROM _s r WHERE r.trace_id = f.trace_id AND r.span_type IN ('tool', 'retriever')
          AND regexp_matches(r.output_head, '(?i){tool}')))
        AND f.service_name IN (SELECT service_name FROM _with_tools)
    """


# That something was looked up, in a trace without one call.
_LOOKUP_CLAIM = f"""
  SELECT 'look up' AS key, {_CLAIMANT} AS subject, trace_id, span_id, span_id AS origin_span_id, 'output_text' AS field,
    regexp_extract(answer, '(?i)[^.!?\\n]*{_LOOKED}[^.!?\\n]*') AS quote
  FROM _final f WHERE regexp_matches(answer, '(?i){_LOOKED}') AND f.service_name IN (SELECT service_name FROM _with_tools)
    AND NOT EXISTS (SELECT 1 FROM _s t WHERE t.trace_id = f.trace_id AND (t.span_type IN ('tool', 'retriever', 'embedding', 'reranker', 'memory')
      OR t.span_type IS NULL AND t.parent_span_id IS NOT NULL))
    AND NOT EXISTS (SELECT 1 FROM _calls c WHERE c.trace_id = f.trace_id)
"""

# What was done in a trace that may have changed something: successful calls of tools that do more than look, and spans
# of other code below the root. Calls of tools without spans of their own count as done.
PREPARE = f"""
CREATE OR REPLACE TEMP TABLE _done AS
SELECT DISTINCT trace_id, work, regexp_matches(work, '{_ANYTHING}') AS anything FROM (
  SELECT s.trace_id, coalesce(tool_name, CASE WHEN span_type = 'agent' THEN agent_name END, name) AS work FROM _s s ANTI JOIN _bad_calls b USING (trace_id, span_id)
  WHERE NOT failed AND parent_span_id IS NOT NULL AND (span_type IN ('tool', 'task', 'chain', 'agent', 'other') OR span_type IS NULL)
  UNION ALL
  SELECT trace_id, call_name FROM _calls WHERE service_name NOT IN (SELECT service_name FROM _s WHERE span_type = 'tool')
) WHERE work IS NOT NULL AND NOT regexp_matches(work, '{READING}');
CREATE OR REPLACE TEMP TABLE _claiming AS SELECT * FROM _final WHERE regexp_matches(answer, '(?i)\\b(i|i''ve|been)\\b');
CREATE OR REPLACE TEMP TABLE _with_tools AS
SELECT DISTINCT service_name FROM _s WHERE span_type = 'tool' OR len(tools_offered) > 0
"""

_EMPTY = (
    r'(?is)^\s*(|\[\s*\]|\{\s*\}|null|none|""|(found )?(no|0|zero) (relevant |matching )?(results?|documents?|matches|hits|entries|records|data|information)( were)?( found)?.{0,60}|nothing found.{0,40}'
    r'|\{(\s*"(query|q|took\w*|elapsed\w*|page|total\w*|count|status|ok|success|max_score|num_results|message|limit|offset|next\w*|has_more)"\s*:\s*("[^"]*"|[\d.]+|true|false|null)\s*,)*'
    r'\s*"(results|documents|docs|matches|hits|items|data|records|rows|passages|chunks|entries|value)"\s*:\s*(\[\s*\]|null)(\s*,\s*"\w+"\s*:\s*("[^"]*"|[\d.]+|true|false|null))*\s*\})\s*$'
)
# Search engines wrap their nothing: an object of empty lists, numbers, and short words around them.
_NOTHING_IN_IT = (
    r"""output_length <= 500 AND json_valid(output_head) AND regexp_matches(output_head, '(?i)"(results|documents|docs|hits|matches|items|ids|records|rows|passages|chunks|entries|nodes|sources|contexts)"\s*:\s*\[[\s\[\]]*\]')"""
    r""" AND regexp_matches(regexp_replace(output_head, '"(query|q|search|input|question)"\s*:\s*"[^"]*"|"\w+"\s*:\s*("[^"\s]{0,40}"|-?[\d.]+|true|false|null)', '', 'g'), '^([\s{}\[\],]|"\w+"\s*:)*$')"""
)
_IS_EMPTY = f"(regexp_matches(coalesce(output_head, ''), '{_EMPTY}') OR coalesce({_NOTHING_IN_IT}, false))"

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
        description="The answer is a blanket refusal, although nothing in the request calls for one.",
        fix="State in the instructions what is allowed, show one such request with its answer, and offer a hand-over to a person.",
        validation="Ask the refused questions again: they should be answered.",
        confidence=0.6,
    ),
    Unit(
        name="leaked_secret",
        version=2,
        quotes="exact",
        category="Data Leak",
        definition="A model writes something with the shape of an API key, a token, a private key, a payment card or a social security number",
        source="the published formats of the providers' keys; OWASP LLM02, sensitive information disclosure",
        limits="shapes only: the key may be revoked or an example; keys of other shapes are not seen",
        sql=f"""
          SELECT coalesce(agent_name, model, name) AS key, coalesce(agent_name, model, name) AS subject, trace_id, span_id,
            span_id AS origin_span_id, 'output_text' AS field,
            left(secret, 12) AS quote
          FROM (SELECT *, regexp_extract(output_head, '{_quoted(KEY_SHAPES)}') AS secret FROM _s WHERE span_type = 'llm' AND regexp_matches(output_head, '{_quoted(KEY_SHAPES)}')) s
          WHERE NOT regexp_matches(secret, '{NOT_REAL}')
            AND (NOT regexp_matches(secret, '(?i)^(pass|secret|aws_|api|access|client)') OR regexp_matches(regexp_extract(secret, '\\S+$'), '\\d') AND regexp_matches(regexp_extract(secret, '\\S+$'), '[A-Za-z]'))
            -- The user's own words said back to them are no leak.
            AND NOT EXISTS (SELECT 1 FROM spans u WHERE u.trace_id = s.trace_id AND u.parent_span_id IS NULL AND contains(u.input_text, s.secret))
        """,
        title="{subject} writes what looks like a secret",
        description="An answer holds a key, token, card or social security number. Only the first characters are quoted here.",
        fix="Revoke it, find where the model read it (prompt, tool result, document), and filter answers for such shapes.",
        validation="No answer should match the shape again.",
        confidence=0.85,
        severity="high",
    ),
    Unit(
        name="leaked_prompt",
        version=2,
        category="Data Leak",
        definition="An answer holds the beginning of the agent's own instructions word for word",
        source="OWASP LLM07, system prompt leakage",
        limits=f"the first {MIN_PROMPT} to 80 characters; paraphrases and later parts are not seen; needs captured messages",
        sql=f"""
          SELECT coalesce(agent_name, model, name) AS key, coalesce(agent_name, model, name) AS subject, trace_id, span_id,
            span_id AS origin_span_id, 'output_text' AS field, system_head AS quote
          FROM _s WHERE span_type = 'llm' AND length(system_head) >= {MIN_PROMPT} AND contains(output_head, system_head)
        """,
        title="{subject} reveals its instructions",
        description="An answer repeats the system prompt word for word.",
        fix="Keep secrets and confidential rules out of the prompt; filter answers for its first sentence.",
        validation="No answer should hold the first sentence of the instructions.",
        confidence=0.9,
        severity="high",
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
            arg_max(span_id, start_time) AS origin_span_id, 'output_text' AS field, arg_max(regexp_extract(output_head, '{_quoted(STOPPED)}'), start_time) AS quote
          FROM _s WHERE span_type IN ('llm', 'agent', 'workflow', 'chain') AND NOT failed AND output_length < 300 AND regexp_matches(output_head, '{_quoted(STOPPED)}')
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
          WHERE s.output_length < 2000 AND (len(s.tools_offered) > 0 OR f.service_name IN (SELECT service_name FROM _with_tools)) AND regexp_matches(f.answer, '{_quoted(PROMISE)}')
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
    Unit(
        name="claimed_action",
        version=2,
        category="Tool-related",
        definition="The final answer says that something was done, and no call in the trace could have done it",
        source="TRAIL, tool-related hallucination; 'claimed usage' of AWS Strands evaluations",
        limits="English phrases; only where the fleet's tool calls are captured; actions outside the trace are not seen",
        sql=" UNION ALL ".join((*(_claim(*claim) for claim in CLAIMS), _LOOKUP_CLAIM)),
        what=CLAIMED,
        title="{subject} claims {what}",
        description="The final answer tells the user that something was done ({key}), but no successful tool call in the trace could have done it.",
        fix="Let answers report actions from tool results only: require the tool's confirmation id before the turn ends.",
        validation="Every answer that reports an action should have the matching tool span in its trace.",
        confidence=0.75,
        severity="high",
    ),
    Unit(
        name="unfounded_after_empty_retrieval",
        version=2,
        category="Language-only",
        definition="Every retrieval of a trace comes back empty, and the final answer does not say so",
        source="TRAIL, language-only hallucination; grounding checks of retrieval evaluations",
        limits="needs retrieval results; general knowledge may have been enough for the answer",
        sql=f"""
          WITH looked AS (
            SELECT trace_id, span_id, start_time, span_type, output_head IS NOT NULL AS captured, {_IS_EMPTY} AS empty,
              span_type = 'retriever' OR regexp_matches(coalesce(tool_name, name), '(?i)(search|retriev|knowledge|lookup|look_up|vector|rag\\b|wiki|docs?\\b|document|kb\\b|kb_|faq|polic|query_index)') AS retrieves
            FROM _s WHERE NOT failed AND (span_type = 'retriever' OR span_type = 'tool' AND regexp_matches(coalesce(tool_name, name), '{READING}|(?i)(search|retriev|lookup)'))
              AND (output_head IS NOT NULL OR span_type = 'retriever')
          ),
          r AS (
            SELECT trace_id, max(start_time) AS at_, bool_and(empty) AS empty, bool_or(captured) AS captured, bool_and(retrieves) AS retrieves
            FROM looked GROUP BY trace_id
          ),
          captured AS (SELECT count(*) AS n FROM _s WHERE span_type = 'retriever' AND output_length > 2)
          SELECT coalesce(f.agent_name, f.service_name, 'the agent') AS key, coalesce(f.agent_name, f.service_name, 'the agent') AS subject, f.trace_id, f.span_id,
            f.span_id AS origin_span_id, 'output_text' AS field, left(f.answer, 300) AS quote
          FROM r JOIN _final f ON f.trace_id = r.trace_id AND f.end_time > r.at_
          WHERE r.empty AND (r.captured OR (SELECT n FROM captured) > 0) AND length(f.answer) >= 40
            AND NOT regexp_matches(f.answer, '{_ADMITS}') AND (r.retrieves OR NOT regexp_matches(f.answer, '{_NEGATES}') AND regexp_matches(f.answer, '\\d'))
            AND NOT EXISTS (SELECT 1 FROM _s o WHERE o.trace_id = r.trace_id AND o.span_type IN ('tool', 'retriever') AND NOT o.failed
              AND o.output_length > 0 AND NOT {_IS_EMPTY.replace("output_", "o.output_")})
          UNION ALL
          SELECT coalesce(f.agent_name, f.service_name, 'the agent'), coalesce(f.agent_name, f.service_name, 'the agent'), f.trace_id, f.span_id, f.span_id, 'output_text', left(f.answer, 300)
          FROM (
            SELECT trace_id, max(start_time) AS at_ FROM _told GROUP BY trace_id
            HAVING bool_and({_IS_EMPTY}) AND bool_and(regexp_matches(tool_name, '(?i)(search|retriev|knowledge|lookup|look_up|wiki|docs?\\b|document|kb_|faq)'))
          ) r JOIN _final f ON f.trace_id = r.trace_id AND f.end_time > r.at_
          WHERE length(f.answer) >= 40 AND NOT regexp_matches(f.answer, '{_ADMITS}')
        """,
        title="{subject} answers from an empty retrieval",
        description="Retrieval returns nothing and the agent answers as if it had sources.",
        fix="Tell the agent what to answer when retrieval is empty, return 'no documents found' as text, and require a citation for each claim.",
        validation="Answers after an empty retrieval should say that nothing was found.",
        confidence=0.75,
        severity="high",
    ),
)  # fmt: skip

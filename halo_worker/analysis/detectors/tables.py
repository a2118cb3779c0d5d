"""Tables that several detectors share: tool calls, errors with their class, results that are errors."""

from __future__ import annotations

from halo_receiver.store.reader import Reader
from halo_worker.analysis import lexicon


def _code(numbers: str) -> str:
    """Match an HTTP status where it stands as one: after a word for it, at the start of a line, or before its name."""
    return (
        rf"\b(https?|status|code|error|response|returned|answered)(/[\d.]+)?\W{{0,3}}(code|status|error)?\W{{0,3}}({numbers})\b"
        rf"|^\W*({numbers})\b|\b({numbers})\W{{1,2}}(client|server|error|unauthori|forbidden|not found|too many|internal|bad|service|gateway)"
    )


# Classes of errors, in the order they are tried: the first that matches names it. Of type, message and status, a line each.
ERROR_CLASSES = (
    ("unknown_tool", r"(unknown|unrecogni[sz]ed|nonexistent|undefined|unregistered|invalid|no such) (tool|function)\b|tool ?not ?found|no (tool|function) (named|called)"
                     r"|\b(tool|function)\W{1,3}[\w.-]{1,80}\W{0,2} ?(is |was )?(not (found|available|registered|recogni[sz]ed|defined|a valid)|does ?n[o']t exist|unknown)|is not a valid (tool|function)"),
    ("turn_limit", r"max(imum)?[ _-]?(number of )?(agent )?(turns|iterations|steps|rounds)|(turn|step|iteration|recursion)[ _-]?limit|maxturns|graphrecursion|usagelimitexceeded"
                   r"|too many (turns|iterations|steps)"),
    ("context_length", r"context.?(length|window)|maximum context|too many (input )?tokens|(prompt|input|request|message) is too (long|large)|tokens? > \d+ max|reduce the length"),
    ("rate_limit", _code("429") + r"|rate.?limit|too ?many ?requests|insufficient_quota|quota (has been |is |was )?exceeded|exceeded your (current )?quota|throttl|(tokens|requests) per (min|sec|day|hour)"),
    ("authentication", _code("401|403") + r"|unauthori[sz]ed|unauthenticated|not authori[sz]ed|forbidden|(access|permission) ?denied|permission ?error|authentication|authorization failed"
                       r"|(invalid|incorrect|missing|expired|bad|wrong|no|revoked) (api.?key|credentials?|(access |auth |bearer )?token|password|signature)|(token|credentials?|api.?key|session) (has |have |is |was )?(expired|invalid|revoked|missing)"
                       r"|login required|not logged in"),
    ("timeout", r"time[ds]?[ -_]?out|deadline.?exceeded|took too long|no (answer|response|reply) (within|after)|" + _code("408|504")),
    ("model_code", r"(unexpected keyword|missing \d+ required|takes \d+ positional) ?argument|pars(ing|er|e) ?(error|exception)|"
                   r"syntax ?error|indentation ?error|name ?error|interpreter ?error|code execution failed"),
    ("environment", r"modulenotfound|importerror|no module named|command not found|cannot (import|find module)|not installed|executable file not found|no such (command|executable)"
                    r"|missing (dependency|module|package|binary|library)|environment variable|shared object file|\w+_(key|token|url|host|path) (is|was|must be) (not )?(set|defined|configured)"),
    ("exhaustion", r"out of memory|memoryerror|oom.?kill|no space left|enospc|disk (quota|full|is full)|resource.?exhausted|too many open files|emfile|heap (limit|out)|killed by signal|sigkill"),
    ("service", _code("50[0-35-9]|52\\d") + r"|internal ?server ?error|bad ?gateway|service ?(is )?(temporarily )?unavailable|overloaded|\benotfound|econn(refused|reset|aborted)|epipe|getaddrinfo|name resolution|no such host"
                r"|connect(ion)? ?(was )?(refused|reset|aborted|error|closed|lost|failed)|upstream|remote end closed|ssl ?error|certificate|network (is )?(unreachable|error)|backend (is )?(down|unavailable)|server (is )?(down|busy)"),
    ("not_found", _code("404|410") + r"|not.?found|no such|does ?n[o']t exist|unknown (id|key|path|name|user|record|resource|prompt)|no (record|entry|row|item)s?\b|keyerror"),
    ("no_results", r"no (results?|matches|documents|records) (were )?found|returned no results"),
    ("format", r"json|pars(e|ing)|syntax ?error|validation|invalid (argument|parameter|input|request|value|format|type)|schema|"
               r"missing (required|\d+ required|field|parameter)|field required|unexpected (keyword|token|character)|badrequest|output.?(parser|validation)|" + _code("400|409|41[25]|422")),
)  # fmt: skip
ERROR_CLASSES_SQL = tuple((name, pattern.replace("'", "''")) for name, pattern in ERROR_CLASSES)

# An answer that tells the user what did not work. Anchored to whole phrases, so that a topic does not count.
ADMITS = (
    r"(?i)(\b(which|what|could you|can you|would you|please (provide|share|tell|confirm|send)|do you (have|mean))\b[^.!?]{3,120}\?\s*$"
    r"|\b((could|can|ca|would|will|wo) ?n[o']t|cannot|(could|can) not|unable to|(was|were|am|is|are) ?n[o']t able|not able to"
    r"|did ?n[o']t (find|get|receive|return|work|succeed|respond|load|complete|go|manage|turn|match|have|see|exist)|did not (find|get|receive|return|work|succeed|respond|load|complete|go|manage|turn|match|have|see|exist)"
    r"|(do|does)( ?n[o']t| not) (have|know|see|find|cover|contain|include|show|list|exist|seem|appear|recogni[sz]e|work|respond|match|hold|mention)"
    r"|(is|are|was|were|has|have)( ?n[o']t| not) (available|found|there|in|working|responding|listed|possible|been|successful|any|a valid|a known|reachable|clear|recogni[sz]ed|complete)"
    r"|no (such|matching|relevant|results?|information|records?|data|entry|entries|answer|match|matches|documents?|longer available)|there (is|are|was|were) (no (\w+ )?(record|result|order|booking|document|entry|match)|nothing|none)"
    r"|not (found|available|sure|certain)|nothing (was|turned|came|found|matching|in|about|for|on|like)|none (was|were|of|found|in|that)|unfortunately|apologi[sz]e|i'?m (sorry|afraid)|sorry"
    r"|fail(ed|s|ure|ures)?|went wrong|(an?|the|some|this|technical|internal|unexpected|server|system|following|access) (error|exception|problem|issue|outage|failure)|errors? (was|were|occurred|message|code|while|when)|(ran|run) into|encountered"
    r"|without success|unsuccessful|(is|are|was|were|seems|appears|currently|temporarily) (currently |temporarily )?(down|offline|unreachable|denied|rejected|broken)|unavailable|time[ds]? ?out|please (check|verify|try again|double-check)|don'?t know|again later)\b)"
)
# Any sort of no: for results that may rightly be empty.
NEGATES = (
    r"(?i)\b(no|not|none|nothing|never|nobody|nowhere|without|zero|0|empty|neither|unknown|missing|\w+n't|cannot)\b"
)

# Words with which an answer passes on a no, for results that are one: {"ok": false, "reason": "too young"}.
DENIES = r"(?i)\b(not|no|never|cannot|\w+n't|yet|only|until|too)\b"

# Tools that only end a run: calling them does no work, and many frameworks run no span for them.
ENDING = "(?i)^(final_?(answer|result|output|response)|finish|submit|done|respond|answer|end|complete|transfer_|handoff|delegate)"
# Tools that look and change nothing, by their name.
READING = (
    "^(?i:get|find|search|list|check|read|lookup|look_up|query|fetch|show|view|describe|retrieve|count|is|has|calc|calculate|estimate"
    r"|quote|load|browse|grep|inspect|analy[sz]e|validate|verify|compare|summari[sz]e|kb|rag|knowledge)([_\W]|[A-Z]|$)|(?i:[_-](status|info|details|lookup|search|list|history)$)"
)


def prepare(reader: Reader) -> None:
    """Make `_calls`, `_bad_results`, `_bad_calls`, `_told`, `_bad_told` and `_errors` from `_s`, `_inner` and the spans."""
    classes = " ".join(
        f"WHEN regexp_matches(said, '(?im){pattern}') THEN '{name}'" for name, pattern in ERROR_CLASSES_SQL
    )
    execute = reader.connection.execute
    reader.scratch.table(
        "_calls",
        """
        SELECT trace_id, span_id, start_time, end_time, service_name, agent_name, model, tools_offered, definitions,
          call_id, call_name, json_type(said) AS arguments_type, hash(said::VARCHAR) AS said_hash,
          CASE WHEN length(said::VARCHAR) <= 1000 THEN said END AS arguments,
          CASE WHEN json_type(said) = 'OBJECT' AND length(said::VARCHAR) <= 20000 THEN json_structure(said)::VARCHAR END
            AS structure
        FROM (
          SELECT * EXCLUDE (call), call->>'id' AS call_id, call->>'name' AS call_name, call->'arguments' AS said FROM (
            SELECT trace_id, span_id, start_time, end_time, service_name, agent_name, model, tools_offered, definitions,
              unnest(tool_calls) AS call
            FROM _s WHERE tool_calls IS NOT NULL
          )
        )
        """,
    )
    execute(_BAD_RESULTS)
    execute(_BAD_CALLS)
    execute(_TOLD)
    # The deepest error of each chain only: the spans above repeat it. `passed`: the same work succeeded later: the same
    # tool, or another one with the same arguments; of model calls, any later one of the agent.
    execute(f"""
        CREATE OR REPLACE TEMP TABLE _errors AS
        WITH work AS (
          SELECT trace_id, start_time, failed, {_WORK} AS work,
            CASE WHEN span_type = 'tool' AND length(arguments) > 2 THEN input_hash END AS same
          FROM _s ANTI JOIN _inner USING (trace_id, span_id) WHERE trace_id IN (SELECT trace_id FROM _s WHERE failed)
        ),
        good AS (
          SELECT trace_id, work, max(start_time) AS at_ FROM (
            SELECT trace_id, work, start_time FROM work WHERE NOT failed
            UNION ALL SELECT trace_id, 'same ' || same, start_time FROM work WHERE NOT failed AND same IS NOT NULL
          ) GROUP BY ALL
        )
        SELECT *, CASE {classes} ELSE 'other' END AS class FROM (
          SELECT s.trace_id, s.span_id, s.parent_span_id, s.name, s.span_type, s.start_time, s.tool_name, s.tool_call_id,
            s.error_type, s.error_signature, s.error_message, s.status_message,
            concat_ws(chr(10), s.error_type, s.error_message, s.status_message) AS said,
            coalesce(s.tool_name, CASE WHEN s.span_type IN ('llm', 'embedding') THEN nullif(s.model, '') END,
              CASE WHEN s.span_type IS NOT NULL THEN s.agent_name END, s.name) AS subject,
            coalesce(w.at_ > s.start_time, false) OR coalesce(o.at_ > s.start_time, false) AS passed
          FROM _s s
          LEFT JOIN (SELECT DISTINCT trace_id, parent_span_id FROM _s WHERE failed AND control IS NULL) c
            ON c.trace_id = s.trace_id AND c.parent_span_id = s.span_id
          LEFT JOIN good w ON w.trace_id = s.trace_id AND w.work = {_work_of("s")}
          LEFT JOIN good o ON s.span_type = 'tool' AND length(s.arguments) > 2 AND o.trace_id = s.trace_id
            AND o.work = 'same ' || s.input_hash
          WHERE s.failed AND s.control IS NULL AND c.trace_id IS NULL
        )
    """)
    # A client error of a plain span, under a tool that ended well, was the tool's to handle.
    execute("""
        DELETE FROM _errors e WHERE e.span_type IS NULL AND e.class IN ('not_found', 'format', 'no_results') AND EXISTS (
          SELECT 1 FROM _s p ANTI JOIN _bad_results b ON b.trace_id = p.trace_id AND b.span_id = p.span_id
          WHERE p.trace_id = e.trace_id AND p.span_id = e.parent_span_id AND NOT p.failed AND p.span_type IN ('tool', 'retriever'))
    """)


def _work_of(table: str) -> str:
    t = f"{table}." if table else ""
    return f"CASE WHEN {t}span_type = 'llm' THEN 'llm ' || coalesce({t}agent_name, '') ELSE coalesce({t}tool_name, {t}name) END"


_WORK = _work_of("")


def thrice(columns: str, among: str, *, table: str = "_s") -> str:
    """Say of a row that two others may have the same values: over numbers alone, ahead of what tells it for sure."""
    return (
        f"hash({columns}) IN (SELECT hash({columns}) AS h FROM {table} WHERE {among} GROUP BY h HAVING count(*) >= 3)"
    )


def _filled(member: str) -> str:
    """A member of the JSON result that is there and says something."""
    return (
        f"(json_type(r, '$.{member}') = 'VARCHAR' AND NOT regexp_matches(trim(r->>'$.{member}'), '(?i)^(|none|null|no|ok|false|0|-|n/a|no errors?)$')"
        f" OR json_type(r, '$.{member}') = 'OBJECT' AND (r->>'$.{member}') <> '{{}}')"
    )


def _number(member: str) -> str:
    return f"coalesce(try_cast(r->>'$.{member}' AS INTEGER), 0)"


def _one_of(members: str, test: str) -> str:
    return "(" + " OR ".join(test.format(member=member) for member in members.split()) + ")"


_HAS_WORDS = _one_of("message reason detail details error cause body", "json_exists(r, '$.{member}')")
_IS_RECORD = r"regexp_matches(output_head, '\"(\w+_)?id\"\s*:')"
_STRONG = f"""
  {_filled("error")} OR {_filled("exception")} OR {_filled("error_message")} OR {_filled("errorMessage")} OR {_filled("traceback")}
  OR json_type(r, '$.error') = 'BOOLEAN' AND (r->>'$.error') = 'true' OR json_type(r, '$.error') = 'ARRAY' AND json_array_length(r, '$.error') > 0
  OR {_one_of("isError  is_error", "(r->>'$.{member}') = 'true'")}
"""
_WEAK = f"""
  json_type(r, '$.errors') = 'ARRAY' AND json_array_length(r, '$.errors') > 0 AND (json_type(r, '$.data') = 'NULL' OR len(json_keys(r)) = 1)
  OR {_one_of("success ok succeeded", "json_type(r, '$.{member}') = 'BOOLEAN' AND (r->>'$.{member}') = 'false'")}
  OR {_one_of("status state outcome type", "lower(r->>'$.{member}') IN ('error', 'exception')")}
  OR {_one_of("status state outcome result", "lower(r->>'$.{member}') IN ('failed', 'failure', 'fail', 'unavailable', 'timeout')")} AND {_HAS_WORDS} AND NOT {_IS_RECORD}
  OR {_number("status")} BETWEEN 400 AND 599 OR {_number("status_code")} BETWEEN 400 AND 599 OR {_number("statusCode")} BETWEEN 400 AND 599
  OR {_number("http_status")} BETWEEN 400 AND 599 OR {_number("code")} BETWEEN 400 AND 599 AND {_HAS_WORDS}
  OR {_one_of("exit_code exitCode exit_status exitStatus returncode return_code", "coalesce(try_cast(r->>'$.{member}' AS INTEGER), 0) <> 0")}
"""
# {"message": "Internal Server Error"} and the like: an object that says nothing else.
_SAID = "coalesce(r->>'$.message', r->>'$.detail', r->>'$.msg', r->>'$.reason', r->>'$.Message')"
_ONLY_SAYS = f"len(json_keys(r)) <= 3 AND regexp_matches({_SAID}, '(?i)^\\W*(internal (server )?error|bad gateway|bad request|gateway time|service (is )?(temporarily )?unavailable|not found|forbidden|unauthori[sz]ed|too many requests|endpoint request timed out|missing authentication|request (failed|timed out)|method not allowed|upstream)')"
# A result whose JSON object is cut off: what its first member says.
_CUT_OBJECT = (
    r"(?is)^\s*\{\s*['\"](error|errors|exception)['\"]\s*:\s*['\"\{\[]\s*[^\s\]\}'\"]"
    r"|^\s*\{[^\{\}]*['\"](success|ok)['\"]\s*:\s*false"
).replace("'", "''")


# Results that are errors although the status is not ERROR. Words count where the text is short and speaks of one failure.
def _bad(source: str) -> str:
    """Name the results in `source` that are errors; `weak`: an answer may pass them on as a no.

    `source` has trace_id, span_id, name, tool_name, output_head (2,000 characters), output_length, result_tail.
    """
    return f"""
SELECT trace_id, span_id, output_head, coalesce(is_json AND NOT coalesce({_STRONG}, false), false) AS weak FROM (
  SELECT *, CASE WHEN is_json THEN output_head::JSON END AS r FROM (
    SELECT trace_id, span_id, output_head, output_length, coalesce(result_tail, right(output_head, 300)) AS tail,
      {lexicon.inspects("coalesce(tool_name, name)")} AS inspects,
      output_length <= 2000 AND starts_with(ltrim(output_head), '{{') AND json_valid(output_head) AS is_json
    FROM ({source})
  )
)
WHERE CASE WHEN is_json THEN coalesce({_STRONG}, false) OR NOT inspects AND (coalesce({_WEAK}, false) OR coalesce({_ONLY_SAYS}, false))
  WHEN starts_with(ltrim(output_head), '{{') THEN regexp_matches(output_head, '{_CUT_OBJECT}')
  WHEN {_SURE_START} OR {_SURE_END} THEN true
  WHEN inspects OR output_length > {MAX_WORDS} THEN false
  ELSE {_IN_WORDS} AND len(list_distinct(regexp_extract_all(output_head, '\\b[45]\\d\\d\\b'))) <= 1 END
"""


MAX_WORDS = 600  # characters of a result that its words may tell as failed: a document about errors is longer
_FAILED = lexicon.entries("failed_result")
_SURE_START, _SURE_END = (
    lexicon.matches(column, (entry for entry in _FAILED if entry.sure and entry.place == place))
    for column, place in (("output_head", "start"), ("tail", "end"))
)
_IN_WORDS = lexicon.matches("output_head", (entry for entry in _FAILED if not entry.sure))

_BAD_RESULTS = f"""
CREATE OR REPLACE TEMP TABLE _bad_results AS
{_bad("SELECT * FROM _s WHERE span_type IN ('tool', 'retriever') AND NOT failed AND output_length > 0")}
"""
# Every span that tells of an attempt with such a result, also where another span holds the result.
_BAD_CALLS = """
CREATE OR REPLACE TEMP TABLE _bad_calls AS
FROM (SELECT trace_id, span_id FROM _bad_results)
UNION SELECT i.trace_id, i.outer_span_id FROM _inner i SEMI JOIN _bad_results USING (trace_id, span_id) WHERE i.at_once;
INSERT INTO _bad_calls SELECT i.trace_id, i.span_id FROM _inner i
JOIN _bad_calls o ON o.trace_id = i.trace_id AND o.span_id = i.outer_span_id WHERE i.at_once
"""
# Services whose tools have no spans: a result is what the model is told after the call it made.
_TOLD = f"""
CREATE OR REPLACE TEMP TABLE _told AS
WITH bare AS (SELECT service_name FROM _s GROUP BY ALL HAVING count(*) FILTER (span_type = 'tool') = 0 AND sum(calls) > 0),
turns AS (
  SELECT trace_id, span_id, start_time, lag(span_id) OVER w AS asking, lag(calls) OVER w AS asked_for
  FROM _s SEMI JOIN bare USING (service_name) WHERE span_type = 'llm' WINDOW w AS (PARTITION BY trace_id ORDER BY start_time, span_id)
)
SELECT t.trace_id, t.span_id, t.start_time, t.asking, c.call_name AS tool_name, c.call_name AS name, left(p.input_text, 2000) AS output_head, length(p.input_text) AS output_length, right(p.input_text, 300) AS result_tail
FROM turns t JOIN _calls c ON c.trace_id = t.trace_id AND c.span_id = t.asking JOIN spans p ON p.trace_id = t.trace_id AND p.span_id = t.span_id
WHERE t.asked_for = 1 AND p.input_text IS NOT NULL;
CREATE OR REPLACE TEMP TABLE _bad_told AS
SELECT t.*, b.weak FROM _told t JOIN ({_bad("FROM _told")}) b USING (trace_id, span_id)
"""


def blame(reader: Reader) -> None:
    """Fill in `origin_span_id` of `_hits`: the model call that asked for the tool, else the last one before it."""
    reader.connection.execute("""
        CREATE OR REPLACE TEMP TABLE _blamed AS
        WITH t AS (
          SELECT h.*, s.span_type, s.tool_call_id, s.start_time FROM _hits h
          JOIN _s s ON s.trace_id = h.trace_id AND s.span_id = h.span_id
        ),
        by_id AS (
          SELECT t.trace_id, t.span_id, min(c.span_id) AS origin FROM t
          JOIN _calls c ON c.trace_id = t.trace_id AND c.call_id = t.tool_call_id GROUP BY ALL
        ),
        by_time AS (
          SELECT t.trace_id, t.span_id, l.span_id AS origin FROM (SELECT DISTINCT trace_id, span_id, start_time FROM t) t
          ASOF JOIN (
            SELECT trace_id, span_id, end_time FROM _s
            WHERE span_type = 'llm' AND end_time IS NOT NULL AND trace_id IN (SELECT trace_id FROM t)
          ) l ON l.trace_id = t.trace_id AND l.end_time <= t.start_time
        )
        SELECT t.detector, t.key, t.subject, t.trace_id, t.span_id, t.field, t.quote, t.also, coalesce(
          t.origin_span_id,
          CASE WHEN t.span_type IN ('tool', 'retriever') OR t.span_type IS NULL OR t.span_type IN ('chain', 'task')
            THEN coalesce(by_id.origin, by_time.origin) END,
          t.span_id) AS origin_span_id
        FROM t LEFT JOIN by_id USING (trace_id, span_id) LEFT JOIN by_time USING (trace_id, span_id)
    """)

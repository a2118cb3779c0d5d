"""Tables that several detectors share: tool calls, final answers, errors with their class and whether they passed."""

from __future__ import annotations

from halo_receiver.store.reader import Reader

# Classes of errors, in the order they are tried: the first that matches names it. Of type, message and status.
ERROR_CLASSES = (
    ("authentication", r"\b(401|403)\b|unauthori[sz]ed|forbidden|invalid api key|permission ?denied|authentication"),
    ("rate_limit", r"\b429\b|rate.?limit|too many requests|insufficient_quota|quota exceeded|throttl"),
    ("context_length", r"context.?length|maximum context|context window|too many tokens|prompt is too long"),
    ("turn_limit", r"max(imum)?[ _]?(number of )?(turns|iterations|steps)|recursion.?limit|maxturns|step limit"),
    ("timeout", r"time[d]?[ -]?out|deadline.?exceeded"),
    ("model_code", r"(unexpected keyword|missing \d+ required|takes \d+ positional) ?argument|pars(ing|er|e) ?(error|exception)|"
                   r"syntax ?error|indentation ?error|name ?error|interpreter ?error|code execution failed"),
    ("environment", r"modulenotfound|importerror|no module named|command not found|cannot import|environment variable"),
    ("not_found", r"\b404\b|not.?found|no such|does not exist|unknown (id|key|path)"),
    ("service", r"\b50[0-4]\b|internal server error|bad gateway|service.?unavailable|overloaded|connection ?"
                r"(refused|reset|aborted|error)|upstream|remote end closed"),
    ("exhaustion", r"out of memory|memoryerror|no space left|disk quota|resource.?exhausted"),
    ("no_results", r"no (results?|matches|documents|records) (were )?found|returned no results"),
    ("format", r"json|pars(e|ing)|syntax ?error|validation|invalid (argument|parameter|input|request|value)|schema|"
               r"missing (required|\d+ required)|unexpected (keyword|token|character)|badrequest|\b400\b|\b422\b"),
)  # fmt: skip

# An answer that tells the user what did not work. Anchored to whole phrases, so that a topic does not count.
ADMITS = (
    r"(?i)\b(could ?n[o']t|can ?not|can't|unable to|was ?n[o']t able|did ?n[o']t find|do ?n[o']t have|no (such|matching|"
    r"results?|information|records?)|not (found|available|able)|unfortunately|apologi[sz]e|i'?m sorry|failed|"
    r"went wrong|error occurred|please (check|verify|try again)|unavailable|i don'?t know)\b"
)

# Tools that only end a run: calling them does no work, and many frameworks run no span for them.
ENDING = (
    "(?i)^(final_?(answer|result|output|response)|finish|submit|done|respond|answer|end|complete|transfer_|handoff)"
)


def prepare(reader: Reader) -> None:
    """Make `_calls`, `_final` and `_errors` from `_s` and the spans."""
    classes = " ".join(
        f"WHEN regexp_matches(said, '(?i){pattern}') THEN '{name}'" for name, pattern in ERROR_CLASSES_SQL
    )
    execute = reader.connection.execute
    execute("""
        CREATE OR REPLACE TEMP TABLE _calls AS
        SELECT trace_id, span_id, start_time, end_time, agent_name, model, tools_offered, definitions, call_id, call_name,
          json_type(said) AS arguments_type,
          CASE WHEN length(said::VARCHAR) <= 1000 THEN said END AS arguments,
          CASE WHEN json_type(said) = 'OBJECT' AND length(said::VARCHAR) <= 20000 THEN json_structure(said)::VARCHAR END
            AS structure
        FROM (
          SELECT * EXCLUDE (call), call->>'id' AS call_id, call->>'name' AS call_name, call->'arguments' AS said FROM (
            SELECT trace_id, span_id, start_time, end_time, agent_name, model, tools_offered,
              hash(tool_definitions) AS definitions, unnest(output_messages->'$[*].tool_calls[*]') AS call
            FROM spans WHERE span_type = 'llm' AND contains(output_messages::VARCHAR, '"tool_calls"')
          )
        )
    """)
    # The answer a user saw: what the last model call without tool calls said.
    execute("""
        CREATE OR REPLACE TEMP TABLE _final AS
        SELECT trace_id, arg_max(span_id, end_time) AS span_id, arg_max(output_head, end_time) AS answer,
          arg_max(agent_name, end_time) AS agent_name, max(end_time) AS end_time
        FROM _s WHERE span_type = 'llm' AND NOT failed AND calls = 0 AND output_length > 0 GROUP BY trace_id
    """)
    # The deepest error of each chain only: the spans above repeat it. `passed`: the same work succeeded later.
    execute(f"""
        CREATE OR REPLACE TEMP TABLE _errors AS
        SELECT *, CASE {classes} ELSE 'other' END AS class FROM (
          SELECT s.*, concat_ws(' ', s.error_type, s.error_message, s.status_message) AS said,
            coalesce(s.tool_name, s.agent_name, s.name) AS subject,
            coalesce(w.last_good > s.start_time, false) AS passed
          FROM _s s
          LEFT JOIN (SELECT DISTINCT trace_id, parent_span_id FROM _s WHERE failed) c
            ON c.trace_id = s.trace_id AND c.parent_span_id = s.span_id
          LEFT JOIN (
            SELECT trace_id, coalesce(tool_name, name) AS work, max(start_time) AS last_good FROM _s
            WHERE NOT failed GROUP BY ALL
          ) w ON w.trace_id = s.trace_id AND w.work = coalesce(s.tool_name, s.name)
          WHERE s.failed AND c.trace_id IS NULL
        )
    """)


ERROR_CLASSES_SQL = tuple((name, pattern.replace("'", "''")) for name, pattern in ERROR_CLASSES)


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
          ASOF JOIN (SELECT trace_id, span_id, end_time FROM _s WHERE span_type = 'llm' AND end_time IS NOT NULL) l
            ON l.trace_id = t.trace_id AND l.end_time <= t.start_time
        )
        SELECT t.detector, t.key, t.subject, t.trace_id, t.span_id, t.field, t.quote, coalesce(
          t.origin_span_id,
          CASE WHEN t.span_type IN ('tool', 'retriever') OR t.span_type IS NULL OR t.span_type IN ('chain', 'task')
            THEN coalesce(by_id.origin, by_time.origin) END,
          t.span_id) AS origin_span_id
        FROM t LEFT JOIN by_id USING (trace_id, span_id) LEFT JOIN by_time USING (trace_id, span_id)
    """)

"""Errors: by class and signature, with the blame moved; swallowed ones; retry storms."""

from __future__ import annotations

from halo_worker.analysis.detectors.detector import Unit
from halo_worker.analysis.detectors.tables import ADMITS, DENIES, ERROR_CLASSES_SQL

_ADMITS = ADMITS.replace("'", "''")
_DENIES = DENIES.replace("'", "''")
_UNKNOWN_TOOL = dict(ERROR_CLASSES_SQL)["unknown_tool"]

# What an error was quoted from: the message if the span has one, else its status, else its name.
_QUOTED = """
  CASE WHEN trim(coalesce(e.error_message, '')) <> '' THEN 'error_message'
    WHEN trim(coalesce(e.status_message, '')) <> '' THEN 'status_message' ELSE 'name' END AS field,
  left(CASE WHEN trim(coalesce(e.error_message, '')) <> '' THEN e.error_message
    WHEN trim(coalesce(e.status_message, '')) <> '' THEN e.status_message ELSE e.name END, 300) AS quote
"""


# Classes whose cause is what the call reached, not what the model wrote: the failing span itself is to blame.
OUTSIDE = ("authentication", "rate_limit", "timeout", "service", "exhaustion", "environment")


def _of_class(
    name: str, category: str, phrase: str, fix: str, *, handled_is_fine: bool = False, even_if_passed: bool = False
) -> Unit:
    origin = "e.span_id" if name in OUTSIDE else "NULL"
    passed = "" if even_if_passed else "AND NOT e.passed"
    handled = (
        f"""AND NOT EXISTS (SELECT 1 FROM _final f WHERE f.trace_id = e.trace_id AND f.end_time > e.start_time
              AND regexp_matches(f.answer, '{_ADMITS}'))"""
        if handled_is_fine
        else ""
    )
    return Unit(
        name=f"error_{name}",
        version=2,
        category=category,
        definition=f"A call failed with an error of class '{name}' and no later call in the trace succeeded"
        + (", and the answer does not tell the user" if handled_is_fine else ""),
        source="OTel status and exception semantic conventions; TRAIL, execution errors (arXiv 2505.08638)",
        limits="classes are told by type and message; an error that no instrumentation records is not seen",
        sql=f"""
          SELECT coalesce(e.error_signature, e.error_type, e.name) AS key, e.subject,
            e.trace_id, e.span_id, {origin} AS origin_span_id, {_QUOTED}
          FROM _errors e WHERE e.class = '{name}' {passed} {handled}
        """,
        title=f"{{subject}} {phrase}",
        description=f"{{subject}} {phrase} and was never retried successfully: {{key}}",
        fix=fix,
        validation="Replay the affected traces, or check the next window: this error should no longer occur.",
    )


_RETRY = "Check that the service is up and that its address and certificate are right. Retry 5xx answers and lost connections with backoff, a limit and Retry-After, and tell the user when it stays down."
_BOUND = "Limit the attempts, wait longer before each (Retry-After where it is sent), and only after errors that can pass: HTTP 429, 5xx, timeouts. Return any other error to the model at once."

UNITS = (
    _of_class("authentication", "Authentication Errors", "is denied access", "Check the credentials and scopes of the call, and fail at start when they are missing."),
    _of_class("rate_limit", "Rate Limiting", "is rate-limited", "Space the calls out, cache repeated ones, and wait for the time in Retry-After."),
    _of_class("context_length", "Resource Exhaustion", "exceeds its context window", "Trim or summarise the history sent on every turn, and cap the size of tool results."),
    _of_class("turn_limit", "Task Orchestration", "hits its turn limit", "Give the agent a stopping rule, and look at what it repeats before the limit."),
    _of_class("timeout", "Timeout Issues", "times out", "Set a timeout below the agent's own, retry idempotent calls once, and return a partial answer."),
    _of_class("not_found", "Resource Not Found", "finds no such resource", "Validate ids before the call, and return the ids that exist.", handled_is_fine=True),
    _of_class("service", "Service Errors", "fails: the service behind it is unavailable", _RETRY),
    _of_class("exhaustion", "Resource Exhaustion", "runs out of memory, disk or handles", "Limit what one call may use, and split the work."),
    _of_class("environment", "Environment Setup Errors", "fails: a dependency or setting is missing", "Install or configure what the error names, and check for it at start."),
    _of_class("model_code", "Formatting Errors", "is given code or arguments that cannot run", "Show the model the signature and one correct example, validate what it wrote before running it, and return the parser's message.", even_if_passed=True),
    _of_class("no_results", "Poor Information Retrieval", "returns no results", "Tell the model to broaden a query without results, and let the tool suggest near matches.", handled_is_fine=True),
    _of_class("format", "Formatting Errors", "rejects its input", "Show the model the schema and one example, validate arguments before the call, and return which argument was wrong and why.", handled_is_fine=True),
    _of_class("other", "Unhandled Error", "fails", "Find the input or state that raises this error and fix it; until then return an error message that the model can act on."),
    Unit(
        name="parse_failure_after_truncation",
        version=2,
        category="Formatting Errors",
        definition="A model call reached its output limit, and the next failing span of the trace is a parse error",
        source="truncated output and the parse failure that follows it: one cause, two symptoms",
        limits="needs finish reasons, and an error that names parsing",
        sql=f"""
          SELECT coalesce(c.agent_name, c.model, c.name) AS key, coalesce(c.agent_name, c.model, c.name) AS subject, e.trace_id, e.span_id,
            c.span_id AS origin_span_id, {_QUOTED}
          FROM (FROM _errors WHERE class IN ('format', 'model_code')) e
          ASOF JOIN (
            SELECT * FROM _s WHERE span_type = 'llm' AND end_time IS NOT NULL
              AND trace_id IN (SELECT trace_id FROM _s WHERE finish_reason = 'length')
          ) c ON c.trace_id = e.trace_id AND c.end_time <= e.start_time
          WHERE c.finish_reason = 'length'
        """,
        title="Output of {subject} is truncated and cannot be parsed",
        description="The model reached its output limit within a structure, and parsing it failed.",
        fix="Raise the output limit or ask for less; check the finish reason before parsing.",
        validation="No parse error should follow a call with finish reason 'length'.",
        confidence=0.95,
    ),
    Unit(
        name="swallowed_error",
        version=3,
        category="Tool Output Misinterpretation",
        definition="A tool returns something error-shaped while its status is not ERROR, no later call of the tool or with the same arguments succeeds, and the answer does not tell the user",
        source="'silent failures': OTel status UNSET or OK over a failed result",
        limits="shapes: an error member in a JSON object, success false, a status of 400 or more, an exit code other than 0, or a short text that has a form of lexicon/failed_result.toml; of tools that read logs, tests and the like, the plain shapes only",
        sql=f"""
          WITH bad AS (
            SELECT s.trace_id, s.span_id, s.start_time, s.arguments, s.input_hash, b.output_head AS said, b.weak, coalesce(tool_name, name) AS work FROM _bad_results b JOIN _s s USING (trace_id, span_id)
            ANTI JOIN (SELECT i.trace_id, i.span_id FROM _inner i JOIN _bad_results o ON o.trace_id = i.trace_id AND o.span_id = i.outer_span_id) i USING (trace_id, span_id)
            WHERE NOT regexp_matches(b.output_head, '(?i){_UNKNOWN_TOOL}')
          ),
          good AS (
            SELECT s.trace_id, coalesce(s.tool_name, s.name) AS work, s.input_hash, max(s.start_time) AS at_ FROM _s s
            ANTI JOIN _bad_calls b ON b.trace_id = s.trace_id AND b.span_id = s.span_id
            ANTI JOIN _inner i ON i.trace_id = s.trace_id AND i.span_id = s.span_id
            WHERE s.span_type IN ('tool', 'retriever') AND NOT s.failed AND s.trace_id IN (SELECT trace_id FROM _bad_results) GROUP BY ALL
          )
          SELECT b.work AS key, b.work AS subject, b.trace_id, b.span_id, NULL AS origin_span_id,
            'output_text' AS field, left(b.said, 300) AS quote
          FROM bad b LEFT JOIN _final f ON f.trace_id = b.trace_id AND f.end_time > b.start_time
          WHERE NOT coalesce(regexp_matches(f.answer, '{_ADMITS}') OR b.weak AND regexp_matches(f.answer, '{_DENIES}'), false)
            AND NOT EXISTS (SELECT 1 FROM good g WHERE g.trace_id = b.trace_id AND g.at_ > b.start_time
              AND (g.work = b.work OR g.input_hash = b.input_hash AND length(b.arguments) > 2))
          UNION ALL
          SELECT b.tool_name, b.tool_name, b.trace_id, b.span_id, b.asking, 'input_text', left(b.output_head, 300)
          FROM _bad_told b LEFT JOIN _final f ON f.trace_id = b.trace_id AND f.end_time > b.start_time
          WHERE NOT regexp_matches(b.output_head, '(?i){_UNKNOWN_TOOL}')
            AND NOT coalesce(regexp_matches(f.answer, '{_ADMITS}') OR b.weak AND regexp_matches(f.answer, '{_DENIES}'), false)
            AND NOT EXISTS (SELECT 1 FROM _told g WHERE g.trace_id = b.trace_id AND g.start_time > b.start_time AND g.tool_name = b.tool_name
              AND (g.trace_id, g.span_id) NOT IN (SELECT (trace_id, span_id) FROM _bad_told))
        """,
        title="{subject} fails silently: its result is an error, its status is not",
        description="{subject} returns an error as an ordinary result; the agent continues as if it had succeeded, and the user is not told.",
        fix="Raise in the tool, or set the span's status to ERROR, so that agent and telemetry see it; tell the model what to do then.",
        validation="Failed calls should have status ERROR, and the answers should say what did not work.",
        confidence=0.85,
    ),
    Unit(
        name="retry_storm",
        version=2,
        category="Resource Abuse",
        definition="The same work fails four or more times in one trace, or three times and never works again",
        source="TRAIL, Resource Abuse; retry storms after 429, 5xx and timeouts",
        limits="exporters may fold retries into one span, which hides them",
        sql="""
          SELECT subject || '|retry' AS key, coalesce(model, subject) AS subject, trace_id, span_id, span_id AS origin_span_id, 'name' AS field, name AS quote
          FROM (
            SELECT trace_id, coalesce(tool_name, name) AS subject, any_value(CASE WHEN span_type IN ('llm', 'embedding') THEN model END) AS model, count(*) FILTER (failed AND control IS NULL) AS times, max(start_time) FILTER (NOT failed) AS last_good,
              max(start_time) FILTER (failed AND control IS NULL) AS last_bad, arg_max(span_id, start_time) FILTER (failed AND control IS NULL) AS span_id, arg_max(name, start_time) FILTER (failed AND control IS NULL) AS name
            FROM _s ANTI JOIN _inner USING (trace_id, span_id)
            WHERE trace_id IN (SELECT trace_id FROM _s WHERE failed GROUP BY trace_id HAVING count(*) >= 3)
              AND (span_type IN ('tool', 'llm', 'retriever', 'embedding') OR span_type IS NULL AND kind = 'CLIENT')
            GROUP BY trace_id, coalesce(tool_name, name)
          ) WHERE times >= 4 OR times = 3 AND coalesce(last_good < last_bad, true)
        """,
        title="{subject} is called repeatedly while it fails",
        description="{subject} fails three times or more within one trace; the further attempts cost time and money without effect.",
        fix=_BOUND,
        validation="No trace should exceed the limit of attempts.",
    ),
)  # fmt: skip

"""Totals of a window, and the tables that several questions share. All of it is counted in the store."""

from __future__ import annotations

from typing import Any

from halo_receiver.store import schema, usage
from halo_receiver.store.reader import Reader
from halo_worker.analysis import control_flow, models, outcomes, retrieval, same_call, window_counts
from halo_worker.display import VALUE_CHARACTERS, one_line
from halo_worker.report.model import GroupTotals, Release, Totals, iso_nano

MAX_GROUPS = 20
MAX_RELEASES = 200
TIMELINE_BUCKETS = 24
SMALL_WINDOW = 250_000  # spans, up to which the tables made of `_s` lie in memory, where they are cheaper to write

# Members of a result that change although it is the same one.
VOLATILE = (
    r'"(ts|time|timestamp|date|now|generated_at|created_at|fetched_at|request_?id|trace_?id|nonce|elapsed\w*|duration\w*'
    r'|took\w*|latency\w*)"\s*:\s*("[^"]*"|[\d.]+)'
)


# A call whose prompt speaks of a plan and whose answer is a numbered list: a numbered answer to a user is none. The
# first test is there for its speed; a condition of CASE is left where one of its parts is false.
PLAN_CHARACTERS = 4000
_PLANS = rf"""
  contains(output_text, '1')
  AND regexp_matches(left(output_text, {PLAN_CHARACTERS}), '(?s)(^|\n)\W{{0,4}}1[.)].*\n\W{{0,4}}2[.)]')
  AND regexp_matches(left(input_messages::VARCHAR, {PLAN_CHARACTERS}), '(?i)\bplan(s|ning)?\b')
"""
# Of messages, the first without its end; of a very long one the beginning.
_FIRST_MESSAGE = """
  left(input_messages, least(coalesce(nullif(strpos(input_messages, '"},{"role":"'), 0) - 1, 16000), 16000))
"""
# list_has_any takes three times as long.
_EVALUATED = " OR ".join(f"list_contains(attribute_keys, '{key}')" for key in outcomes.EVALUATED_KEYS)
_DIMENSIONS = {
    "agent": "agent_name",
    "model": "model",
    "version": "version",
    "tool": "tool_name",
    "service": "service_name",
}


_SPANS = rf"""
  SELECT trace_id, span_id, parent_span_id, name, span_type, kind, status_code, start_time, end_time, duration_ns,
    service_name, agent_name, tool_name, tool_call_id, coalesce(s.requested, s.model) AS model,
    s.model AS served_model, s.requested IS NOT NULL AS asked_known, provider, finish_reason, max_output_tokens,
    input_tokens, output_tokens, cost_usd, tools_offered, convention, error_type, error_signature,
    left(error_message, 1000) AS error_message, left(status_message, 1000) AS status_message,
    resource_attributes->>'service.version' AS version,
    coalesce(status_code = 'ERROR' OR error_message IS NOT NULL, false) AS failed,
    NULL::VARCHAR AS control, {_EVALUATED} AS evaluated,
    left(output_text, 2000) AS output_head,
    CASE WHEN (parent_span_id IS NULL OR span_type IN ('agent', 'workflow')) AND length(output_text) > 2000
      THEN right(output_text, 4000) END AS output_tail,
    CASE WHEN span_type IN ('tool', 'retriever') AND length(output_text) > 2000
      THEN right(output_text, 300) END AS result_tail,
    length(trim(output_text, ' ' || chr(10) || chr(13) || chr(9))) AS output_length,
    CASE WHEN span_type IN ('tool', 'retriever') THEN hash(coalesce(input_text, '')) END AS input_hash,
    CASE WHEN span_type IN ('tool', 'retriever')
      THEN hash(regexp_replace(left(output_text, 4000), '{VOLATILE}', '', 'gi'))
      WHEN span_type = 'llm' THEN hash(coalesce(output_text, '')) END AS output_hash,
    CASE WHEN span_type = 'tool' THEN left(input_text, 2000) END AS arguments,
    CASE WHEN parent_span_id IS NULL OR span_type IN ('agent', 'workflow', 'chain', 'llm')
      THEN left(input_text, 300) END AS asked,
    CASE WHEN parent_span_id IS NULL OR span_type IN ('agent', 'workflow', 'chain')
      THEN length(input_text) END AS asked_length,
    CASE WHEN span_type = 'llm' AND contains(output_messages, '"tool_calls"')
      THEN output_messages->'$[*].tool_calls[*]' END AS tool_calls,
    CASE WHEN span_type = 'llm'
      THEN coalesce(len(list_filter(tool_calls, lambda c: json_exists(c, '$.name'))), 0) END AS calls,
    CASE WHEN span_type = 'llm' AND tool_definitions IS NOT NULL THEN hash(tool_definitions) END AS definitions,
    CASE WHEN span_type = 'llm' AND {_PLANS} THEN true END AS plans,
    CASE WHEN span_type = 'llm' THEN output_messages IS NOT NULL END AS has_output,
    CASE WHEN span_type = 'llm' THEN coalesce(contains(output_messages, '"media":'), false) END AS media,
    CASE WHEN span_type = 'llm' AND starts_with(input_messages, '[{{"role":"system","content":"') THEN
      left(md5({_FIRST_MESSAGE}), 8) || ' "'
      || regexp_replace(input_messages[30:89], '"\}}.*$', '') || '…"' END AS prompt,
    CASE WHEN span_type = 'llm' AND starts_with(input_messages, '[{{"role":"system","content":"') THEN
      regexp_extract(input_messages[30:109], '^[^"\\]*') END AS system_head
  FROM (SELECT *, {models.requested()} AS requested FROM _spans) s
"""
# What calls used, of one call once: what other spans repeat is NULL.
_USAGE = """
  SELECT s.trace_id, s.service_name, s.agent_name, s.model,
    CASE WHEN r.tokens IS NOT TRUE THEN input_tokens END AS input_tokens,
    CASE WHEN r.tokens IS NOT TRUE THEN output_tokens END AS output_tokens,
    CASE WHEN r.cost IS NOT TRUE THEN cost_usd END AS cost_usd
  FROM _s s LEFT JOIN _repeated r USING (trace_id, span_id) WHERE s.span_type IN ('llm', 'embedding')
"""
# Control flow is no error; whether it ended the run is told by `_ended`.
_TRACES = """
  SELECT t.* REPLACE (
    u.input_tokens AS input_tokens, u.output_tokens AS output_tokens, u.cost_usd AS cost_usd,
    t.error_count - coalesce(c.errors, 0) AS error_count,
    CASE WHEN NOT coalesce(c.root, false) THEN t.status_code END AS status_code)
  FROM traces t
  LEFT JOIN (
    SELECT trace_id, sum(input_tokens)::BIGINT AS input_tokens, sum(output_tokens)::BIGINT AS output_tokens,
      sum(cost_usd) AS cost_usd FROM _usage GROUP BY trace_id
  ) u USING (trace_id)
  LEFT JOIN (
    SELECT trace_id, count(*) FILTER (status_code = 'ERROR') AS errors, bool_or(parent_span_id IS NULL) AS root
    FROM _s WHERE control IS NOT NULL GROUP BY trace_id
  ) c USING (trace_id)
"""


# Rows of the totals for what has no value of its own.
NAMELESS = {"agent": "(no agent)", "model": "(no model name)", "service": "(no service name)"}
OTHERS = "(others)"  # beyond MAX_GROUPS


# Columns of `_s` that no rule reads which needs one trace alone, and which take a third of the time to make; and what
# such rules ask of a trace.
_COSTLY = {"plans": "BOOLEAN", "prompt": "VARCHAR"}
_LEAN_TRACES = f"""
  SELECT t.* REPLACE (CASE WHEN NOT coalesce(c.root, false) THEN status_code END AS status_code)
  FROM (SELECT trace_id, {schema.TRACE_HEAD} FROM _own_spans GROUP BY trace_id) t LEFT JOIN (
    SELECT trace_id, bool_or(parent_span_id IS NULL) AS root FROM _s WHERE control IS NOT NULL GROUP BY trace_id
  ) c USING (trace_id)
"""


def _lean_spans() -> str:
    """Return the SELECT of `_s` with NULL for what is costly."""
    emptied = ", ".join(f"NULL::{kind} AS {name}" for name, kind in _COSTLY.items())
    return f"SELECT * REPLACE ({emptied}) FROM ({_SPANS})"


def prepare(reader: Reader, *, lean: bool = False) -> None:
    """Make `_t` (the traces), `_s` (what detectors ask of a span, texts shortened), `_repeated` (calls that other spans
    tell again), `_usage`, `_dimensions`, and what `control_flow`, `outcomes` and `same_call` make.

    One scan: every detector reads `_s`, none reads the long texts again. In `_s`, `agent_name` is the agent that a
    span belongs to, and `model` what a call asked for (`served_model` what answered). `lean` is for rules that need one
    trace alone: without `_COSTLY`, `_repeated`, `_usage` and `_dimensions`, and `_t` with few columns.
    """
    read_spans(reader, lean=lean)
    window_counts.take(reader)
    build(reader, lean=lean)
    outcomes.prepare(reader)


def read_spans(reader: Reader, *, lean: bool = False) -> None:
    """Make `_s` as it is read: the one scan."""
    reader.resolve_agents()
    reader.scratch.table("_s", _lean_spans() if lean else _SPANS)
    if reader.query("SELECT count(*) AS n FROM _s")[0]["n"] <= SMALL_WINDOW:
        reader.scratch.stay_in_memory()


def build(reader: Reader, *, lean: bool = False) -> None:
    """Make what stands on `_s` and takes each trace by itself. Needs the tables of `window_counts`."""
    models.fold(reader)
    retrieval.recognise(reader)
    control_flow.prepare(reader)
    same_call.prepare(reader)
    if lean:
        reader.scratch.table("_t", _LEAN_TRACES)
        return
    reader.scratch.table("_repeated", usage.repeated_query("_own_spans"))
    show_usage(reader)
    reader.scratch.table("_t", _TRACES)
    dimensions(reader)


def show_usage(reader: Reader) -> None:
    """Make the view `_usage`: to write it again of each call costs more than to read it twice from `_s`."""
    reader.connection.execute(f"CREATE OR REPLACE TEMP VIEW _usage AS {_USAGE}")


def dimensions(reader: Reader) -> None:
    """Make `_dimensions`: the values of `_DIMENSIONS` in each trace."""
    # Each by itself: what all five hold at once would not fit.
    reader.scratch.table(
        "_dimensions",
        " UNION ALL ".join(
            f"SELECT DISTINCT trace_id, '{dimension}' AS dimension, {column} AS value FROM _s WHERE value <> ''"
            for dimension, column in _DIMENSIONS.items()
        ),
    )


_FIGURES = """
    count(*) AS traces, sum(span_count)::BIGINT AS spans, count(*) FILTER (error_count > 0) AS error_traces,
    coalesce(sum(input_tokens), 0)::BIGINT AS input_tokens, coalesce(sum(output_tokens), 0)::BIGINT AS output_tokens,
    sum(cost_usd) AS cost_usd, quantile_cont(duration_ns, 0.5)::BIGINT AS duration_p50_ns,
    quantile_cont(duration_ns, 0.95)::BIGINT AS duration_p95_ns
"""


def releases(reader: Reader) -> list[Release]:
    """Return the versions of each service in the window, the most frequent first. Needs `prepare`."""
    rows = reader.query(f"""
        SELECT service_name AS service, version, count(DISTINCT trace_id) AS traces,
          epoch_ns(min(start_time)) AS first_seen
        FROM _s WHERE service_name <> '' AND version <> '' AND start_time IS NOT NULL
        GROUP BY ALL ORDER BY traces DESC, service, version LIMIT {MAX_RELEASES}
    """)
    return [Release(**row) for row in rows]


def totals(reader: Reader, affected: list[str], versions: list[Release]) -> Totals:
    """Count the window; `affected` are the traces with a finding, `versions` those of `releases`. Needs `prepare`."""
    connection = reader.connection
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE _affected AS SELECT DISTINCT unnest(?::VARCHAR[]) AS trace_id", [affected]
    )
    figures = reader.query(f"SELECT {_FIGURES} FROM _t")[0]
    hit = reader.query("SELECT count(*) AS n, sum(cost_usd) AS cost FROM _t SEMI JOIN _affected USING (trace_id)")[0]
    return Totals(
        **{
            name: value if value is not None or name.endswith(("_usd", "_ns")) else 0 for name, value in figures.items()
        },
        affected_traces=hit["n"],
        affected_cost_usd=hit["cost"],
        by_agent=_groups(reader, "agent"),
        by_model=_groups(reader, "model"),
        by_service=_groups(reader, "service"),
        releases=versions,
        timeline=_timeline(reader),
        outcomes=outcomes.run_outcomes(reader),
        control_flow=outcomes.control_flow(reader),
    )


def _groups(reader: Reader, dimension: str) -> list[GroupTotals]:
    """Count the traces of each value of a dimension, and those with an error anywhere; the rest is of its own spans.

    Tokens and costs of all rows are those of the window: what has no value, and the values beyond `MAX_GROUPS`, have a
    row each. An agent's duration is that of its agent spans, where it has any; a model's that of its calls.
    """
    column = _DIMENSIONS[dimension]
    nameless = f"'{NAMELESS[dimension]}'"
    label = f"coalesce(nullif({column}, ''), {nameless})"
    whole = {"agent": "span_type = 'agent'", "model": "span_type IN ('llm', 'embedding')"}.get(dimension, "true")
    rows = reader.query(f"""
        WITH seen AS MATERIALIZED (
          SELECT {label} AS label, trace_id, count(*) AS spans FROM _s
          WHERE {column} <> '' OR span_type IN ('llm', 'embedding') GROUP BY ALL
        ),
        named AS MATERIALIZED (
          SELECT label, CASE WHEN place <= {MAX_GROUPS} OR label = {nameless} THEN label ELSE '{OTHERS}' END AS name
          FROM (
            SELECT label, row_number() OVER (ORDER BY label = {nameless}, count(*) DESC, label) AS place
            FROM seen GROUP BY label)
        ),
        counted AS (
          SELECT name, count(DISTINCT trace_id) AS traces, sum(spans)::BIGINT AS spans,
            count(DISTINCT trace_id) FILTER (error_count > 0) AS error_traces
          FROM seen JOIN named USING (label) JOIN _t USING (trace_id) GROUP BY name
        ),
        used AS (
          SELECT name, coalesce(sum(input_tokens), 0)::BIGINT AS input_tokens,
            coalesce(sum(output_tokens), 0)::BIGINT AS output_tokens, sum(cost_usd) AS cost_usd
          FROM _usage JOIN named ON named.label = {label} GROUP BY name
        ),
        timed AS (
          SELECT name, coalesce(quantile_cont(duration_ns, [0.5, 0.95]) FILTER ({whole}),
            quantile_cont(duration_ns, [0.5, 0.95])) AS durations
          FROM (SELECT * RENAME (name AS span_name) FROM _s) s JOIN named ON named.label = {label}
          WHERE s.{column} <> '' OR span_type IN ('llm', 'embedding') GROUP BY name
        )
        SELECT name, traces, spans, error_traces, coalesce(input_tokens, 0) AS input_tokens,
          coalesce(output_tokens, 0) AS output_tokens, cost_usd, durations[1]::BIGINT AS duration_p50_ns,
          durations[2]::BIGINT AS duration_p95_ns
        FROM counted LEFT JOIN used USING (name) LEFT JOIN timed USING (name)
        WHERE name <> {nameless} OR input_tokens + output_tokens > 0 OR cost_usd > 0
        ORDER BY name = '{OTHERS}', name = {nameless}, traces DESC, name
    """)
    return [GroupTotals(**{**row, "name": one_line(row["name"], VALUE_CHARACTERS)}) for row in rows]


def _timeline(reader: Reader) -> list[dict[str, Any]]:
    bounds = reader.query("SELECT epoch_ns(min(start_time)) AS first, epoch_ns(max(start_time)) AS last FROM _t")[0]
    if bounds["first"] is None:
        return []
    width = max(1, (bounds["last"] - bounds["first"]) // TIMELINE_BUCKETS + 1)
    rows = reader.query(
        f"""
        SELECT ((epoch_ns(start_time) - {bounds["first"]}) // {width})::BIGINT AS bucket, count(*) AS traces,
          count(*) FILTER (error_count > 0) AS error_traces,
          count(*) FILTER (a.trace_id IS NOT NULL) AS affected_traces,
          coalesce(sum(input_tokens), 0)::BIGINT AS input_tokens,
          coalesce(sum(output_tokens), 0)::BIGINT AS output_tokens, sum(cost_usd) AS cost_usd
        FROM _t LEFT JOIN _affected a USING (trace_id) WHERE start_time IS NOT NULL GROUP BY ALL ORDER BY ALL
        """
    )
    return [
        {"start": iso_nano(bounds["first"] + row["bucket"] * width), **{k: v for k, v in row.items() if k != "bucket"}}
        for row in rows
    ]

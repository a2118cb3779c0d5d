"""Shape of a trace: runs that never end, context that fills up, broken telemetry."""

from __future__ import annotations

from halo_receiver.conventions.cost import context_window
from halo_receiver.store.reader import Reader
from halo_worker.analysis.detectors.detector import Unit
from halo_worker.analysis.models import without_release

PRESSURE = 0.9  # of the model's context window
GROWN_TOKENS, GROWN_TIMES = 30_000, 8  # a prompt that grows to that, of an agent whose prompts seldom do
MOSTLY_ROOTED = 0.8  # share of a service's traces with a root, from which a trace without one says something of its run


def prepare(reader: Reader) -> None:
    """Make `_windows`, the context window of each model that has a known one, and `_rootless`."""
    reader.connection.execute("CREATE OR REPLACE TEMP TABLE _windows (served_model VARCHAR, size BIGINT)")
    if known := _windows(reader):
        reader.connection.executemany("INSERT INTO _windows VALUES (?, ?)", known)
    reader.connection.execute(f"CREATE OR REPLACE TEMP TABLE _rootless AS {_ROOTLESS}")


# The largest prompt of each model that was answered.
_TAKEN = """
  SELECT served_model AS model, any_value(provider) AS provider, max(input_tokens) FILTER (NOT failed AND r.span_id IS NULL) AS taken
  FROM _s LEFT JOIN _repeated r USING (trace_id, span_id) WHERE span_type = 'llm' AND served_model IS NOT NULL GROUP BY served_model
"""


def _windows(reader: Reader) -> list[tuple[str, int]]:
    """Return the context windows that are known. A model that took more has a larger one (by a header, or of another
    release), which is not known then."""
    rows = reader.query(_TAKEN)
    taken: dict[str, int] = {}
    for row in rows:
        name = without_release(row["model"])
        taken[name] = max(taken.get(name, 0), row["taken"] or 0)
    sizes = ((row["model"], context_window(row["model"], row["provider"])) for row in rows)
    return [(model, size) for model, size in sizes if size and size >= taken[without_release(model)]]


# Traces without a root, and whether their service's traces mostly have one.
_ROOTLESS = f"""
  WITH rooted AS (
    SELECT trace_id, bool_or(parent_span_id IS NULL) AS root, any_value(service_name) AS service_name
    FROM _s WHERE span_type IS NOT NULL OR parent_span_id IS NULL GROUP BY trace_id
  ),
  steady AS (SELECT service_name FROM rooted GROUP BY ALL HAVING count(*) >= 20 AND avg(root::INTEGER) >= {MOSTLY_ROOTED})
  SELECT trace_id, service_name IN (FROM steady) AS steady FROM rooted WHERE NOT root
"""
# Of those that mostly do, the last span of the traces that end in the middle of work.
_DIED = """
  SELECT s.* FROM (
    SELECT trace_id, arg_max(span_id, start_time) AS span_id FROM _s
    WHERE trace_id IN (SELECT trace_id FROM _rootless WHERE steady) AND span_type IN ('llm', 'tool', 'retriever') GROUP BY trace_id
  ) JOIN _s s USING (trace_id, span_id) WHERE s.span_type IN ('tool', 'retriever') OR s.calls > 0 OR s.failed
"""


UNITS = (
    Unit(
        name="context_pressure",
        version=2,
        speaks=("input_tokens",),
        category="Context Handling Failures",
        definition=f"A prompt fills {PRESSURE:.0%} of its model's context window or more; or, where that is not known, it grows within a trace to {GROWN_TIMES} times its first size, {GROWN_TOKENS:,} tokens at least, in an agent whose prompts seldom do",
        source="context windows of the price list that ships with halo; TRAIL, Context Handling Failures",
        limits="needs token counts; providers cut or refuse above the window, which shows elsewhere",
        sql=f"""
          WITH asked AS (
            SELECT trace_id, span_id, name, start_time, coalesce(agent_name, model, name) AS who, agent_name, model, input_tokens, w.size
            FROM _s LEFT JOIN _windows w USING (served_model) WHERE span_type = 'llm' AND input_tokens > 0
          ),
          full_ AS (SELECT * FROM asked WHERE input_tokens >= {PRESSURE} * size),
          grown AS (
            SELECT * FROM asked WHERE trace_id IN (SELECT trace_id FROM asked WHERE size IS NULL AND input_tokens >= {GROWN_TOKENS})
            WINDOW t AS (PARTITION BY trace_id, agent_name, model ORDER BY start_time, span_id)
            QUALIFY size IS NULL AND count(*) OVER t >= 4 AND input_tokens >= {GROWN_TOKENS} AND input_tokens >= {GROWN_TIMES} * first_value(input_tokens) OVER t
          ),
          seldom AS (
            SELECT who FROM (SELECT DISTINCT who, trace_id FROM asked SEMI JOIN grown USING (who)) LEFT JOIN (SELECT DISTINCT who, trace_id, true AS g FROM grown) USING (who, trace_id)
            GROUP BY who HAVING count(*) >= 20 AND count(g) <= 0.05 * count(*)
          )
          SELECT who AS key, who AS subject, trace_id, arg_max(span_id, input_tokens) AS span_id, arg_max(span_id, input_tokens) AS origin_span_id,
            'name' AS field, arg_max(name, input_tokens) AS quote
          FROM (SELECT who, trace_id, span_id, input_tokens, name FROM full_ UNION ALL SELECT who, trace_id, span_id, input_tokens, name FROM grown SEMI JOIN seldom USING (who))
          GROUP BY who, trace_id
        """,
        title="{subject} nears its context window",
        description="Prompts come near the model's context window: the next step may not fit, and content in the middle is used less.",
        fix="Summarise or drop old turns, cap tool results before they enter the prompt, and hand long work to a fresh context.",
        validation="The largest prompt of each trace should stay well below the window.",
        confidence=0.8,
    ),
    Unit(
        name="unfinished_run",
        version=2,
        category="Task Orchestration",
        definition="The root span of a settled trace has no end; or the root never came, though the service's traces have one, and the last span is in the middle of work",
        source="OTLP trace.proto: end_time is semantically required; SDKs export a span when it ends",
        limits="only settled traces are judged, by the window they are read in; a trace without its root that ends in an answer is a fault of the telemetry",
        sql=f"""
          SELECT name AS key, name AS subject, trace_id, span_id, span_id AS origin_span_id, 'name' AS field, name AS quote
          FROM _s WHERE parent_span_id IS NULL AND end_time IS NULL AND span_type IS NOT NULL
          UNION ALL
          SELECT coalesce(agent_name, service_name) AS key, coalesce(agent_name, service_name) AS subject, trace_id, span_id, span_id AS origin_span_id,
            'name' AS field, name AS quote FROM ({_DIED})
        """,
        title="Runs of {subject} do not end",
        description="The root span has no end, or never arrived while work was in progress: the process died or the run was abandoned.",
        fix="Look for crashes and timeouts around these runs, and end the span in a finally block.",
        validation="Every root span should have an end.",
        confidence=0.8,
    ),
    Unit(
        name="broken_telemetry",
        speaks=("name",),
        category="Broken Telemetry",
        definition="A GenAI span of a trace names a parent that never arrived, and the trace has no root",
        source="OTLP trace.proto, parent_span_id",
        limits="sampling by span looks the same; says nothing about the agent",
        sql=f"""
          SELECT service_name AS key, service_name AS subject, s.trace_id, arg_min(s.span_id, s.start_time) AS span_id,
            arg_min(s.span_id, s.start_time) AS origin_span_id, 'name' AS field, arg_min(s.name, s.start_time) AS quote
          FROM _s s SEMI JOIN _rootless USING (trace_id) WHERE s.span_type IS NOT NULL AND s.parent_span_id IS NOT NULL
            AND NOT EXISTS (SELECT 1 FROM _s p WHERE p.trace_id = s.trace_id AND p.span_id = s.parent_span_id)
            AND s.trace_id NOT IN (SELECT trace_id FROM ({_DIED}))
          GROUP BY service_name, s.trace_id
        """,
        title="Traces of {subject} have no root span",
        description="Spans name a parent that never arrived: a fault of the telemetry, not of the agent.",
        fix="Check that every service on the path exports, that context is propagated, and that the Collector does not sample by span.",
        validation="The share of traces without a root should fall.",
        confidence=0.9,
        severity="low",
        min_traces=3,
    ),
    Unit(
        name="result_without_call",
        category="Broken Telemetry",
        definition="A tool span carries the id of a call that no model call of its trace made, nor one of its name, though the trace's calls are captured with ids",
        source="NeMo Compass, orphan tool result",
        limits="only where model calls carry ids; a tool that the program calls itself has no call id",
        sql="""
          WITH ids AS (SELECT trace_id FROM _calls GROUP BY ALL HAVING count(*) > 0 AND count(call_id) = count(*))
          SELECT coalesce(s.service_name, '') || '|' || s.name AS key, s.name AS subject, s.trace_id, s.span_id, s.span_id AS origin_span_id, 'name' AS field, s.name AS quote
          FROM _s s SEMI JOIN ids USING (trace_id)
          ANTI JOIN _inner i ON i.trace_id = s.trace_id AND i.span_id = s.span_id
          ANTI JOIN _calls c ON c.trace_id = s.trace_id AND (c.call_id = s.tool_call_id)
          ANTI JOIN _calls n ON n.trace_id = s.trace_id AND n.call_name = s.tool_name
          WHERE s.span_type = 'tool' AND s.tool_call_id IS NOT NULL
        """,
        title="Results of {subject} match no call",
        description="A tool ran for a call id that no captured model call has: a model span is missing, or ids are not propagated.",
        fix="Check that every model call is instrumented and that the call id reaches the tool's span.",
        validation="Every tool call id on a tool span should be one that a model call made.",
        confidence=0.8,
        severity="low",
        min_traces=3,
    ),
)  # fmt: skip

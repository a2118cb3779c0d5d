"""Shape of a trace: runs that never end, context that fills up, latency, token and cost outliers, broken telemetry."""

from __future__ import annotations

from halo_receiver.conventions.cost import context_window
from halo_receiver.store.reader import Reader
from halo_worker.analysis.detectors.detector import Unit
from halo_worker.analysis.models import without_release

MIN_SAMPLE = 40  # spans of one kind, below which nothing is an outlier
ROBUST_Z = 8.0  # median absolute deviations of the logarithm
MIN_RATIO = 5.0  # times the median
VAST_RATIO = 30.0  # times the median, from which half the deviations are enough: latencies are skewed
MAX_SHARE = 0.03  # of the kind; what is more frequent is another way of working, not an outlier
PRESSURE = 0.9  # of the model's context window
GROWN_TOKENS, GROWN_TIMES = 30_000, 8  # a prompt that grows to that, of an agent whose prompts seldom do
MOSTLY_ROOTED = 0.8  # share of a service's traces with a root, from which a trace without one says something of its run


def prepare(reader: Reader) -> None:
    """Make `_windows`, the context window of each model that has a known one, `_token_outliers` and `_rootless`."""
    reader.connection.execute("CREATE OR REPLACE TEMP TABLE _windows (served_model VARCHAR, size BIGINT)")
    if known := _windows(reader):
        reader.connection.executemany("INSERT INTO _windows VALUES (?, ?)", known)
    reader.connection.execute(f"CREATE OR REPLACE TEMP TABLE _rootless AS {_ROOTLESS}")
    reader.connection.execute(
        f"CREATE OR REPLACE TEMP TABLE _token_outliers AS {_outliers('gained', 8000, _LLM, source=_GAINS)}"
    )


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


def _outliers(measure: str, least: float, kinds: str, *, source: str = "_s") -> str:
    """Spans far from the others of their agent, name and model; of nested ones the deepest."""
    # Few spans measure enough: a table is read twice for less than its measures are kept for.
    kept = "NOT MATERIALIZED" if source == "_s" else "MATERIALIZED"
    return f"""
      WITH measured AS {kept} (
        SELECT trace_id, span_id, ln({measure}) AS x, {measure} >= {least} AS enough, concat_ws('|', agent_name, name, tool_name, model) AS kind_key
        FROM {source} WHERE {measure} > 0 AND NOT failed AND span_type IN ({kinds})
      ),
      kinds AS (
        SELECT kind_key, median(x) AS m, greatest(mad(x), 0.05) AS d, count(*) AS n FROM measured GROUP BY ALL HAVING n >= {MIN_SAMPLE}
      ),
      far AS (
        SELECT trace_id, span_id FROM measured g JOIN kinds s USING (kind_key)
        WHERE g.enough AND g.x - s.m > ln({MIN_RATIO}) AND ((g.x - s.m) / (1.4826 * s.d) > {ROBUST_Z}
            OR g.x - s.m > ln({VAST_RATIO}) AND (g.x - s.m) / (1.4826 * s.d) > {ROBUST_Z} / 2)
        QUALIFY count(*) OVER (PARTITION BY kind_key) <= {MAX_SHARE} * n
      ),
      found AS (SELECT trace_id, span_id, parent_span_id, name, coalesce(tool_name, agent_name, name) AS subject FROM _s SEMI JOIN far USING (trace_id, span_id))
      SELECT f.subject || '|' || f.name AS key, f.subject, f.trace_id, f.span_id, f.span_id AS origin_span_id, 'name' AS field, f.name AS quote
      FROM found f ANTI JOIN found c ON c.trace_id = f.trace_id AND c.parent_span_id = f.span_id
      ANTI JOIN (SELECT trace_id, outer_span_id FROM _inner SEMI JOIN found USING (trace_id, span_id)) i
        ON i.trace_id = f.trace_id AND i.outer_span_id = f.span_id
    """


# What a model call reads beyond the one before it: the steady growth of long work is no outlier, a page pasted in is.
_GAINS = """(SELECT trace_id, span_id, span_type, failed, agent_name, name, tool_name, model,
    input_tokens - coalesce(lag(input_tokens) OVER (PARTITION BY trace_id, agent_name, model ORDER BY start_time, span_id), 0) AS gained
  FROM _s WHERE span_type = 'llm' AND input_tokens > 0)"""
_LLM = "'llm'"
_LEAVES = "'llm', 'tool', 'retriever', 'embedding', 'reranker'"
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
        name="latency_outlier",
        version=2,
        category="Latency Outlier",
        definition=f"A span takes more than {MIN_RATIO:g} times the median of its agent, name and model, and more than {ROBUST_Z:g} robust standard deviations (half of them from {VAST_RATIO:g} times on)",
        source="median and MAD of the logarithm (Iglewicz and Hoaglin 1993)",
        limits=f"model, tool and retrieval calls, at least {MIN_SAMPLE} of the kind, of which {MAX_SHARE:.0%} at most; the deepest slow span only; five seconds at least",
        sql=_outliers("duration_ns", 5e9, _LEAVES),
        title="{subject} is occasionally far slower than usual",
        description="{subject} takes many times its median duration in some traces; the deepest slow span is named.",
        fix="Look at what differs in these calls: argument size, cold starts, retries inside the tool, provider latency. Set a timeout.",
        validation="The 99th percentile of this span should come near its median.",
        confidence=0.7,
        severity="low",
    ),
    Unit(
        name="token_outlier",
        version=2,
        speaks=("input_tokens",),
        category="Resource Abuse",
        definition=f"A model call reads more than the one before it, by over {MIN_RATIO:g} times the median such gain of its agent, name and model",
        source="median and MAD of the logarithm (Iglewicz and Hoaglin 1993)",
        limits=f"at least {MIN_SAMPLE} calls of the kind, and 8,000 tokens; prompts that grow steadily are left to context_pressure",
        sql="FROM _token_outliers",
        title="{subject} is occasionally sent far more tokens than usual",
        description="Some calls of {subject} have many times the median prompt size; they cost more and crowd the task out of the context.",
        fix="Cap tool results and history before they enter the prompt; look for a document or an error page that is passed on whole.",
        validation="The largest prompts of this agent should shrink to a few times the median.",
        confidence=0.7,
        severity="low",
    ),
    Unit(
        name="cost_outlier",
        version=2,
        speaks=("cost", "output_tokens", "input_tokens"),
        category="Resource Abuse",
        definition=f"A model call costs more than {MIN_RATIO:g} times the median of its agent, name and model",
        source="median and MAD of the logarithm (Iglewicz and Hoaglin 1993)",
        limits=f"at least {MIN_SAMPLE} calls of the kind, and 5 cents; costs as sent or estimated; calls whose prompts explain it are token outliers",
        sql=f"""
          SELECT o.* FROM ({_outliers("cost_usd", 0.05, _LLM)}) o ANTI JOIN _token_outliers t ON t.trace_id = o.trace_id AND t.span_id = o.span_id
        """,
        title="{subject} occasionally costs far more than usual",
        description="Some calls of {subject} cost many times the median, and their prompts are not longer: their answers or reasoning are.",
        fix="Cap output and reasoning tokens for this call, and look at what the expensive ones were asked.",
        validation="The most expensive calls of this agent should cost a few times the median.",
        confidence=0.7,
        severity="low",
    ),
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

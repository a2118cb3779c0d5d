"""Shape of a trace: runs that never end, latency and token outliers, broken telemetry."""

from __future__ import annotations

from halo_worker.analysis.detectors.unit import Unit

MIN_SAMPLE = 40  # spans of one kind, below which nothing is an outlier
ROBUST_Z = 8.0  # median absolute deviations of the logarithm
MIN_RATIO = 5.0  # times the median
MAX_SHARE = 0.03  # of the kind; what is more frequent is another way of working, not an outlier


def _outliers(measure: str, least: float) -> str:
    return f"""
      WITH groups AS (
        SELECT *, ln({measure}) AS x, coalesce(agent_name, '') || '|' || name || '|' || coalesce(model, '') AS kind_key
        FROM _s WHERE {measure} > 0 AND NOT failed AND span_type IN ('llm', 'agent', 'tool', 'retriever', 'workflow')
      ),
      middle AS (SELECT kind_key, median(x) AS m, count(*) AS n FROM groups GROUP BY ALL HAVING n >= {MIN_SAMPLE}),
      spread AS (SELECT kind_key, any_value(m) AS m, greatest(mad(x), 0.05) AS d FROM groups JOIN middle USING (kind_key) GROUP BY ALL),
      far AS (
        SELECT g.* FROM groups g JOIN spread s USING (kind_key) JOIN middle USING (kind_key)
        WHERE (g.x - s.m) / (1.4826 * s.d) > {ROBUST_Z} AND g.x - s.m > ln({MIN_RATIO}) AND g.{measure} >= {least}
        QUALIFY count(*) OVER (PARTITION BY g.kind_key) <= {MAX_SHARE} * any_value(n) OVER (PARTITION BY g.kind_key)
      )
      SELECT coalesce(f.tool_name, f.agent_name, f.name) || '|' || f.name AS key, coalesce(f.tool_name, f.agent_name, f.name) AS subject,
        f.trace_id, f.span_id, f.span_id AS origin_span_id, 'name' AS field, f.name AS quote
      FROM far f ANTI JOIN far c ON c.trace_id = f.trace_id AND c.parent_span_id = f.span_id
    """


UNITS = (
    Unit(
        name="latency_outlier",
        category="Latency Outlier",
        definition=f"A span takes more than {MIN_RATIO:g} times the median of its agent, name and model, and more than {ROBUST_Z:g} robust standard deviations",
        source="median and MAD of the logarithm (Iglewicz and Hoaglin 1993)",
        limits=f"at least {MIN_SAMPLE} spans of the kind, of which {MAX_SHARE:.0%} at most; the deepest slow span only; a second at least",
        sql=_outliers("duration_ns", 1e9),
        title="{subject} is sometimes far slower than usual",
        description="{subject} takes many times its usual time in some traces. The deepest span that is slow is named.",
        fix="Look at what differs in these calls: argument size, cold starts, retries inside the tool, provider latency. Set a timeout.",
        validation="The 99th percentile of this span should come near its median.",
        confidence=0.7,
        severity="low",
        min_traces=2,
    ),
    Unit(
        name="token_outlier",
        category="Resource Abuse",
        definition=f"A model call reads more than {MIN_RATIO:g} times the median tokens of its agent, name and model",
        source="median and MAD of the logarithm (Iglewicz and Hoaglin 1993)",
        limits=f"at least {MIN_SAMPLE} calls of the kind, and 2,000 tokens",
        sql=_outliers("input_tokens", 2000),
        title="{subject} is sometimes sent far more tokens than usual",
        description="Some calls of {subject} carry many times the usual prompt; they cost accordingly and push the task out of the context.",
        fix="Cap tool results and history before they enter the prompt; look for a document or an error page that is passed on whole.",
        validation="The largest prompts of this agent should shrink to a few times the median.",
        confidence=0.7,
        severity="low",
    ),
    Unit(
        name="unfinished_run",
        category="Task Orchestration",
        definition="The root span of a settled trace has no end",
        source="OTLP trace.proto: end_time is semantically required",
        limits="SDKs rarely export spans that have not ended; some do on shutdown",
        sql="""
          SELECT name AS key, name AS subject, trace_id, span_id, span_id AS origin_span_id, 'name' AS field, name AS quote
          FROM _s WHERE parent_span_id IS NULL AND end_time IS NULL AND span_type IS NOT NULL
        """,
        title="Runs of {subject} never end",
        description="The root span was exported without an end: the process died or the run was abandoned.",
        fix="Look for crashes and timeouts around these runs, and end the span in a finally block.",
        validation="Every root span should have an end.",
        confidence=0.8,
    ),
    Unit(
        name="broken_telemetry",
        category="Broken Telemetry",
        definition="A GenAI span of a trace names a parent that never arrived, and the trace has no root",
        source="OTLP trace.proto, parent_span_id",
        limits="sampling by span looks the same; says nothing about the agent",
        sql="""
          SELECT service_name AS key, service_name AS subject, s.trace_id, arg_min(s.span_id, s.start_time) AS span_id,
            arg_min(s.span_id, s.start_time) AS origin_span_id, 'name' AS field, arg_min(s.name, s.start_time) AS quote
          FROM _s s WHERE s.span_type IS NOT NULL AND s.parent_span_id IS NOT NULL
            AND NOT EXISTS (SELECT 1 FROM _s p WHERE p.trace_id = s.trace_id AND p.parent_span_id IS NULL)
            AND NOT EXISTS (SELECT 1 FROM _s p WHERE p.trace_id = s.trace_id AND p.span_id = s.parent_span_id)
          GROUP BY service_name, s.trace_id
        """,
        title="Traces of {subject} arrive without their root",
        description="Spans name a parent that never arrived. This is a fault of the telemetry, not of the agent: what happened above them is unknown.",
        fix="Check that every service on the path exports, that context is propagated, and that the Collector does not sample by span.",
        validation="The share of traces without a root should fall.",
        confidence=0.9,
        severity="low",
        min_traces=3,
    ),
)  # fmt: skip

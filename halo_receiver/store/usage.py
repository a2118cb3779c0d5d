"""Tokens and cost of one model call, counted once however many spans tell of it.

Two instrumentations, or an application and the gateway it calls, each write a model span for the same call. They are
nested, maybe with transport spans between, or lie side by side with the same figures. The innermost counts: it is
nearest to the provider. Of an outer one, what the inner ones do not tell is kept.
"""

from __future__ import annotations

MAX_BETWEEN = 8  # spans between two that tell of one call: chains, HTTP clients and servers
REPEATED_SHARE = 0.5  # of an outer call's tokens: where inner calls have fewer, they are other calls, and both count

_CALLS = ("llm", "embedding")
_PASSED = ("chain", "task", "prompt", "other")  # a call never goes on below an agent or a tool


def repeated_query(spans: str) -> str:
    """Return the SELECT of the model calls in `spans` whose figures other spans repeat.

    Columns: trace_id, span_id, and whether `tokens` and `cost` must not be counted. `spans` needs trace_id, span_id,
    parent_span_id, span_type, start_time, end_time, service_name, scope_name and the figures.
    """
    calls = ", ".join(f"'{kind}'" for kind in _CALLS)
    passed = ", ".join(f"'{kind}'" for kind in _PASSED)
    return f"""
    WITH RECURSIVE calls AS MATERIALIZED (
      SELECT trace_id, span_id, parent_span_id, span_type, start_time, end_time, service_name, scope_name, cost_usd,
        input_tokens, output_tokens, coalesce(input_tokens, output_tokens) IS NOT NULL AS told,
        coalesce(input_tokens, 0) + coalesce(output_tokens, 0) AS tokens
      FROM {spans} WHERE span_type IN ({calls})
    ),
    passed AS MATERIALIZED (
      SELECT trace_id, span_id, parent_span_id FROM {spans}
      WHERE parent_span_id IS NOT NULL AND (span_type IS NULL OR span_type IN ({passed}))
      UNION ALL
      SELECT trace_id, span_id, parent_span_id FROM calls
      WHERE parent_span_id IS NOT NULL AND NOT told AND cost_usd IS NULL
    ),
    within AS (
      SELECT trace_id, span_id, span_type, start_time, told, tokens, cost_usd, parent_span_id AS above, 0 AS between_
      FROM calls WHERE parent_span_id IS NOT NULL AND (told OR cost_usd IS NOT NULL)
      UNION ALL
      SELECT w.* REPLACE (p.parent_span_id AS above, between_ + 1 AS between_)
      FROM within w JOIN passed p ON p.trace_id = w.trace_id AND p.span_id = w.above WHERE between_ < {MAX_BETWEEN}
    ),
    -- Side by side: an instrumentation by callbacks opens a span that is nobody's parent.
    beside AS (
      SELECT *, lead(scope_name) OVER w AS next_scope, lead(end_time) OVER w AS next_end,
        lead(cost_usd) OVER w AS next_cost
      FROM calls SEMI JOIN (
        SELECT trace_id FROM calls GROUP BY trace_id HAVING min(scope_name) <> max(scope_name)
      ) USING (trace_id)
      WHERE input_tokens IS NOT NULL AND output_tokens IS NOT NULL AND tokens > 0
      WINDOW w AS (
        PARTITION BY trace_id, parent_span_id, service_name, span_type, input_tokens, output_tokens
        ORDER BY start_time, end_time DESC, span_id
      )
    ),
    pairs AS (
      -- A call that began after the other had ended only inherited its context.
      SELECT o.trace_id, o.span_id, o.told, o.tokens, w.told AS inner_told, w.tokens AS inner_tokens,
        w.cost_usd AS inner_cost
      FROM within w JOIN calls o ON o.trace_id = w.trace_id AND o.span_id = w.above AND o.span_type = w.span_type
      WHERE coalesce(w.start_time < o.end_time, true)
      UNION ALL
      SELECT trace_id, span_id, true, tokens, true, tokens, next_cost FROM beside
      WHERE next_scope <> scope_name AND next_end <= end_time
    )
    SELECT trace_id, span_id, any_value(told) AS tokens, count(inner_cost) > 0 AS cost
    FROM pairs GROUP BY trace_id, span_id
    HAVING NOT any_value(told)
      OR coalesce(sum(inner_tokens) FILTER (inner_told), 0) >= {REPEATED_SHARE} * any_value(tokens)
    """

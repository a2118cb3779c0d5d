---
about = """
What was done in a trace that may have changed something: tools that do more than look, and other code below the \
root. Calls of tools without spans count as done. An agent whose model calls are seen, and what hands work to it, did \
what its tools did; code under a model call or under a tool that looks is theirs."""
kind = "table"

[columns]
trace_id = "the trace"
work = "the tool's, agent's or span's name"
anything = "a tool that can do anything: a shell, an HTTP client"
commands = "of a shell or an interpreter, what it ran: it did only that"
---
WITH asking AS (
  SELECT DISTINCT trace_id, parent_span_id AS span_id FROM steps WHERE span_type = 'llm' AND parent_span_id IS NOT NULL
)
SELECT trace_id, work, can_do_anything(work) AS anything,
  string_agg(CASE WHEN runs_commands(work) THEN commands END, chr(10)) AS commands
FROM (
  SELECT s.trace_id, coalesce(tool_name, CASE WHEN span_type = 'agent' THEN agent_name END, name) AS work,
    left(arguments, 500) AS commands
  FROM steps s ANTI JOIN failed_steps b USING (trace_id, span_id)
  ANTI JOIN (
    SELECT trace_id, span_id FROM asking
    UNION ALL
    SELECT trace_id, parent_span_id FROM steps SEMI JOIN asking USING (trace_id, span_id)
    WHERE parent_span_id IS NOT NULL
  ) a USING (trace_id, span_id)
  ANTI JOIN (
    SELECT trace_id, span_id AS parent_span_id FROM steps
    WHERE span_type IN ('llm', 'embedding', 'reranker', 'retriever') OR span_type = 'tool' AND only_reads(work)
  ) t ON t.trace_id = s.trace_id AND t.parent_span_id = CASE WHEN s.span_type IS NULL THEN s.parent_span_id END
  WHERE NOT failed AND parent_span_id IS NOT NULL
    AND (span_type IN ('tool', 'task', 'chain', 'agent', 'other') OR span_type IS NULL)
  UNION ALL
  SELECT trace_id, call_name, left(arguments, 500) FROM calls
  WHERE service_name NOT IN (SELECT service_name FROM _called WHERE tools > 0)
) WHERE work IS NOT NULL AND NOT only_reads(work)
GROUP BY trace_id, work

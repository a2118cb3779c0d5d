---
about = """
What was done in a trace that may have changed something: tools that do more than look, and other code below the \
root. Calls of tools without spans count as done."""
kind = "table"

[columns]
trace_id = "the trace"
work = "the tool's, agent's or span's name"
anything = "a tool that can do anything: a shell, an HTTP client"
commands = "of a shell or an interpreter, what it ran: it did only that"
---
SELECT trace_id, work, can_do_anything(work) AS anything,
  string_agg(CASE WHEN runs_commands(work) THEN commands END, chr(10)) AS commands
FROM (
  SELECT s.trace_id, coalesce(tool_name, CASE WHEN span_type = 'agent' THEN agent_name END, name) AS work,
    left(arguments, 500) AS commands
  FROM steps s ANTI JOIN failed_steps b USING (trace_id, span_id)
  WHERE NOT failed AND parent_span_id IS NOT NULL
    AND (span_type IN ('tool', 'task', 'chain', 'agent', 'other') OR span_type IS NULL)
  UNION ALL
  SELECT trace_id, call_name, left(arguments, 500) FROM calls
  WHERE service_name NOT IN (SELECT service_name FROM steps WHERE span_type = 'tool')
) WHERE work IS NOT NULL AND NOT only_reads(work)
GROUP BY trace_id, work

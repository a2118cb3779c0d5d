---
about = "Failed tool calls after which the next turn says that it goes another way, and another tool works."
kind = "table"

[columns]
trace_id = "the trace"
span_id = "the span of the call that failed"
---
SELECT f.trace_id, f.span_id FROM (FROM steps WHERE failed AND span_type IN ('tool', 'retriever')) f
ASOF JOIN (
  SELECT trace_id, start_time AS at_, takes_another_way(output_head) AS another FROM steps
  WHERE span_type = 'llm' AND trace_id IN (SELECT trace_id FROM steps WHERE failed)
) l ON l.trace_id = f.trace_id AND f.start_time < l.at_
JOIN (
  SELECT trace_id, max(start_time) AS at_ FROM steps ANTI JOIN nested USING (trace_id, span_id)
  WHERE NOT failed AND NOT starts_with(work_of(span_type, agent_name, work), 'llm ') GROUP BY ALL
) g ON g.trace_id = f.trace_id
WHERE g.at_ > l.at_ AND l.another

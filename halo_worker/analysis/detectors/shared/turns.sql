---
about = "The model calls of each trace in their order, without those of evaluators and those beside the run."

[columns]
trace_id = "the trace"
span_id = "the span"
nth = "from 1"
start_time = ""
end_time = ""
agent_name = ""
model = ""
calls = "number of tool calls it asks for"
said = "its output, 2,000 characters"
next_span_id = "the next turn; NULL of the last"
---
SELECT trace_id, span_id, row_number() OVER w AS nth, start_time, end_time, agent_name, model, calls,
  output_head AS said, lead(span_id) OVER w AS next_span_id
FROM steps ANTI JOIN asides USING (trace_id, span_id) ANTI JOIN judging USING (trace_id, span_id)
WHERE span_type = 'llm'
WINDOW w AS (PARTITION BY trace_id ORDER BY start_time, span_id)

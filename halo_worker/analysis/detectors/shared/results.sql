---
about = "What tools and retrievals returned: the outputs of their spans, and `told_results`."

[columns]
trace_id = "the trace"
span_id = "the tool span; of told ones the model call that is told"
start_time = ""
tool = "its name"
text = "2,000 characters"
length = "characters of the whole"
tail = "its last 300 characters"
status_failed = "the span is in error"
retriever = "of a retriever"
told = "read from what a model was told"
asking = "of told ones, the model call that asked"
said = "equal for equal results: the key of result_texts"
---
SELECT *, hash(text, tail, length) AS said FROM (
  SELECT trace_id, span_id, start_time, coalesce(tool_name, name) AS tool, output_head AS text, output_length AS length,
    coalesce(result_tail, right(output_head, 300)) AS tail, failed AS status_failed, span_type = 'retriever' AS retriever,
    false AS told, NULL AS asking
  FROM _s WHERE span_type IN ('tool', 'retriever') AND output_length > 0
  UNION ALL
  SELECT trace_id, span_id, start_time, tool, text, length, tail, false, false, true, asking FROM told_results
)

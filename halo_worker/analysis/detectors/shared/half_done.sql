---
about = """
Failed results of code that printed something before it failed, which the next turn takes up, in words that the code \
does not hold: the result was read, and was of use."""
kind = "table"

[columns]
trace_id = "the trace"
span_id = "as in failed_results"
---
WITH printed AS (
  SELECT f.trace_id, f.span_id, f.start_time, list_distinct(list_filter(
    long_words(without_stack_trace(f.text)), lambda w: NOT contains(lower(coalesce(s.arguments, '')), w))) AS words
  FROM failed_results f JOIN (SELECT trace_id, span_id, arguments FROM steps) s USING (trace_id, span_id)
  WHERE NOT f.told AND can_do_anything(f.tool) AND holds_stack_trace(f.text)
)
SELECT p.trace_id, p.span_id FROM printed p JOIN steps t ON t.trace_id = p.trace_id
WHERE t.span_type IN ('llm', 'agent') AND t.start_time >= p.start_time AND t.output_length > 0
GROUP BY p.trace_id, p.span_id, p.words
HAVING len(list_intersect(p.words, long_words(arg_min(t.output_head, (t.start_time, t.span_id))))) >= 4

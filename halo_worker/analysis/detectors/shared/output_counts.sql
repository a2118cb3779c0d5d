---
about = "Model calls that did not fail, and those of them that show what they said: whether outputs are captured."
kind = "counts"

[columns]
service_name = ""
convention = "as in steps"
answered = "calls"
shown = "with text, media or a call of a tool"
earlier = "as in tool_counts"
---
SELECT service_name, convention, count(*) AS answered,
  count(*) FILTER (output_length > 0 OR calls > 0 OR media) AS shown, false AS earlier
FROM steps WHERE span_type = 'llm' AND NOT failed GROUP BY service_name, convention

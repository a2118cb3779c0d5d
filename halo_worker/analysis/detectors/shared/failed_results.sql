---
about = "Results that say the call failed, although the status is not ERROR."
kind = "table"

[columns]
trace_id = "the trace"
span_id = "as in results"
start_time = ""
tool = "its name"
text = "2,000 characters"
told = "as in results"
asking = "as in results"
weak = "an answer may pass it on as a plain no: {\"ok\": false}"
---
-- Words count where the text is short (a document about errors is longer) and speaks of one failure.
SELECT trace_id, span_id, start_time, tool, text, told, asking,
  coalesce(is_json AND NOT coalesce(json_failed(r), false), false) AS weak
FROM (
  SELECT *, CASE WHEN is_json THEN text::JSON END AS r, inspects(tool) AS inspects FROM (
    SELECT *, length <= 2000 AND starts_with(ltrim(text), '{') AND json_valid(text) AS is_json
    FROM results WHERE NOT status_failed
  )
)
WHERE CASE
  WHEN is_json THEN coalesce(json_failed(r), false)
    OR NOT inspects AND (coalesce(json_may_have_failed(r, text), false) OR coalesce(json_says_only_failure(r), false))
  WHEN starts_with(ltrim(text), '{') THEN begins_as_failure(text)
  WHEN starts_as_failed(text) OR ends_as_failed(tail) THEN true
  WHEN inspects OR length > 600 THEN false
  ELSE speaks_of_failure(text) AND len(list_distinct(regexp_extract_all(text, '\b[45]\d\d\b'))) <= 1 END

---
about = "What the distinct texts of results say. Each is recognised here, once."
kind = "table"

[columns]
said = "equal for equal results, as in results"
failed = "it says that the call failed"
may_have_failed = "so it does, unless the tool reads what may speak of failures: `inspects(tool)`"
weak = "an answer may pass it on as a plain no: {\"ok\": false}"
empty = "it holds nothing"
misfit = "it says that the tool does not apply"
---
-- Words count where the text is short (a document about errors is longer) and speaks of one failure.
WITH texts AS (
  SELECT said, any_value(text) AS text, any_value(tail) AS tail, any_value(length) AS length FROM results GROUP BY said
),
-- In steps: a name that stands for an expression is planned wherever it is read.
formed AS (
  SELECT *, length <= 2000 AND starts_with(ltrim(text), '{') AND json_valid(text) AS is_json FROM texts
),
parsed AS (SELECT *, CASE WHEN is_json THEN text::JSON END AS r FROM formed),
read AS (SELECT *, coalesce(json_failed(r), false) AS as_json FROM parsed)
SELECT said, coalesce(CASE
    WHEN is_json THEN as_json
    WHEN starts_with(ltrim(text), '{') THEN begins_as_failure(text)
    ELSE starts_as_failed(text) OR ends_as_failed(tail) END, false) AS failed,
  coalesce(CASE
    WHEN is_json THEN coalesce(json_may_have_failed(r, text), false) OR coalesce(json_says_only_failure(r), false)
    WHEN starts_with(ltrim(text), '{') OR length > 600 THEN false
    ELSE speaks_of_failure(text) AND len(list_distinct(regexp_extract_all(text, '\b[45]\d\d\b'))) <= 1 END, false)
    AS may_have_failed,
  is_json AND NOT as_json AS weak,
  is_empty_result(text, length) AS empty, says_not_applicable(text) AS misfit
FROM read

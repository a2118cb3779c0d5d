---
about = """
Values of arguments with marks of damage: no letter or digit where four of five distinct values have some, the start \
or the end of a call, markup of calls, scripts glued together."""
kind = "table"

[columns]
trace_id = "the trace"
span_id = "the model call; of services whose calls are not captured, the tool's span"
source = "model, else service"
value = "the value"
mark = "what was recognised"
---
WITH given AS (
  SELECT trace_id, span_id, coalesce(model, service_name) AS source, call_name AS tool, arguments FROM calls
  WHERE arguments_type = 'OBJECT' AND arguments IS NOT NULL
  UNION ALL
  SELECT trace_id, span_id, service_name, tool_name, arguments FROM steps
  WHERE span_type = 'tool' AND length(arguments) < 2000 AND starts_with(arguments, '{') AND json_valid(arguments)
    AND service_name NOT IN (SELECT service_name FROM calls)
),
marked AS (
  SELECT *, regexp_matches(arguments, ':\s*"(\\.|[^"\\\p{L}\p{N}])+"\s*[,}]') OR holds_call_markup(arguments)
    OR regexp_matches(arguments, ':\s*"[:>]|\\"\s*[\]}]+\s*"\s*[,}]') OR glues_scripts(arguments) AS suspect
  FROM given
),
parts AS (
  SELECT * EXCLUDE (arguments), arguments->>('$."' || argument || '"') AS value,
    regexp_matches(value, '[\p{L}\p{N}]') AS worded
  FROM (
    SELECT *, unnest(json_keys(arguments)) AS argument FROM marked
    WHERE tool IN (SELECT tool FROM marked WHERE suspect) AND NOT contains(arguments, '"":')
  ) WHERE json_type(arguments, '$."' || argument || '"') = 'VARCHAR'
),
usual AS (
  -- Each value once: a run that repeats a damaged one does not make it usual.
  SELECT tool, argument, count(*) >= 5 AND avg(worded::INTEGER) >= 0.8 AS usually_worded
  FROM (SELECT DISTINCT tool, argument, value, worded FROM parts) GROUP BY ALL
)
SELECT trace_id, span_id, source, value, CASE
    -- Paths, patterns and flags rightly have neither.
    WHEN NOT worded AND usually_worded AND NOT regexp_full_match(value, '[./*~?+$%^#@!=_\s-]*') THEN 'punctuation'
    WHEN ends_as_call(value) AND NOT contains(value, chr(10))
      AND (length(value) - length(replace(value, '"', ''))) % 2 = 1 THEN 'end'
    WHEN holds_call_markup(value) THEN 'markup'
    WHEN starts_as_call(value) AND usually_worded THEN 'start'
    WHEN glues_scripts(value) THEN 'scripts' END AS mark
FROM parts JOIN usual USING (tool, argument) WHERE suspect AND mark IS NOT NULL

"""Output that a serving stack or a template has damaged: control tokens, arguments of punctuation alone, mixed scripts."""

from __future__ import annotations

from halo_worker.analysis.detectors.detector import Unit

# Control tokens of chat templates: `<|im_start|>` (Qwen, Llama 3, Phi, Kimi, gpt-oss), `<｜tool▁calls▁begin｜>`
# (DeepSeek), `[INST]` and `<<SYS>>` (Llama 2, Mistral), `<start_of_turn>` (Gemma). Source: their tokenizer_config.json.
CONTROL_TOKEN = r"<\|[a-z][a-z0-9_]{2,40}\|>|<｜[^｜<>\s]{2,40}｜>|\[/?INST\]|<</?SYS>>|<(start|end)_of_turn>"
# What closes the JSON of a call, inside one of its values.
STRAY_END = r"\"\s*[\]}]+\s*$"
# What stands before a value in a call, in JSON or in markup, at the start of the value.
STRAY_START = r"^:[\s\"~;,]|^>\s*<"
CALL_MARKUP = r"</?(parameter|invoke|function_calls?|tool_calls?|function|arg_key|arg_value)\b[^<>]{0,80}>|<function="
OTHER_SCRIPTS = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}\p{Arabic}\p{Cyrillic}\p{Devanagari}\p{Hebrew}]"
GLUED = rf"[a-z]{{2}}{OTHER_SCRIPTS}{{2}}|{OTHER_SCRIPTS}{{2}}[a-z]{{2}}"
# Values that rightly have neither a letter nor a digit: paths, patterns, flags, nothing.
PLAIN_SIGNS = r"[./*~?+$%^#@!=_\s-]*"
USUALLY = 0.8  # share of an argument's values with a letter or digit, from which one without is damaged
MIN_VALUES = 5

# Arguments as the model wrote them; of services whose calls are not captured, as the tools got them.
_ARGUMENTS = """
  SELECT trace_id, span_id, model, service_name, call_name AS tool, arguments FROM _calls WHERE arguments_type = 'OBJECT'
  UNION ALL
  SELECT trace_id, span_id, NULL, service_name, tool_name, arguments FROM _s
  WHERE span_type = 'tool' AND length(arguments) < 2000 AND starts_with(arguments, '{') AND json_valid(arguments)
    AND service_name NOT IN (SELECT service_name FROM _calls)
"""
PREPARE = rf"""
CREATE OR REPLACE TEMP TABLE _damaged_arguments AS
WITH given AS ({_ARGUMENTS}),
suspects AS (
  SELECT * FROM given WHERE regexp_matches(arguments, ':\s*"(\\.|[^"\\\p{{L}}\p{{N}}])+"\s*[,}}]')
    OR regexp_matches(arguments, '(?i){GLUED}') OR regexp_matches(arguments, '\\"\s*[\]}}]+\s*"\s*[,}}]')
    OR regexp_matches(arguments, '{CONTROL_TOKEN}|{CALL_MARKUP}|:\s*":[\s\\~;,]|:\s*">\s*<')
),
parts AS (
  SELECT * EXCLUDE (arguments), arguments->>('$."' || argument || '"') AS value, regexp_matches(value, '[\p{{L}}\p{{N}}]') AS worded
  FROM (
    SELECT *, unnest(json_keys(arguments)) AS argument, s.span_id IS NOT NULL AS suspect FROM given g
    LEFT JOIN (SELECT DISTINCT trace_id, span_id FROM suspects) s USING (trace_id, span_id)
    WHERE tool IN (SELECT tool FROM suspects) AND NOT contains(arguments, '"":'))
  WHERE json_type(arguments, '$."' || argument || '"') = 'VARCHAR'
),
worded AS (
  SELECT tool, argument FROM parts GROUP BY ALL HAVING count(*) >= {MIN_VALUES} AND avg(worded::INTEGER) >= {USUALLY}
)
SELECT trace_id, span_id, model, service_name, tool, value, CASE
    WHEN NOT worded AND tool || ' ' || argument IN (SELECT tool || ' ' || argument FROM worded)
      AND NOT regexp_full_match(value, '{PLAIN_SIGNS}') THEN 'arguments of punctuation alone'
    WHEN regexp_matches(value, '{STRAY_END}') AND NOT contains(value, chr(10))
      AND (length(value) - length(replace(value, '"', ''))) % 2 = 1 THEN 'arguments with the end of a call inside'
    WHEN regexp_matches(value, '{CONTROL_TOKEN}|{CALL_MARKUP}') THEN 'markup of calls'
    WHEN regexp_matches(value, '{STRAY_START}') AND tool || ' ' || argument IN (SELECT tool || ' ' || argument FROM worded)
      THEN 'arguments with the start of a call inside'
    WHEN regexp_matches(value, '(?i){GLUED}') THEN 'mixed scripts' END AS damage
FROM parts WHERE suspect AND damage IS NOT NULL;
CREATE OR REPLACE TEMP TABLE _damaged_texts AS
SELECT trace_id, span_id, model, service_name, regexp_extract(output_head, '{CONTROL_TOKEN}') AS value
FROM _s WHERE span_type = 'llm' AND regexp_matches(output_head, '{CONTROL_TOKEN}')
"""

# What the model read may hold it too, and is then quoted.
_READ = """
  SELECT 1 FROM spans r WHERE r.trace_id = d.trace_id AND (r.span_id = d.span_id OR r.parent_span_id IS NULL)
    AND (contains(r.input_messages::VARCHAR, {what}) OR contains(r.input_text, {what}))
"""
_MARKUP = f"regexp_extract(d.value, '{CONTROL_TOKEN}|{CALL_MARKUP}')"
_SCRIPT = f"regexp_extract(d.value, '{OTHER_SCRIPTS}')"

UNITS = (
    Unit(
        name="corrupted_output",
        category="Formatting Errors",
        definition="A model's text or arguments hold control tokens of a chat template, the end of a call inside a value, "
        "a value without a letter or digit where others have some, or scripts glued together that it had not read",
        source="tokenizer_config.json of the models named in detectors/corruption.py; Unicode scripts",
        limits="an argument needs five values before one can be told from the others; texts beyond 2,000 characters are not looked at",
        sql=f"""
          SELECT coalesce(model, service_name, 'a model') AS key, coalesce(model, service_name, 'a model') AS subject,
            trace_id, span_id, span_id AS origin_span_id, 'name' AS field, name AS quote
          FROM (
            SELECT DISTINCT trace_id, span_id, model, service_name FROM _damaged_arguments d
            WHERE CASE damage WHEN 'mixed scripts' THEN NOT EXISTS ({_READ.format(what=_SCRIPT)})
              WHEN 'markup of calls' THEN NOT EXISTS ({_READ.format(what=_MARKUP)}) ELSE true END
            UNION
            SELECT trace_id, span_id, model, service_name FROM _damaged_texts d
            WHERE NOT EXISTS ({_READ.format(what="d.value")})
          ) JOIN (SELECT trace_id, span_id, name FROM _s) USING (trace_id, span_id)
        """,
        title="{subject} returns corrupted output",
        description="Calls of {subject} hold fragments of its chat template or of another call: the text was damaged before "
        "it was read as an answer, by the serving stack, the template or the parser of tool calls.",
        fix="Compare the server's chat template and tool-call parser with the model's own, lower the temperature, and "
        "reject calls whose arguments hold control tokens or punctuation alone.",
        validation="No call of this model should hold control tokens or arguments without a letter or digit.",
        confidence=0.9,
        severity="high",
        min_traces=2,
    ),
)

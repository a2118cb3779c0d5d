-- Expressions that several tables and detectors use. Recognisers of texts are macros too: analysis/lexicon makes them.

-- Work of which a later success counts: of model calls any one of the agent, else the same tool or span.
CREATE OR REPLACE TEMP MACRO work_of(span_type, agent_name, work) AS
  CASE WHEN span_type = 'llm' THEN 'llm ' || coalesce(agent_name, '') ELSE work END;

-- Members of a result in JSON, for json_failed and json_may_have_failed.
CREATE OR REPLACE TEMP MACRO says_something(r, path) AS
  json_type(r, path) = 'VARCHAR' AND NOT no_error(trim(r->>path))
  OR json_type(r, path) = 'OBJECT' AND (r->>path) <> '{}';
CREATE OR REPLACE TEMP MACRO is_boolean(r, path, value) AS json_type(r, path) = 'BOOLEAN' AND (r->>path) = value;
CREATE OR REPLACE TEMP MACRO is_filled_list(r, path) AS json_type(r, path) = 'ARRAY' AND json_array_length(r, path) > 0;
CREATE OR REPLACE TEMP MACRO number_at(r, path) AS coalesce(try_cast(r->>path AS INTEGER), 0);
CREATE OR REPLACE TEMP MACRO is_http_error(r, path) AS number_at(r, path) BETWEEN 400 AND 599;
CREATE OR REPLACE TEMP MACRO is_error_state(r, path) AS lower(r->>path) IN ('error', 'exception');
CREATE OR REPLACE TEMP MACRO is_failed_state(r, path) AS
  lower(r->>path) IN ('failed', 'failure', 'fail', 'unavailable', 'timeout');
CREATE OR REPLACE TEMP MACRO has_words(r) AS
  json_exists(r, '$.message') OR json_exists(r, '$.reason') OR json_exists(r, '$.detail') OR json_exists(r, '$.details')
  OR json_exists(r, '$.error') OR json_exists(r, '$.cause') OR json_exists(r, '$.body');

-- An object with a member for an error: no answer may pass that on as a plain no.
CREATE OR REPLACE TEMP MACRO json_failed(r) AS
  says_something(r, '$.error') OR says_something(r, '$.exception') OR says_something(r, '$.error_message')
  OR says_something(r, '$.errorMessage') OR says_something(r, '$.traceback') OR is_boolean(r, '$.error', 'true')
  OR is_filled_list(r, '$.error') OR (r->>'$.isError') = 'true' OR (r->>'$.is_error') = 'true';

-- An object with a failing state: of tools that read logs and the like, it may be their subject.
CREATE OR REPLACE TEMP MACRO json_may_have_failed(r, text) AS
  is_filled_list(r, '$.errors') AND (json_type(r, '$.data') = 'NULL' OR len(json_keys(r)) = 1)
  OR is_boolean(r, '$.success', 'false') OR is_boolean(r, '$.ok', 'false') OR is_boolean(r, '$.succeeded', 'false')
  OR is_error_state(r, '$.status') OR is_error_state(r, '$.state') OR is_error_state(r, '$.outcome')
  OR is_error_state(r, '$.type')
  OR (is_failed_state(r, '$.status') OR is_failed_state(r, '$.state') OR is_failed_state(r, '$.outcome')
    OR is_failed_state(r, '$.result')) AND has_words(r) AND NOT has_record_id(text)
  OR is_http_error(r, '$.status') OR is_http_error(r, '$.status_code') OR is_http_error(r, '$.statusCode')
  OR is_http_error(r, '$.http_status') OR is_http_error(r, '$.code') AND has_words(r)
  OR number_at(r, '$.exit_code') <> 0 OR number_at(r, '$.exitCode') <> 0 OR number_at(r, '$.exit_status') <> 0
  OR number_at(r, '$.exitStatus') <> 0 OR number_at(r, '$.returncode') <> 0 OR number_at(r, '$.return_code') <> 0;

-- An object that says nothing but that the call failed.
CREATE OR REPLACE TEMP MACRO json_says_only_failure(r) AS
  len(json_keys(r)) <= 3 AND says_only_failure(
    coalesce(r->>'$.message', r->>'$.detail', r->>'$.msg', r->>'$.reason', r->>'$.Message'));

-- A result that holds nothing. Search engines wrap it: an object of empty lists, numbers, and short words around them.
CREATE OR REPLACE TEMP MACRO is_empty_result(text, length) AS
  -- MCP wraps what a tool says.
  says_nothing_found(coalesce(text, '')) OR coalesce(length <= 500 AND says_nothing_found(
    nullif(regexp_extract(text, '^\s*\{"content":\s*\[\{"type":\s*"text",\s*"text":\s*("[^"]*")', 1), '')[2:-2]),
    false) OR coalesce(
    length <= 500 AND has_empty_list(text) AND json_valid(text)
    AND regexp_matches(
      regexp_replace(
        text,
        '"(query|q|search|input|question)"\s*:\s*"[^"]*"|"\w+"\s*:\s*("[^"\s]{0,40}"|-?[\d.]+|true|false|null)',
        '', 'g'),
      '^([\s{}\[\],]|"\w+"\s*:)*$'),
    false);

-- The words of a tool's name but for its verb, each without its ending: get_open_orders → (open|order).
CREATE OR REPLACE TEMP MACRO stems_of(tool) AS '\b(' || coalesce(nullif(array_to_string(list_transform(
  list_filter(
    regexp_split_to_array(lower(regexp_replace(tool, '([a-z])([A-Z])', '\1_\2', 'g')), '[^a-z]+'),
    lambda w: length(w) >= 4),
  lambda w: left(w, greatest(4, length(w) - 2))), '|'), ''), 'a^') || ')';

-- What a program printed beside CPython's stack trace: its frames are indented, and its exception stands below them.
CREATE OR REPLACE TEMP MACRO without_stack_trace(text) AS regexp_replace(
  text, 'Traceback \(most recent call last\):\n(?:[ \t].*\n)*[^\n]*', '', 'g');
CREATE OR REPLACE TEMP MACRO long_words(text) AS regexp_extract_all(lower(text), '[\p{L}\p{N}]{5,}');

-- The first block of code in a turn, as Markdown and smolagents mark it; empty without one.
CREATE OR REPLACE TEMP MACRO code_in(text) AS
  regexp_extract(coalesce(text, ''), '(?s)(?:```[\w+-]*\n|<code>)(.*?)(?:```|</code>|\z)', 1);

-- Who claims something, in a title.
CREATE OR REPLACE TEMP MACRO claimant(agent_name, service_name) AS
  coalesce(nullif(agent_name, ''), nullif(service_name, ''), 'an agent');

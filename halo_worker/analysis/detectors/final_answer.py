"""The answer that a user saw: the model call that ended the run's work, not what was asked of a model afterwards.

Products call models after the answer: for a title, follow-up questions, tags, a summary, a verdict. They are told
apart by what the run itself returned, by where and when they ran, by their size and their shape; not by their words.
"""

from __future__ import annotations

from halo_receiver.store.reader import Reader

MAX_AFTER = 5  # calls after the answer that are looked at
MAX_TITLE = 80  # characters
SMALL_ANSWER = 200  # characters, of which a call beside the run may have a quarter of the answer's at most
SMALL_LIMIT = 256  # output tokens allowed
MIN_SNIPPET = 8  # characters of an answer by which it is recognised in another text

# Calls that say something, or nothing, and ask for no tool, the last ones of each trace; under an evaluator or a
# guardrail nobody speaks to the user.
_CANDIDATES = f"""
  SELECT s.trace_id, s.span_id, s.start_time, s.end_time, coalesce(s.output_length, 0) = 0 AND NOT s.media AS empty,
    row_number() OVER (PARTITION BY s.trace_id ORDER BY s.end_time DESC, s.start_time DESC, s.span_id) AS back
  FROM _s s ANTI JOIN _judging j USING (trace_id, span_id)
  WHERE s.span_type = 'llm' AND NOT s.failed AND s.calls = 0 AND s.end_time IS NOT NULL
  QUALIFY back <= {MAX_AFTER} + 1
"""

# What is asked of a candidate where there are several. `snippet`: its beginning, up to what JSON would write in another
# way; `title`: one short line that is no sentence.
_TITLE = f"output_length <= {MAX_TITLE} AND regexp_full_match(trim(output_head), '[^\\n]*[^\\n.!?…:)。！？।؟]')"
_SHAPES = f"""
  SELECT c.*, s.parent_span_id, s.served_model, s.system_head, s.output_length, s.max_output_tokens,
    coalesce(len(s.tools_offered), 0) AS offered,
    regexp_extract(ltrim(output_head), '[^"\\\\\\n\\r\\t]{{1,80}}') AS snippet,
    regexp_matches(output_head, '^\\s*(```json|[{{\\[])') AS data,
    {_TITLE} AS title,
    regexp_full_match(output_head, '(\\s*[^?？؟\n]{{3,300}}[?？؟]\\s*){{2,}}') AS questions
  FROM _candidates c JOIN _s s USING (trace_id, span_id)
  WHERE trace_id IN (SELECT trace_id FROM _candidates WHERE back = 2)
"""

# Two of them, with no work of tools between; the second may have begun with the run. `looped`: the first ended a loop
# of tool calls. `leads`: the second is of the agent that handed out the work which the first ended.
_PAIRS = f"""
  WITH pairs AS (
    SELECT c.*, a.span_id AS of_span_id, a.empty AS of_empty, a.snippet AS of_snippet, a.end_time AS of_end,
      a.parent_span_id AS of_parent, a.output_length AS of_length, a.data AS of_data, a.title AS of_title,
      a.questions AS of_questions, a.max_output_tokens AS of_limit, a.offered AS of_offered,
      a.served_model IS DISTINCT FROM c.served_model OR a.parent_span_id IS DISTINCT FROM c.parent_span_id
        OR a.system_head IS DISTINCT FROM c.system_head OR a.offered > c.offered AS differs
    FROM _shapes c JOIN _shapes a ON a.trace_id = c.trace_id AND a.back > c.back
    WHERE c.back <= {MAX_AFTER} AND NOT c.empty
  ),
  beside AS (FROM _s SEMI JOIN pairs USING (trace_id)),
  work AS (SELECT trace_id, start_time FROM beside WHERE span_type IN ('tool', 'retriever') OR calls > 0)
  SELECT p.*, EXISTS (
      SELECT 1 FROM beside l WHERE l.trace_id = p.trace_id AND l.span_type = 'llm' AND l.calls > 0
        AND l.parent_span_id IS NOT DISTINCT FROM p.of_parent AND l.end_time <= p.of_end) AS looped,
    coalesce(p.parent_span_id <> p.of_parent, false) AND EXISTS (
      SELECT 1 FROM beside l WHERE l.trace_id = p.trace_id AND l.span_type = 'llm' AND l.calls > 0
        AND l.parent_span_id = p.parent_span_id AND l.served_model IS NOT DISTINCT FROM p.served_model
        AND l.end_time <= p.of_end) AS leads,
    p.start_time >= r.end_time AND p.of_end <= r.end_time AS after_the_run
  FROM pairs p LEFT JOIN (
    SELECT trace_id, max(end_time) AS end_time FROM beside WHERE parent_span_id IS NULL GROUP BY trace_id
  ) r USING (trace_id)
  WHERE NOT EXISTS (
    SELECT 1 FROM work w WHERE w.trace_id = p.trace_id AND w.start_time >= p.of_end AND w.start_time < p.start_time)
"""

_ASIDE = f"""
  coalesce(after_the_run, false) OR NOT leads AND (
  data AND NOT of_data
  OR questions AND NOT of_questions
  OR title AND NOT of_title AND NOT of_empty
  OR title AND of_empty AND differs
  OR max_output_tokens <= {SMALL_LIMIT} AND coalesce(of_limit > 2 * max_output_tokens, true)
  OR output_length < of_length
    AND (looped AND parent_span_id IS NOT DISTINCT FROM of_parent OR of_offered > 0 AND offered = 0)
  OR output_length <= {SMALL_ANSWER} AND 4 * output_length <= of_length AND differs)
"""

# A title in a run whose loop never came to an answer: no call of the loop is of its model.
_TITLE_ALONE = f"""
  SELECT t.trace_id, t.span_id, arg_max(l.span_id, l.start_time) AS of_span_id
  FROM (SELECT * FROM _s SEMI JOIN _candidates USING (trace_id, span_id) WHERE {_TITLE}) t
  JOIN _s l ON l.trace_id = t.trace_id AND l.span_type = 'llm' AND l.calls > 0 AND l.end_time <= t.start_time
  GROUP BY t.trace_id, t.span_id HAVING bool_and(l.served_model IS DISTINCT FROM t.served_model)
"""

# Longer than the answer that ended the loop, and asked with that answer in the question: a verdict or a summary of it.
_DOUBTED = f"""
  SELECT p.trace_id, p.span_id, p.of_span_id, p.of_snippet FROM _pairs p ANTI JOIN _asides a USING (trace_id, span_id)
  WHERE p.looped AND NOT p.leads AND NOT p.of_empty AND length(p.of_snippet) >= {MIN_SNIPPET}
"""
_ABOUT = """
  INSERT INTO _asides SELECT d.trace_id, d.span_id, d.of_span_id FROM _doubted d
  JOIN _own_spans p ON p.trace_id = d.trace_id AND p.span_id = d.span_id WHERE contains(p.input_text, d.of_snippet)
"""

# What the run returned, by the outermost span that says: the calls whose words are in it.
_RETURNED = f"""
  SELECT c.trace_id, c.span_id FROM _shapes c JOIN (
    SELECT trace_id, arg_min(concat_ws(chr(10), output_head, output_tail), start_time) AS said FROM _s
    WHERE trace_id IN (SELECT trace_id FROM _pairs) AND output_length > 0
      AND (parent_span_id IS NULL AND span_type IS DISTINCT FROM 'llm' OR span_type IN ('agent', 'workflow'))
    GROUP BY trace_id
  ) r USING (trace_id)
  WHERE NOT c.empty AND (trim(r.said) = trim(c.snippet)
    OR length(c.snippet) >= {MIN_SNIPPET} AND contains(r.said, c.snippet))
"""
_FINAL = """
  WITH counted AS (
    SELECT c.*, r.span_id IS NOT NULL AS returned, bool_or(r.span_id IS NOT NULL) OVER (PARTITION BY c.trace_id) AS told
    FROM _candidates c LEFT JOIN _returned r USING (trace_id, span_id)
    WHERE NOT c.empty AND trace_id IN (SELECT trace_id FROM _pairs)
  ),
  considered AS (SELECT trace_id, span_id, back FROM counted WHERE returned = told),
  answers AS (
    SELECT trace_id, span_id, back FROM considered c WHERE NOT EXISTS (
      SELECT 1 FROM _asides a JOIN considered o ON o.trace_id = a.trace_id AND o.span_id = a.of_span_id
      WHERE a.trace_id = c.trace_id AND a.span_id = c.span_id)
    UNION ALL
    SELECT trace_id, span_id, back FROM _candidates WHERE NOT empty AND trace_id NOT IN (SELECT trace_id FROM _pairs)
  )
  SELECT s.trace_id, s.span_id, s.agent_name, s.service_name, s.system_head, s.end_time, s.output_head AS answer
  FROM (SELECT trace_id, arg_min(span_id, back) AS span_id FROM answers GROUP BY trace_id) f
  JOIN _s s USING (trace_id, span_id)
"""


def prepare(reader: Reader) -> None:
    """Make `_final` (the answer of each trace) and `_asides` (trace_id, span_id, of_span_id). Needs `_s`.

    `_asides` are calls that came after `of_span_id` and are not part of the run. `_final` has trace_id, span_id,
    agent_name, service_name, system_head, end_time and the answer's first 2,000 characters, NULL where it is an image
    or a file.
    """
    execute = reader.connection.execute
    _judging(reader)
    reader.scratch.table("_candidates", _CANDIDATES)
    execute(f"CREATE OR REPLACE TEMP TABLE _shapes AS {_SHAPES}")
    execute(f"CREATE OR REPLACE TEMP TABLE _pairs AS {_PAIRS}")
    execute(f"CREATE OR REPLACE TEMP TABLE _asides AS SELECT trace_id, span_id, of_span_id FROM _pairs WHERE {_ASIDE}")
    execute(f"INSERT INTO _asides {_TITLE_ALONE}")
    _add_about(reader)
    execute(f"CREATE OR REPLACE TEMP TABLE _returned AS {_RETURNED}")
    reader.scratch.table("_final", _FINAL)


def _add_about(reader: Reader) -> None:
    """Add to `_asides` the calls that are asked about the answer."""
    execute = reader.connection.execute
    execute(f"CREATE OR REPLACE TEMP TABLE _doubted AS {_DOUBTED}")
    if execute("SELECT 1 FROM _doubted LIMIT 1").fetchone():
        execute(_ABOUT)


def _judging(reader: Reader) -> None:
    """Make `_judging`: spans within an evaluator or a guardrail."""
    reader.connection.execute(
        "CREATE OR REPLACE TEMP TABLE _judging AS SELECT trace_id, span_id FROM _s "
        "WHERE span_type IN ('evaluator', 'guardrail')"
    )
    if not reader.query("SELECT count(*) AS n FROM _judging")[0]["n"]:
        return
    reader.connection.execute("""
        CREATE OR REPLACE TEMP TABLE _judging AS
        WITH RECURSIVE beneath AS (
          SELECT trace_id, span_id FROM _judging
          UNION
          SELECT s.trace_id, s.span_id FROM beneath b
          JOIN _s s ON s.trace_id = b.trace_id AND s.parent_span_id = b.span_id
        ) FROM beneath
    """)

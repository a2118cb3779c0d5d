"""Choices of tools: a request that is always answered with one tool, answered with another."""

from __future__ import annotations

from halo_worker.analysis.detectors.detector import Unit
from halo_worker.analysis.detectors.tables import ADMITS, ENDING

_ADMITS = ADMITS.replace("'", "''")
MAX_CALLS = 2  # of tools in such a trace
REQUEST_WORDS = 40  # of a request, that are compared
COMMON = (0.02, 0.1)  # shares of a service's requests from which a word is part of their form, not their content
MIN_ALIKE = 20  # requests of one form, below which no tool is usual
USUAL = 0.9  # share of them that call the usual tool
SELDOM = 0.06  # at most, that call the other one instead

# Requests of the same form: words that many of the service's requests share stay, all others become '#'.
PREPARE = f"""
CREATE OR REPLACE TEMP TABLE _asked AS
SELECT trace_id, any_value(service_name) AS service_name,
  coalesce(arg_min(asked, start_time) FILTER (span_type = 'llm'), arg_min(asked, start_time)) AS asked
FROM _s WHERE length(asked) BETWEEN 8 AND 290 GROUP BY trace_id;
-- The words of a tool's name but for its verb, each without its ending: get_open_orders → (open|order).
CREATE OR REPLACE TEMP MACRO _stems(tool) AS '\\b(' || coalesce(nullif(array_to_string(list_transform(list_filter(
  regexp_split_to_array(lower(regexp_replace(tool, '([a-z])([A-Z])', '\\1_\\2', 'g')), '[^a-z]+'), lambda w: length(w) >= 4), lambda w: left(w, greatest(4, length(w) - 2))), '|'), ''), 'a^') || ')';
CREATE OR REPLACE TEMP TABLE _texts AS
SELECT trace_id, service_name, regexp_replace(lower(regexp_replace(asked, '([^.?!]) [A-Z][a-z]+', '\\1 #', 'g')), '\\S*\\d\\S*', '#', 'g') AS masked FROM _asked;
CREATE OR REPLACE TEMP TABLE _forms AS
WITH texts AS (SELECT service_name, masked, count(*) AS n, hash(service_name, masked) AS number FROM _texts GROUP BY ALL),
words AS (
  SELECT number, service_name, n, unnest(list) AS word, generate_subscripts(list, 1) AS place
  FROM (SELECT *, regexp_extract_all(masked, '[a-z'']+|#')[1:{REQUEST_WORDS}] AS list FROM texts)
),
sizes AS (SELECT service_name, sum(n) AS traces FROM texts GROUP BY ALL),
levels AS (SELECT unnest({list(COMMON)}) AS share),
common AS (
  SELECT service_name, word, share
  FROM (SELECT service_name, word, sum(n) AS n FROM (SELECT DISTINCT number, service_name, n, word FROM words WHERE word <> '#') GROUP BY ALL)
  JOIN sizes USING (service_name) CROSS JOIN levels WHERE n >= greatest(10, share * traces)
),
formed AS (
  SELECT number, service_name, share, regexp_replace(string_agg(coalesce(c.word, '#'), ' ' ORDER BY place), '(# )+#?', '# ', 'g') AS form
  FROM words CROSS JOIN levels LEFT JOIN common c USING (service_name, word, share) GROUP BY ALL HAVING count(c.word) >= 3
)
SELECT t.trace_id, t.service_name, f.share, f.form
FROM _texts t JOIN texts x USING (service_name, masked) JOIN formed f ON f.number = x.number AND f.service_name = t.service_name
"""

UNITS = (
    Unit(
        name="unusual_tool",
        version=2,
        category="Tool Selection Errors",
        definition=f"Of {MIN_ALIKE} requests or more of the same form, {USUAL:.0%} are answered with one tool; this one was answered without it, with a tool that is the usual one for requests of another form",
        source="TRAIL, Tool Selection Errors; majority within a form of request",
        limits="only where requests come in forms; a request that differs in what makes it different looks the same",
        sql=f"""
          WITH used AS (
            SELECT DISTINCT trace_id, coalesce(tool_name, name) AS tool FROM _s WHERE span_type = 'tool' AND NOT regexp_matches(coalesce(tool_name, name), '{ENDING}')
            UNION SELECT DISTINCT trace_id, call_name FROM _calls WHERE call_name <> '' AND NOT regexp_matches(call_name, '{ENDING}')
          ),
          forms AS (SELECT f.*, count(*) OVER (PARTITION BY service_name, share, form) AS alike FROM _forms f SEMI JOIN used USING (trace_id)),
          tools AS (
            SELECT service_name, share, form, tool, any_value(alike) AS alike, count(*) AS n
            FROM forms JOIN used USING (trace_id) WHERE alike >= {MIN_ALIKE} GROUP BY ALL
          ),
          usual AS (SELECT service_name, share, form, arg_max(tool, n) AS tool FROM tools WHERE n >= {USUAL} * alike GROUP BY ALL),
          odd AS (
            SELECT f.trace_id, u.tool AS usual, min(t.tool) AS tool
            FROM forms f JOIN usual u USING (service_name, share, form) JOIN used d ON d.trace_id = f.trace_id
            JOIN tools t ON t.service_name = f.service_name AND t.share = f.share AND t.form = f.form AND t.tool = d.tool
            ANTI JOIN used x ON x.trace_id = f.trace_id AND x.tool = u.tool
            SEMI JOIN usual other ON other.service_name = f.service_name AND other.tool = d.tool
            GROUP BY f.trace_id, u.tool, f.share HAVING max(t.n / t.alike) <= {SELDOM} AND count(DISTINCT d.tool) = 1
          ),
          -- Work of many calls, failures, and answers that speak of the tool or say what is missing are other matters.
          plain AS (
            SELECT o.*, regexp_replace(lower(o.tool), '[^a-z]+', '|', 'g') AS words FROM odd o JOIN (
              SELECT trace_id FROM _s ANTI JOIN _inner USING (trace_id, span_id) GROUP BY ALL HAVING count(*) FILTER (span_type = 'tool') <= {MAX_CALLS} AND count(*) FILTER (failed) = 0
            ) USING (trace_id) JOIN _final f USING (trace_id) JOIN _asked a USING (trace_id)
            WHERE NOT regexp_matches(f.answer, '{_ADMITS}') AND NOT regexp_matches(lower(f.answer), _stems(o.tool)) AND NOT regexp_matches(lower(a.asked), _stems(o.tool))
          )
          SELECT any_value(o.usual) || '|' || any_value(o.tool) AS key, any_value(o.tool) AS subject, o.trace_id,
            coalesce(arg_min(s.span_id, s.start_time) FILTER (s.span_type = 'tool'), arg_min(s.span_id, s.start_time)) AS span_id, NULL AS origin_span_id,
            'name' AS field, coalesce(arg_min(s.name, s.start_time) FILTER (s.span_type = 'tool'), arg_min(s.name, s.start_time)) AS quote
          FROM plain o JOIN _s s ON s.trace_id = o.trace_id AND (s.span_type = 'tool' AND coalesce(s.tool_name, s.name) = o.tool OR s.span_type = 'llm' AND s.calls > 0)
          GROUP BY o.trace_id
        """,
        title="{subject} is called for requests that another tool answers",
        description="Requests of this form nearly always use another tool ({key}); here the model called {subject}.",
        fix="State in the tools' descriptions when to use each, with one example; remove overlaps.",
        validation="Requests of this form should all call the usual tool.",
        confidence=0.7,
    ),
)  # fmt: skip

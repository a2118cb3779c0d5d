"""What calls usually take, in levels, and which calls and which groups of calls are far from it.

A call is compared with the calls of its service, agent and tool or model; where those are few, with those of its
service, then with all calls of the tool or model: each level is drawn towards the one above it by `PRIOR` calls. All
of it is read from counts by bins of the logarithm, so that parts of a window can be counted apart and added.
"""

from __future__ import annotations

from halo_receiver.store.reader import Reader
from halo_worker.analysis.detectors.detector import Unit

BIN = 0.05  # of the natural logarithm: values within 5 % count as equal
PRIOR = 10  # calls of the level above that a level is drawn towards it by
MIN_PEERS = 15  # calls of the widest level, below which nothing is an outlier
MIN_SPREAD = 0.15  # of the logarithm: calls that are all alike differ by chance all the same
ROBUST_Z = 6.0  # median absolute deviations of the logarithm
MIN_RATIO = 5.0  # times the median
VAST_RATIO = 30.0  # times the median, from which half the deviations are enough: latencies are skewed
MAX_SHARE = 0.1  # of a level, what is more frequent is another way of working: a shift, not an outlier
LEAST_NS = 5_000_000_000  # of a call that is an outlier
LEAST_TOKENS = 8_000
LEAST_USD = 0.05
LONG_NS = 600_000_000_000  # of one call: too long whatever is usual
LONG_INPUT = 4_000  # characters that a user sent, from which they may explain an outlier
MIN_GROUP = 5  # calls of a version, prompt, model or day
SHIFT_RATIO = 2.0
SHIFT_Z = 4.5  # of the rank test: one in 300,000, for hundreds are made

# What is measured of a span: of model calls the time for each 50 tokens of the answer, so that long answers are not slow;
# what a prompt reads beyond the one before it, so that the steady growth of long work is none and a page pasted in is.
_SPANS = """
  SELECT trace_id, span_id, span_type, service_name, agent_name, model, version, prompt, start_time, duration_ns,
    input_tokens, output_tokens, cost_usd, span_type || ' ' || coalesce(tool_name, model, '') AS what
  FROM _s ANTI JOIN _repeated r USING (trace_id, span_id)
  WHERE span_type IN ('llm', 'tool', 'retriever', 'embedding', 'reranker') AND NOT failed
"""
_MEASURED = f"""
  WITH gained AS (
    SELECT *, lag(input_tokens) OVER (PARTITION BY trace_id, agent_name, model ORDER BY start_time, span_id) AS earlier
    FROM ({_SPANS}) WHERE span_type = 'llm' AND input_tokens > 0
  )
  SELECT trace_id, span_id, measure, service_name AS service, agent_name AS agent, what, version, prompt,
    start_time::DATE AS day, floor(ln(value) / {BIN})::INTEGER AS bin, enough
  FROM (
    SELECT *, 'duration' AS measure, duration_ns / (1 + coalesce(output_tokens, 0) / 50.0) AS value,
      duration_ns >= {LEAST_NS} AS enough FROM ({_SPANS})
    UNION ALL BY NAME
    SELECT *, 'cost' AS measure, cost_usd AS value, cost_usd >= {LEAST_USD} AS enough FROM ({_SPANS}) WHERE span_type = 'llm'
    UNION ALL BY NAME
    SELECT *, CASE WHEN earlier IS NULL THEN 'first prompt' ELSE 'later prompt' END AS measure,
      input_tokens - coalesce(earlier, 0) AS value, value >= {LEAST_TOKENS} AS enough FROM gained
  ) WHERE value > 0
"""

_BINS = """
  SELECT measure, service, agent, what, bin, count(*) AS n FROM _measured GROUP BY ALL
"""


def _level(name: str, keys: str) -> str:
    """Say the number, the median bin and the median distance from it of each group of bins."""
    return f"""
      {name}_bins AS (SELECT {keys}, bin, sum(n) AS n FROM _baseline_bins GROUP BY ALL),
      {name}_median AS (
        SELECT {keys}, max(total) AS total, min(bin) FILTER (2 * upto >= total) AS m FROM (
          SELECT {keys}, bin, sum(n) OVER (w ORDER BY bin) AS upto, sum(n) OVER w AS total FROM {name}_bins
          WINDOW w AS (PARTITION BY {keys})) GROUP BY {keys}
      ),
      {name} AS (
        SELECT {keys}, any_value(total)::DOUBLE AS total, any_value(m)::DOUBLE AS m,
          min(distance) FILTER (2 * upto >= total)::DOUBLE AS d
        FROM (
          SELECT {keys}, m, total, distance, sum(n) OVER (PARTITION BY {keys} ORDER BY distance) AS upto FROM (
            SELECT {keys}, any_value(m) AS m, any_value(total) AS total, abs(bin - m) AS distance, sum(n) AS n
            FROM {name}_bins JOIN {name}_median USING ({keys}) GROUP BY {keys}, abs(bin - m))) GROUP BY {keys}
      )"""


def _drawn(measure: str) -> str:
    middle = f"(s.total * s.{measure} + {PRIOR} * o.{measure}) / (s.total + {PRIOR})"
    return f"(a.total * a.{measure} + {PRIOR} * {middle}) / (a.total + {PRIOR})"


# Of each service, agent and tool or model: how many calls, their usual bin and spread (drawn towards the levels above).
_BASELINES = f"""
  WITH {_level("a", "measure, service, agent, what")}, {_level("s", "measure, service, what")},
    {_level("o", "measure, what")}
  SELECT a.measure, a.service, a.agent, a.what, a.total AS calls, o.total AS peers, {_drawn("m")} AS usual,
    greatest({_drawn("d")}, {MIN_SPREAD / BIN}) * 1.4826 AS spread
  FROM a JOIN s ON s.measure = a.measure AND s.what = a.what AND s.service IS NOT DISTINCT FROM a.service
  JOIN o ON o.measure = a.measure AND o.what = a.what
"""

_FAR = f"""
  SELECT measure, trace_id, span_id FROM (
    SELECT *, count(*) OVER (PARTITION BY measure, service, agent, what) AS together FROM (
      SELECT m.measure, m.trace_id, m.span_id, m.service, m.agent, m.what, b.calls,
        (m.bin - b.usual) * {BIN} AS above, (m.bin - b.usual) / b.spread AS z
      FROM _measured m JOIN _baselines b ON b.measure = m.measure AND b.what = m.what
        AND b.service IS NOT DISTINCT FROM m.service AND b.agent IS NOT DISTINCT FROM m.agent
      WHERE m.enough AND b.peers >= {MIN_PEERS})
    WHERE above > ln({MIN_RATIO}) AND (z > {ROBUST_Z} OR above > ln({VAST_RATIO}) AND z > {ROBUST_Z} / 2))
  WHERE together <= greatest(2, {MAX_SHARE} * calls)
  UNION
  SELECT 'duration', trace_id, span_id FROM _s ANTI JOIN _repeated r USING (trace_id, span_id)
  WHERE span_type IN ('llm', 'tool', 'retriever') AND NOT failed AND duration_ns >= {LONG_NS}
"""

# Versions, prompts and days whose calls lie above the others of their service, agent and tool or model: a rank test
# over bins, and the ratio of the geometric means.
_SHIFTS = f"""
  WITH valued AS (
    SELECT measure, service, agent, what, dimension, value, bin, trace_id FROM (
      SELECT measure, service, agent, what, bin, trace_id, unnest(['version', 'prompt', 'day']) AS dimension,
        unnest([version, prompt, day::VARCHAR]) AS value
      FROM _measured WHERE measure IN ('duration', 'first prompt')) WHERE value <> ''
  ),
  kinds AS (
    SELECT *, sum(n) OVER (k ORDER BY bin) - n / 2.0 AS below, sum(n) OVER k AS total, sum(n * bin) OVER k AS sum_all
    FROM (SELECT measure, service, agent, what, dimension, bin, count(*) AS n FROM valued GROUP BY ALL)
    WINDOW k AS (PARTITION BY measure, service, agent, what, dimension)
  ),
  ranked AS (
    SELECT v.measure, v.service, v.agent, v.what, v.dimension, v.value, count(*) AS n, any_value(k.total) AS total,
      sum(k.below) AS ranks, avg(v.bin) AS own, (any_value(k.sum_all) - sum(v.bin)) / nullif(any_value(k.total) - count(*), 0) AS rest
    FROM valued v JOIN kinds k ON k.measure = v.measure AND k.what = v.what AND k.dimension = v.dimension
      AND k.bin = v.bin AND k.service IS NOT DISTINCT FROM v.service AND k.agent IS NOT DISTINCT FROM v.agent
    WHERE k.total >= {MIN_PEERS}
    GROUP BY ALL HAVING count(DISTINCT v.trace_id) >= {MIN_GROUP}
  )
  SELECT measure, service, agent, what, dimension, value, exp({BIN} * (own - rest)) AS times,
    (ranks - n * total / 2.0) / sqrt(n * (total - n) * (total + 1) / 12.0) AS z
  FROM ranked WHERE total - n >= {MIN_GROUP} AND times >= {SHIFT_RATIO} AND z > {SHIFT_Z}
"""

# Runs whose user sent far more than the users of the service usually do: that explains a long prompt, and a slow answer.
_LONG_INPUTS = f"""
  WITH inputs AS (SELECT trace_id, service_name, max(asked_length) AS sent FROM _s WHERE asked_length > 0 GROUP BY ALL),
  usual AS (SELECT service_name, median(sent) AS sent FROM inputs GROUP BY ALL)
  SELECT DISTINCT i.trace_id FROM inputs i JOIN usual u ON u.service_name IS NOT DISTINCT FROM i.service_name
  WHERE i.sent >= {LONG_INPUT} AND i.sent >= {MIN_RATIO} * u.sent
"""


def prepare(reader: Reader) -> None:
    """Make `_measured`, `_baseline_bins`, `_baselines`, and `_far`: the outliers that the user's input does not explain."""
    reader.scratch.table("_measured", _MEASURED)
    execute = reader.connection.execute
    execute(f"CREATE OR REPLACE TEMP TABLE _baseline_bins AS {_BINS}")
    execute(f"CREATE OR REPLACE TEMP TABLE _baselines AS {_BASELINES}")
    execute(f"CREATE OR REPLACE TEMP TABLE _far AS {_FAR}")
    execute(f"DELETE FROM _far WHERE measure <> 'later prompt' AND trace_id IN ({_LONG_INPUTS})")
    execute(f"CREATE OR REPLACE TEMP TABLE _shifts AS {_SHIFTS}")


def _outliers(measures: str) -> str:
    """Name the outliers of some measures; of nested ones the deepest."""
    return f"""
      WITH found AS (
        SELECT s.trace_id, s.span_id, s.parent_span_id, s.name, coalesce(s.tool_name, s.agent_name, s.name) AS subject,
          s.span_type FROM _s s SEMI JOIN (FROM _far WHERE measure IN ({measures})) f USING (trace_id, span_id))
      SELECT f.subject || '|' || f.span_type AS key, f.subject, f.trace_id, f.span_id, f.span_id AS origin_span_id,
        'name' AS field, f.name AS quote
      FROM found f ANTI JOIN found c ON c.trace_id = f.trace_id AND c.parent_span_id = f.span_id
      ANTI JOIN (SELECT trace_id, outer_span_id FROM _inner SEMI JOIN found USING (trace_id, span_id)) i
        ON i.trace_id = f.trace_id AND i.outer_span_id = f.span_id
    """


def _shifted(measures: str) -> str:
    """Name the calls of versions, prompts, models and days that lie above those of the others."""
    return f"""
      SELECT dimension || ' ' || value AS key, coalesce(h.agent, h.service, h.what) AS subject, trace_id, span_id,
        span_id AS origin_span_id, 'name' AS field, name AS quote
      FROM _shifts h JOIN _measured m ON m.measure = h.measure AND m.service IS NOT DISTINCT FROM h.service
        AND m.agent IS NOT DISTINCT FROM h.agent AND (m.what = h.what OR h.what = 'llm' AND starts_with(m.what, 'llm '))
        AND CASE h.dimension WHEN 'version' THEN m.version WHEN 'prompt' THEN m.prompt WHEN 'model' THEN m.what[5:]
          ELSE m.day::VARCHAR END = h.value
      JOIN (SELECT trace_id, span_id, name FROM _s) USING (trace_id, span_id)
      WHERE h.measure IN ({measures})
    """


_METHOD = "median and MAD of the logarithm (Iglewicz and Hoaglin 1993), drawn towards the level above (empirical Bayes)"
_FAR_FROM = f"more than {MIN_RATIO:g} times what is usual for its agent and tool or model, and more than {ROBUST_Z:g} robust standard deviations (half of them from {VAST_RATIO:g} times on)"
_LIMITS = f"at least {MIN_PEERS} calls of the tool or model; inputs of users that are as long explain it; at most {MAX_SHARE:.0%} of an agent's calls, for more is a shift"
_RANKS = f"rank test (Mann and Whitney 1947) at {SHIFT_Z:g} standard deviations"

UNITS = (
    Unit(
        name="latency_outlier",
        version=3,
        category="Latency Outlier",
        definition=f"A call takes {_FAR_FROM}; or more than {LONG_NS // 60_000_000_000} minutes",
        source=_METHOD,
        limits=f"model calls by the length of their answers; {_LIMITS}; the deepest slow span only; {LEAST_NS // 10**9} seconds at least",
        sql=_outliers("'duration'"),
        title="{subject} is occasionally far slower than usual",
        description="{subject} takes many times its usual duration in some traces; the deepest slow span is named.",
        fix="Look at what differs in these calls: argument size, cold starts, retries inside the tool, provider latency. Set a timeout.",
        validation="The 99th percentile of this span should come near its median.",
        confidence=0.7,
        severity="low",
    ),
    Unit(
        name="latency_shift",
        category="Latency Outlier",
        definition=f"The calls of one version, prompt or day take {SHIFT_RATIO:g} times as long as the others of their agent and tool or model",
        source=_RANKS,
        limits=f"at least {MIN_GROUP} traces, and as many calls of others; model calls by the length of their answers",
        sql=_shifted("'duration'"),
        title="{subject} is slower with {key}",
        description="Calls of {subject} take a multiple of what the others of the same kind take.",
        fix="Compare with what ran before: the prompt, the tool's implementation, the region or the model that serves it.",
        validation="The durations of this group should not differ from the others.",
        confidence=0.8,
        severity="low",
    ),
    Unit(
        name="token_outlier",
        version=3,
        speaks=("input_tokens",),
        category="Resource Abuse",
        definition=f"A model call reads {_FAR_FROM}: its prompt, or what it reads beyond the call before it",
        source=_METHOD,
        limits=f"{_LIMITS}; {LEAST_TOKENS:,} tokens at least; prompts that grow steadily are left to context_pressure",
        sql=_outliers("'first prompt', 'later prompt'"),
        title="{subject} is occasionally sent far more tokens than usual",
        description="Some calls of {subject} have many times the usual prompt size; they cost more and crowd the task out of the context.",
        fix="Cap tool results and history before they enter the prompt; look for a document or an error page that is passed on whole.",
        validation="The largest prompts of this agent should shrink to a few times the median.",
        confidence=0.7,
        severity="low",
    ),
    Unit(
        name="token_shift",
        speaks=("input_tokens",),
        category="Resource Abuse",
        definition=f"The first prompts of one version, prompt or day have {SHIFT_RATIO:g} times the tokens of the others of their agent and model",
        source=_RANKS,
        limits=f"at least {MIN_GROUP} traces, and as many calls of others",
        sql=_shifted("'first prompt'"),
        title="{subject} is sent more tokens with {key}",
        description="The first prompts of {subject} have a multiple of the tokens that the others of the same kind have.",
        fix="Compare the prompt with the one before: instructions, examples and tool definitions that are sent each time.",
        validation="The first prompts of this group should not differ in size from the others.",
        confidence=0.8,
        severity="low",
    ),
    Unit(
        name="cost_outlier",
        version=3,
        speaks=("cost", "output_tokens", "input_tokens"),
        category="Resource Abuse",
        definition=f"A model call costs {_FAR_FROM}",
        source=_METHOD,
        limits=f"{_LIMITS}; {LEAST_USD:g} dollars at least; costs as sent or estimated; calls whose prompts explain it are token outliers",
        sql=f"""
          FROM ({_outliers("'cost'")}) o ANTI JOIN (FROM _far WHERE measure IN ('first prompt', 'later prompt')) t
            ON t.trace_id = o.trace_id AND t.span_id = o.span_id
        """,
        title="{subject} occasionally costs far more than usual",
        description="Some calls of {subject} cost many times the usual, and their prompts are not longer: their answers or reasoning are.",
        fix="Cap output and reasoning tokens for this call, and look at what the expensive ones were asked.",
        validation="The most expensive calls of this agent should cost a few times the median.",
        confidence=0.7,
        severity="low",
    ),
)

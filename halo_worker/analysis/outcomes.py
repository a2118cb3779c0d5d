"""How runs ended: as somebody recorded it (root status, evaluators, users), else by the structure of the run.

What a detector found is no outcome. A root whose status is UNSET says nothing by itself; where the roots of the same
service do say when they fail, it did not. Control flow is neither success nor failure. A recorded failure, and what an
evaluation says, stand; that a root did not fail says less than how its run ends (`detectors.endings`).
"""

from __future__ import annotations

from halo_receiver.store.reader import Reader
from halo_worker.report.model import ControlFlow, RunOutcome

# An evaluation says "failed" by its label, else by a score from 0 to 1; of some, a high score is the bad one.
_BAD = (
    r"^(fail|failed|false|no|incorrect|wrong|bad|negative|poor|unsafe|toxic|hallucinated|irrelevant|thumbs.?down|dislike"
    r"|👎|0|unhelpful|not .*)$"
)
_GOOD = (
    r"^(pass|passed|true|yes|correct|right|good|positive|safe|factual|relevant|thumbs.?up|like|👍|1|helpful|non.?toxic"
    r"|excellent)$"
)
_HIGH_IS_BAD = r"hallucinat|toxic|bias|harm|error|refus|leak|jailbreak|violation|unsafe|risk"
_SLOTS = 4  # evaluations on one span that are read

# Where evaluations lie on spans: OpenInference's, numbered, and OpenTelemetry's where they are no event of a log.
_PLACES = (
    *(f"{kind}s.{n}.{kind}." for kind in ("evaluation", "annotation") for n in range(_SLOTS)),
    "gen_ai.evaluation.",
)
_SCORE = {"gen_ai.evaluation.": "score.value"}
_LABEL = {"gen_ai.evaluation.": "score.label"}
# Attributes by which a span is seen to be evaluated.
EVALUATED_KEYS = tuple(
    f"{place}{part.get(place, name)}" for place in _PLACES for part, name in ((_SCORE, "score"), (_LABEL, "label"))
)


def _said(place: str) -> str:
    """Return the columns name, label and score of an evaluation, read from `attributes`."""
    return (
        f"trace_id, lower(coalesce(attr(attributes, '{place}name'), '')) AS name, "
        f"lower(trim(attr(attributes, '{place}{_LABEL.get(place, 'label')}'))) AS label, "
        f"try_cast(attr(attributes, '{place}{_SCORE.get(place, 'score')}') AS DOUBLE) AS score"
    )


_ON_SPANS = (
    "WITH marked AS MATERIALIZED (SELECT trace_id, attributes FROM spans WHERE (trace_id, span_id) IN "
    "(SELECT (trace_id, span_id) FROM _s WHERE evaluated)) "
    + " UNION ALL ".join(
        f"SELECT {_said(place)} FROM marked WHERE label IS NOT NULL OR score IS NOT NULL" for place in _PLACES
    )
)
_IN_LOGS = (
    f"SELECT {_said('gen_ai.evaluation.')} FROM logs "
    "WHERE event_name = 'gen_ai.evaluation.result' AND trace_id IS NOT NULL"
)
_EVALUATED = f"""
  SELECT trace_id, 'evaluation', bool_or(bad),
    'what ' || coalesce((SELECT string_agg(DISTINCT name, ', ' ORDER BY name) FROM _evaluations WHERE name <> ''),
      'evaluators') || ' said of the trace'
  FROM (
    SELECT trace_id,
      CASE WHEN regexp_matches(label, '{_GOOD}') THEN false WHEN regexp_matches(label, '{_BAD}') THEN true
      WHEN score BETWEEN 0 AND 1 AND top <= 1 THEN
        CASE WHEN regexp_matches(name, '{_HIGH_IS_BAD}') THEN score > 0.5 ELSE score < 0.5 END END AS bad
    FROM (SELECT *, max(score) OVER (PARTITION BY name) AS top FROM _evaluations)
  ) WHERE bad IS NOT NULL AND trace_id IN (SELECT trace_id FROM _t) GROUP BY trace_id
"""

# One root of each trace, and whether its service's roots ever say how they ended.
_ROOTS = """
  SELECT *, bool_or(status_code IN ('OK', 'ERROR')) OVER (PARTITION BY service_name) AS says FROM (
    SELECT trace_id, arg_min(coalesce(service_name, ''), start_time) AS service_name,
      arg_min(status_code, start_time) AS status_code, arg_min(coalesce(control, ''), start_time) AS control
    FROM _s WHERE parent_span_id IS NULL GROUP BY trace_id
  )
"""

# Classes of outcomes, with the share of such runs that fail their request: a prior for ranking runs, not a finding.
CLASSES = {
    "error": 0.95, "limit reached": 0.8, "ended in mid-work": 0.8, "told but not served": 0.7, "gave up": 0.6,
    "cancelled": 0.5, "unknown": 0.3, "paused": 0.2, "served": 0.2,
}  # fmt: skip
EFFORT = 0.15  # what the share of peers with fewer acts adds to a run that ends with an answer: long work fails more
MIN_PEERS = 15  # runs of a service, from which efforts are compared
LEFT = 0.1  # what work adds that failed and was not done later, whatever the answer says
DONE = 0.1  # what it takes from a run that ends in mid-work when its last act did something and worked: that may be all

_ENDED = """
  CREATE OR REPLACE TEMP TABLE _ended AS
  WITH told AS (
    SELECT trace_id, bool_or(failed) AS failed, bool_or(source = 'evaluation') AS evaluated FROM _outcomes
    GROUP BY trace_id
  ),
  paused AS (SELECT DISTINCT trace_id FROM _s WHERE control = 'paused')
  SELECT t.trace_id, CASE
    WHEN o.failed THEN 'error'
    WHEN p.trace_id IS NOT NULL THEN 'paused'
    WHEN r.control IN ('aborted', 'closed') THEN 'cancelled'
    WHEN o.failed = false OR r.control <> '' THEN 'served'
    ELSE 'unknown' END AS outcome,
    CASE WHEN outcome <> 'unknown' THEN 'recorded' END AS basis,
    outcome = 'unknown' OR outcome = 'served' AND NOT coalesce(o.evaluated, false) AND coalesce(r.control, '') = ''
      AS open,
    NULL::DOUBLE AS risk
  FROM _t t LEFT JOIN told o USING (trace_id) LEFT JOIN _roots r USING (trace_id)
    LEFT JOIN paused p USING (trace_id)
"""
_WHEN = " ".join(f"WHEN '{name}' THEN {risk}" for name, risk in CLASSES.items())
_EFFORT = f"""
  SELECT trace_id, CASE WHEN n >= {MIN_PEERS} THEN {EFFORT} * (rank - 0.5) END AS more FROM (
    SELECT trace_id, count(*) OVER w AS n, percent_rank() OVER (w ORDER BY acts) AS rank
    FROM _endings WHERE outcome IN ('served', 'told but not served') WINDOW w AS (PARTITION BY service_name)
  )
"""
_EVIDENCE = f"""
  SELECT l.trace_id, CASE WHEN l.trace_id IN (SELECT trace_id FROM _failed_work) THEN {LEFT} ELSE 0 END
    - CASE WHEN o.outcome = 'ended in mid-work' AND l.does AND NOT l.failed
      AND NOT (only_reads(l.tool) OR searches(l.tool)) THEN {DONE} ELSE 0 END AS more
  FROM _last l JOIN _endings o USING (trace_id)
"""
# What the structure says where the record leaves it open: a root that did not fail may stand above a run that came to
# nothing; where both say "served", somebody recorded it.
_SETTLED = f"""
  CREATE OR REPLACE TEMP TABLE _ended AS
  SELECT e.trace_id, e.outcome, e.basis, e.open, CASE e.outcome {_WHEN} END + coalesce(p.more, 0)
    + CASE WHEN e.open THEN coalesce(v.more, 0) ELSE 0 END AS risk
  FROM (
    SELECT e.trace_id, coalesce(e.open AND n.outcome NOT IN ('unknown', e.outcome), false) AS settles, e.open,
      CASE WHEN settles THEN n.outcome ELSE e.outcome END AS outcome,
      CASE WHEN settles THEN 'structure' ELSE e.basis END AS basis
    FROM _ended e LEFT JOIN _endings n USING (trace_id)
  ) e LEFT JOIN ({_EFFORT}) p USING (trace_id) LEFT JOIN ({_EVIDENCE}) v USING (trace_id)
"""

ROOT_STATUS = "root status"
ROOT_NOTE = "the root span ended in ERROR, or not"
ROOT_UNKNOWN = "no root span says how its run ended (status OK or ERROR)"


def prepare(reader: Reader) -> None:
    """Make `_outcomes` (trace_id, source, failed, note), a row for each trace and source that tells, and `_ended`.

    `_ended` (trace_id, outcome, basis, open, risk): how each trace of `_t` ended, one of `CLASSES`. Needs `_t`, and
    `_s` with its control flow.
    """
    execute = reader.connection.execute
    execute(f"CREATE OR REPLACE TEMP TABLE _roots AS {_ROOTS}")
    execute("CREATE OR REPLACE TEMP TABLE _outcomes (trace_id VARCHAR, source VARCHAR, failed BOOLEAN, note VARCHAR)")
    execute(
        f"INSERT INTO _outcomes SELECT trace_id, '{ROOT_STATUS}', status_code = 'ERROR', '{ROOT_NOTE}' FROM _roots "
        "WHERE says AND control = ''"
    )
    execute(f"CREATE OR REPLACE TEMP TABLE _evaluations AS {_IN_LOGS}")
    if reader.query("SELECT count(*) AS n FROM _s WHERE evaluated")[0]["n"]:
        execute(f"INSERT INTO _evaluations {_ON_SPANS}")
    execute(f"INSERT INTO _outcomes {_EVALUATED}")
    execute(_ENDED)


def by_structure(reader: Reader) -> None:
    """Settle in `_ended` what was left open, and fill in `risk`. Needs what `endings.prepare` makes."""
    reader.connection.execute(_SETTLED)


def run_outcomes(reader: Reader) -> list[RunOutcome]:
    """Count the traces by how they ended, the most frequent first; together they are all traces. Needs `prepare`."""
    rows = reader.query(
        "SELECT outcome, basis, count(*) AS traces FROM _ended GROUP BY ALL ORDER BY traces DESC, outcome, basis"
    )
    return [RunOutcome(**row) for row in rows]


def control_flow(reader: Reader) -> list[ControlFlow]:
    """Count the control flow that was recorded as errors, by kind and exception, the most frequent first."""
    rows = reader.query(
        "SELECT kind, coalesce(nullif(class, ''), kind) AS name, count(DISTINCT trace_id) AS traces, "
        "count(*) AS spans FROM _control GROUP BY ALL ORDER BY traces DESC, kind, name LIMIT 20"
    )
    return [ControlFlow(**row) for row in rows]

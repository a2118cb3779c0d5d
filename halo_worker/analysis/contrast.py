"""Which attribute values go with failure: agents, models, versions, prompts, tools, sequences of tools.

Only where an outcome is known. Outcomes are, each on its own: `evaluation` (what evaluators and users said of a
trace), `root status` (the root span ended in ERROR or not; UNSET counts as not), and `detectors` (a finding names
the trace or none does). For every value, Fisher's exact test on the traces that have it against those that do not;
the Benjamini-Hochberg procedure over all tests of the window keeps chance out. A value that merely goes along with a
stronger one (the tools of a failing version) is left out: it must make a difference inside or outside of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from halo_receiver.store.reader import Reader
from halo_worker.report.model import Contrast, Outcome
from halo_worker.report.statistics import benjamini_hochberg, fisher_exact, wilson

MIN_KNOWN = 20  # traces with a known outcome, below which nothing is said
MIN_EACH = 5  # failed, and not failed; also failed traces that have the value
MAX_TESTED = 2000  # values of one outcome, those with the most failed traces
MAX_WEIGHED = 60  # significant values that are weighed against each other
MAX_SHOWN = 12  # of one outcome
Q_CONTRAST = 0.01
MIN_RATIO = 1.5  # risk ratio
DIMENSIONS = ("version", "model", "prompt", "agent", "tool", "tool sequence", "provider", "service")

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


@dataclass(frozen=True, slots=True)
class _Value:
    """One value and how the traces that have it ended."""

    dimension: str
    value: str
    failed: int
    of: int
    p: float = 1.0
    q: float = 1.0


def contrasts(reader: Reader, flagged: Sequence[str]) -> tuple[list[Outcome], list[Contrast]]:
    """Return the outcomes that are known, and the values that go with failure; `flagged` are traces of findings.

    Needs `overview.prepare`.
    """
    _prepare(reader, flagged)
    outcomes: list[Outcome] = []
    tested: list[tuple[Outcome, list[_Value]]] = []
    for row in reader.query(
        "SELECT source, count(*) AS known, count(*) FILTER (failed) AS failed, any_value(note) AS note "
        "FROM _outcomes GROUP BY source ORDER BY source"
    ):
        enough = row["known"] >= MIN_KNOWN and MIN_EACH <= row["failed"] <= row["known"] - MIN_EACH
        values = _values(reader, row["source"], row["failed"], row["known"]) if enough else []
        said = row["note"] if enough else f"{row['note']}; too little data to compare"
        outcomes.append(
            Outcome(source=row["source"], known=row["known"], failed=row["failed"], tested=len(values), note=said)
        )
        tested.append((outcomes[-1], values))
    adjusted = iter(benjamini_hochberg([value.p for _, values in tested for value in values]))
    found: list[Contrast] = []
    for outcome, values in tested:
        weighed = [_Value(v.dimension, v.value, v.failed, v.of, v.p, next(adjusted)) for v in values]
        found += _kept(reader, outcome, weighed)
    return outcomes, found


def _prepare(reader: Reader, flagged: Sequence[str]) -> None:
    """Make `_items` (trace, dimension, value) and `_outcomes` (trace, source, failed)."""
    connection = reader.connection
    connection.execute("""
        CREATE OR REPLACE TEMP TABLE _items AS
        SELECT trace_id, dimension, value FROM _dimensions
        UNION ALL
        SELECT DISTINCT trace_id, unnest(['provider', 'prompt']), unnest([provider, prompt]) FROM _s
        WHERE span_type = 'llm' AND (provider IS NOT NULL OR prompt IS NOT NULL)
        UNION ALL
        SELECT DISTINCT trace_id, 'tool sequence', earlier || ' → ' || tool_name FROM (
          SELECT trace_id, tool_name,
            lag(tool_name) OVER (PARTITION BY trace_id ORDER BY start_time, span_id) AS earlier
          FROM _s ANTI JOIN _inner USING (trace_id, span_id) WHERE span_type = 'tool' AND tool_name IS NOT NULL
        ) WHERE earlier IS NOT NULL
    """)
    connection.execute("DELETE FROM _items WHERE value IS NULL OR value = ''")
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE _outcomes (trace_id VARCHAR, source VARCHAR, failed BOOLEAN, note VARCHAR)"
    )
    connection.execute(
        "INSERT INTO _outcomes SELECT t.trace_id, 'detectors', f.trace_id IS NOT NULL, "
        "'a finding names the trace, or none' "
        "FROM _t t LEFT JOIN (SELECT DISTINCT unnest(?::VARCHAR[]) AS trace_id) f USING (trace_id)",
        [list(flagged)],
    )
    connection.execute(
        "INSERT INTO _outcomes SELECT trace_id, 'root status', status_code = 'ERROR', "
        "'the root span ended in ERROR, or not' FROM _t WHERE status_code IS NOT NULL"
    )
    connection.execute(f"""
        INSERT INTO _outcomes
        SELECT trace_id, 'evaluation', bool_or(bad),
          'what ' || coalesce((SELECT string_agg(DISTINCT name, ', ') FROM ({_EVALUATIONS}) WHERE name <> ''),
            'evaluators') || ' said of the trace'
        FROM (
          SELECT trace_id,
            CASE WHEN regexp_matches(label, '{_GOOD}') THEN false WHEN regexp_matches(label, '{_BAD}') THEN true
            WHEN score BETWEEN 0 AND 1 AND top <= 1 THEN
              CASE WHEN regexp_matches(name, '{_HIGH_IS_BAD}') THEN score > 0.5 ELSE score < 0.5 END END AS bad
          FROM (SELECT *, max(score) OVER (PARTITION BY name) AS top FROM ({_EVALUATIONS}))
        ) WHERE bad IS NOT NULL AND trace_id IN (SELECT trace_id FROM _t) GROUP BY trace_id
    """)


_ON_SPANS = " UNION ALL ".join(
    f"SELECT trace_id, lower(coalesce(attr(attributes, '{kind}s.{n}.{kind}.name'), '')) AS name, "
    f"lower(trim(attr(attributes, '{kind}s.{n}.{kind}.label'))) AS label, "
    f"try_cast(attr(attributes, '{kind}s.{n}.{kind}.score') AS DOUBLE) AS score FROM marked"
    for kind in ("evaluation", "annotation")
    for n in range(_SLOTS)
)
_EVALUATIONS = f"""
  WITH marked AS (
    SELECT trace_id, attributes FROM spans WHERE (trace_id, span_id) IN (SELECT (trace_id, span_id) FROM _span_rows
      WHERE list_has_any(attribute_keys, ['evaluations.0.evaluation.score', 'evaluations.0.evaluation.label',
        'annotations.0.annotation.score', 'annotations.0.annotation.label']))
  )
  SELECT trace_id, name, label, score FROM ({_ON_SPANS}) WHERE label IS NOT NULL OR score IS NOT NULL
  UNION ALL
  SELECT trace_id, lower(coalesce(attr(attributes, 'gen_ai.evaluation.name'), '')),
    lower(trim(attr(attributes, 'gen_ai.evaluation.score.label'))),
    try_cast(attr(attributes, 'gen_ai.evaluation.score.value') AS DOUBLE)
  FROM logs WHERE event_name = 'gen_ai.evaluation.result' AND trace_id IS NOT NULL
"""


def _values(reader: Reader, source: str, failed: int, known: int) -> list[_Value]:
    rows = reader.query(
        f"""
        SELECT dimension, value, count(*) FILTER (failed) AS failed, count(*) AS of_
        FROM _items JOIN _outcomes USING (trace_id) WHERE source = $1 GROUP BY ALL
        HAVING count(*) FILTER (failed) >= {MIN_EACH} AND count(*) < $2
        ORDER BY failed DESC, of_, dimension, value LIMIT {MAX_TESTED}
        """,
        [source, known],
    )
    return [
        _Value(row["dimension"], row["value"], row["failed"], row["of_"],
               _worse(row["failed"], row["of_"], failed, known) or 1.0)
        for row in rows
    ]  # fmt: skip


def _worse(failed: int, of: int, all_failed: int, all_of: int) -> float | None:
    """Return the p-value that these traces fail as the others do; None when they do not fail more often."""
    rest_failed, rest_of = all_failed - failed, all_of - of
    if of <= 0 or rest_of <= 0 or failed * rest_of <= rest_failed * of * MIN_RATIO:
        return None
    return fisher_exact(failed, of - failed, rest_failed, rest_of - rest_failed)


def _kept(reader: Reader, outcome: Outcome, values: list[_Value]) -> list[Contrast]:
    """Keep what is significant and not explained by something stronger."""
    strong = [v for v in values if v.q < Q_CONTRAST]
    strong.sort(key=lambda v: (v.p, DIMENSIONS.index(v.dimension), v.value))
    strong = strong[:MAX_WEIGHED]
    if not strong:
        return []
    together = _together(reader, outcome.source, strong)
    kept: list[int] = []
    beside: dict[int, list[str]] = {}
    for number, value in enumerate(strong):
        same = next((k for k in kept if together.get((k, number)) == (value.failed, value.of)
                     and (strong[k].failed, strong[k].of) == (value.failed, value.of)), None)  # fmt: skip
        if same is not None:
            beside.setdefault(same, []).append(f"{value.dimension} {value.value}")
        elif all(_adds(strong[k], value, together.get((k, number), (0, 0)), outcome) for k in kept):
            kept.append(number)
    return [_contrast(outcome, strong[k], beside.get(k, [])) for k in kept[:MAX_SHOWN]]


def _adds(known: _Value, value: _Value, both: tuple[int, int], outcome: Outcome) -> bool:
    """Say whether a value makes a difference among the traces that have a known one, or among the others."""
    inside = _worse(both[0], both[1], known.failed, known.of)
    outside = _worse(
        value.failed - both[0], value.of - both[1], outcome.failed - known.failed, outcome.known - known.of
    )
    return any(p is not None and p < Q_CONTRAST for p in (inside, outside))


def _together(reader: Reader, source: str, values: list[_Value]) -> dict[tuple[int, int], tuple[int, int]]:
    """Count, for each pair of values, the traces that have both: failed, and all."""
    connection = reader.connection
    connection.execute("CREATE OR REPLACE TEMP TABLE _strong (n INTEGER, dimension VARCHAR, value VARCHAR)")
    rows_in = [(n, v.dimension, v.value) for n, v in enumerate(values)]
    connection.executemany("INSERT INTO _strong VALUES (?, ?, ?)", rows_in)
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE _having AS SELECT DISTINCT n, trace_id, failed FROM _items "
        "JOIN _strong USING (dimension, value) JOIN _outcomes USING (trace_id) WHERE source = ?",
        [source],
    )
    rows = reader.query(
        "SELECT a.n AS one, b.n AS other, count(*) FILTER (a.failed) AS failed, count(*) AS of_ "
        "FROM _having a JOIN _having b ON a.trace_id = b.trace_id AND a.n < b.n GROUP BY ALL"
    )
    return {(row["one"], row["other"]): (row["failed"], row["of_"]) for row in rows}


def _contrast(outcome: Outcome, value: _Value, beside: list[str]) -> Contrast:
    rest_failed, rest_of = outcome.failed - value.failed, outcome.known - value.of
    rate, rest_rate = value.failed / value.of, rest_failed / rest_of
    low, high = wilson(value.failed, value.of)
    facts: dict[str, Any] = {
        "outcome": outcome.source, "dimension": value.dimension, "value": value.value, "failed": value.failed,
        "of": value.of, "rate": rate, "low": low, "high": high, "rest_failed": rest_failed, "rest_of": rest_of,
        "rest_rate": rest_rate, "support": value.failed / outcome.failed,
        "risk_ratio": rate / rest_rate if rest_rate else None, "p_value": value.p, "q_value": value.q,
        "same_traces": beside,
    }  # fmt: skip
    return Contrast(**facts)

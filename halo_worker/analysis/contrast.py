"""Which attribute values correlate with failure: agents, models, versions, prompts, tools, sequences of tools.

Only where an outcome was recorded (`outcomes`): what detectors find is none, for it would be explained by itself. For
each source of outcomes and every value, Fisher's exact test on the traces that have it against those that do not;
the Benjamini-Hochberg procedure over all tests of the window keeps chance out. A value that merely goes along with a
stronger one (the tools of a failing version) is left out: it must make a difference inside or outside of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from halo_receiver.store.reader import Reader
from halo_worker.analysis.outcomes import ROOT_STATUS, ROOT_UNKNOWN
from halo_worker.display import VALUE_CHARACTERS, one_line
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


@dataclass(frozen=True, slots=True)
class _Value:
    """One value and how the traces that have it ended."""

    dimension: str
    value: str
    failed: int
    of: int
    p: float = 1.0
    q: float = 1.0


def contrasts(reader: Reader) -> tuple[list[Outcome], list[Contrast]]:
    """Return the outcomes that were recorded, and the values that correlate with failure.

    An outcome of which too little is known is listed with nothing tested; where none is known, one says so. Needs
    `overview.prepare`.
    """
    _prepare(reader)
    known = reader.query(
        "SELECT source, count(*) AS known, count(*) FILTER (failed) AS failed, any_value(note) AS note "
        "FROM _outcomes GROUP BY source ORDER BY source"
    )
    if not any(row["source"] == ROOT_STATUS for row in known):
        known.append({"source": ROOT_STATUS, "known": 0, "failed": 0, "note": ROOT_UNKNOWN})
    tested = [_tested(reader, row) for row in known]
    adjusted = iter(benjamini_hochberg([value.p for _, values in tested for value in values]))
    found: list[Contrast] = []
    for outcome, values in tested:
        weighed = [_Value(v.dimension, v.value, v.failed, v.of, v.p, next(adjusted)) for v in values]
        found += _kept(reader, outcome, weighed)
    return [outcome for outcome, _ in tested], found


def _tested(reader: Reader, row: dict[str, Any]) -> tuple[Outcome, list[_Value]]:
    enough = row["known"] >= MIN_KNOWN and MIN_EACH <= row["failed"] <= row["known"] - MIN_EACH
    values = _values(reader, row["source"], row["failed"], row["known"]) if enough else []
    said = one_line(row["note"])
    note = said if enough or not row["known"] else f"{said}; too little data to compare"
    return (
        Outcome(source=row["source"], known=row["known"], failed=row["failed"], tested=len(values), note=note),
        values,
    )


# Names that only failed calls have. Of models, they may be what was asked for, where answers tell another name: a
# model is compared all the same where every call of the service says what it asked for.
_ONE_SIDED = """
  SELECT service_name, 'model' AS dimension, model AS value FROM _s
  WHERE span_type IN ('llm', 'embedding') AND service_name NOT IN (
    SELECT service_name FROM _s WHERE span_type IN ('llm', 'embedding')
    GROUP BY service_name HAVING bool_and(asked_known))
  GROUP BY service_name, model HAVING bool_and(failed)
  UNION ALL
  SELECT service_name, 'provider', provider FROM _s WHERE span_type IN ('llm', 'embedding')
  GROUP BY service_name, provider HAVING bool_and(failed)
"""


def _prepare(reader: Reader) -> None:
    """Make `_items` (trace, dimension, value)."""
    connection = reader.connection
    connection.execute(f"CREATE OR REPLACE TEMP TABLE _one_sided AS {_ONE_SIDED}")
    connection.execute("""
        CREATE OR REPLACE TEMP TABLE _items AS
        SELECT trace_id, dimension, value FROM _dimensions WHERE dimension <> 'model'
        UNION ALL
        SELECT DISTINCT trace_id, dimension, value FROM (
          SELECT trace_id, service_name, unnest(['model', 'provider', 'prompt']) AS dimension,
            unnest([model, provider, prompt]) AS value
          FROM _s WHERE span_type IN ('llm', 'embedding')
        ) i ANTI JOIN _one_sided o ON o.service_name IS NOT DISTINCT FROM i.service_name
          AND o.dimension = i.dimension AND o.value = i.value
        WHERE value <> ''
        UNION ALL
        SELECT DISTINCT trace_id, 'tool sequence', earlier || ' → ' || tool_name FROM (
          SELECT trace_id, tool_name,
            lag(tool_name) OVER (PARTITION BY trace_id ORDER BY start_time, span_id) AS earlier
          FROM _s ANTI JOIN _inner USING (trace_id, span_id) WHERE span_type = 'tool' AND tool_name IS NOT NULL
        ) WHERE earlier IS NOT NULL
    """)


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
            beside.setdefault(same, []).append(f"{value.dimension} {_shown(value)}")
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


def _shown(value: _Value) -> str:
    return one_line(value.value, VALUE_CHARACTERS)


def _contrast(outcome: Outcome, value: _Value, beside: list[str]) -> Contrast:
    rest_failed, rest_of = outcome.failed - value.failed, outcome.known - value.of
    rate, rest_rate = value.failed / value.of, rest_failed / rest_of
    low, high = wilson(value.failed, value.of)
    facts: dict[str, Any] = {
        "outcome": outcome.source, "dimension": value.dimension, "value": _shown(value), "failed": value.failed,
        "of": value.of, "rate": rate, "low": low, "high": high, "rest_failed": rest_failed, "rest_of": rest_of,
        "rest_rate": rest_rate, "support": value.failed / outcome.failed,
        "risk_ratio": rate / rest_rate if rest_rate else None, "p_value": value.p, "q_value": value.q,
        "same_traces": beside,
    }  # fmt: skip
    return Contrast(**facts)

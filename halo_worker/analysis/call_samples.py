"""The calls that failed beside other calls of the same name: a sample with arguments, errors and earlier results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from halo_receiver.store.reader import Reader
from halo_worker.analysis.common_traits import MIN_AFFECTED, Call, Written, compare, leaves, parsed
from halo_worker.report.facts import Calls, Common

MAX_CALLS = 400  # of the affected, and of the others
MAX_SHARED = 6  # things that are said
CHANCE_BEFORE = 0.05  # that no earlier call failed, up to which the first failure is a beginning

# What is called by a span that is a call.
CALL_NAME = """
  CASE WHEN span_type IN ('llm', 'embedding') THEN coalesce(nullif(model, ''), name)
    WHEN span_type IN ('tool', 'retriever') THEN coalesce(nullif(tool_name, ''), name) END
"""
# All calls of the names that findings are about, without their texts; of them a sample, and the texts of that alone.
_NAMED_CALLS = f"""
  CREATE OR REPLACE TEMP TABLE _named_calls AS
  WITH calls AS (
    SELECT trace_id, span_id, start_time, {CALL_NAME} AS called FROM _s ANTI JOIN _inner USING (trace_id, span_id)
    WHERE called IN (SELECT called FROM _wanted)
  )
  SELECT w.finding, c.trace_id, c.span_id, c.start_time, h.span_id IS NOT NULL AS affected
  FROM calls c JOIN _wanted w USING (called)
  LEFT JOIN _hit_calls h ON h.finding = w.finding AND h.trace_id = c.trace_id AND h.span_id = c.span_id
"""
_COMPARED = f"""
  CREATE OR REPLACE TEMP TABLE _compared AS
  SELECT c.finding, c.affected, c.trace_id, c.span_id, s.start_time, s.arguments, s.version,
    coalesce(s.error_message, s.status_message) AS error
  FROM (
    SELECT * FROM _named_calls
    QUALIFY row_number() OVER (PARTITION BY finding, affected ORDER BY hash(trace_id), start_time) <= {MAX_CALLS}
  ) c JOIN _s s USING (trace_id, span_id)
"""
_EARLIER = """
  CREATE OR REPLACE TEMP TABLE _earlier AS
  SELECT trace_id, span_id, start_time, end_time, coalesce(tool_name, name) AS tool, output_head AS said FROM _s
  WHERE trace_id IN (SELECT trace_id FROM _compared) AND span_type IN ('tool', 'retriever') AND NOT failed
    AND output_length BETWEEN 1 AND 2000
"""
_CALLS = """
  SELECT c.trace_id, c.span_id, any_value(c.arguments) AS arguments, any_value(c.error) AS error,
    any_value(c.version) AS version, any_value(c.affected) AS affected, epoch_ns(any_value(c.start_time)) AS start_ns,
    list({'tool': e.tool, 'said': e.said} ORDER BY e.start_time) FILTER (e.span_id IS NOT NULL) AS earlier
  FROM _compared c LEFT JOIN _earlier e
    ON e.trace_id = c.trace_id AND e.span_id <> c.span_id AND e.end_time <= c.start_time
  WHERE c.finding = $1 GROUP BY c.trace_id, c.span_id ORDER BY start_ns, c.trace_id, c.span_id
"""
# How many calls came before the first that failed, and after it.
_SINCE = """
  WITH first AS (SELECT min(start_time) AS at_ FROM _named_calls WHERE finding = $1 AND affected)
  SELECT epoch_ns(any_value(at_)) AS at_ns, count(*) FILTER (start_time < at_) AS before,
    count(*) FILTER (start_time >= at_) AS after FROM _named_calls, first WHERE finding = $1
"""


def prepare(reader: Reader, called: Mapping[int, str]) -> None:
    """Make the tables of `shared` for the names that findings are about. Needs `_hit_calls` and `_inner`.

    Each table is one scan of the window, however many findings there are.
    """
    execute = reader.connection.execute
    execute("CREATE OR REPLACE TEMP TABLE _wanted (finding INTEGER, called VARCHAR)")
    if called:
        execute(
            "INSERT INTO _wanted SELECT unnest(?::INTEGER[]), unnest(?::VARCHAR[])", [list(called), [*called.values()]]
        )
    for statement in (_NAMED_CALLS, _COMPARED, _EARLIER):
        execute(statement)


def shared(reader: Reader, finding: int, calls: Calls) -> list[Common]:
    """Return what a finding's failed calls share, the most telling first. Needs `prepare`."""
    found = compare([_call(row) for row in reader.query(_CALLS, [finding])])
    if since := _since(reader.query(_SINCE, [finding])[0], calls.affected):
        found.append(since)
    return found[:MAX_SHARED]


def _call(row: dict[str, Any]) -> Call:
    return Call(
        affected=row["affected"],
        start_ns=row["start_ns"],
        arguments=dict(leaves(parsed(row["arguments"]))),
        error=row["error"] or "",
        version=row["version"] or "",
        earlier=_earlier(row["earlier"] or ()),
    )


def _since(row: dict[str, Any], affected: int) -> Common | None:
    """Say when the calls began to fail, where so many before did not that chance is ruled out."""
    before, after = row["before"], row["after"]
    if affected < MIN_AFFECTED or not after or (1 - affected / (before + after)) ** before > CHANCE_BEFORE:
        return None
    return Common(
        kind="since", affected=affected, affected_of=affected, others=before, others_of=before, at=row["at_ns"]
    )


def _earlier(results: Sequence[Mapping[str, str | None]]) -> dict[str, str]:
    """Return the numbers of earlier results that stand alone at their place, as 'path of tool'."""
    numbers: dict[str, set[str]] = {}
    for result in results:
        for path, value in leaves(parsed(result["said"])):
            if isinstance(value, Written):
                leaf = path.rsplit(".", 1)[-1]
                numbers.setdefault(f"{leaf} of {result['tool']}", set()).add(value)
    return {place: next(iter(values)) for place, values in numbers.items() if len(values) == 1}

"""Which traces belong to a window: those of which anything arrived in it, or those that settled in it."""

from __future__ import annotations

from dataclasses import dataclass

WHOLE_TRACE_NS = 3_600_000_000_000  # how far back the beginning of a trace is looked for
_FIRST, _LAST = -(2**62), 2**62  # of an open window, in nanoseconds


@dataclass(frozen=True, slots=True)
class Settle:
    """When a trace is judged: `quiet_ns` after its last arrival, or `longest_ns` after its first, whichever is earlier.

    The first such moment counts, so that a span which comes still later does not bring the trace up again.
    `unsettled`: also traces of which anything arrived in the window, and which have not settled when it ends.
    """

    quiet_ns: int
    longest_ns: int
    unsettled: bool = False


def look_back(settle: Settle | None, *, whole_traces: bool) -> int:
    """Return how far before a window its traces may have begun to arrive, in nanoseconds."""
    if settle is not None:
        return settle.longest_ns + settle.quiet_ns
    return WHOLE_TRACE_NS if whole_traces else 0


def traces_of(arrivals: str, start_ns: int | None, end_ns: int | None, settle: Settle | None) -> str:
    """Return the SELECT (trace_id, settled_ns) of the traces of `[start_ns, end_ns)`.

    `settled_ns` is when a trace settled, in unix nanoseconds; NULL where it had not when the window ended, or nobody
    asked (`settle` None). `arrivals` selects (trace_id, received_at): of whatever arrived, also of copies that are not
    shown.
    """
    start = start_ns if start_ns is not None else _FIRST
    end = end_ns if end_ns is not None else _LAST
    came = f"SELECT trace_id, epoch_ns(received_at) AS came FROM ({arrivals})"
    if settle is None:
        return (
            f"SELECT DISTINCT trace_id, NULL::BIGINT AS settled_ns FROM ({came}) WHERE came >= {start} AND came < {end}"
        )
    open_too = f" OR moment >= {end} AND last >= {start}" if settle.unsettled else ""
    return f"""
    WITH gaps AS (
      SELECT trace_id, came, lead(came) OVER (PARTITION BY trace_id ORDER BY came) AS following FROM ({came})
    ), settled AS (
      SELECT trace_id, least(
        min(came) + {settle.longest_ns},
        min(came + {settle.quiet_ns}) FILTER (following IS NULL OR following > came + {settle.quiet_ns})
      ) AS moment, max(came) FILTER (came < {end}) AS last FROM gaps GROUP BY trace_id
    )
    SELECT trace_id, CASE WHEN moment < {end} THEN moment END AS settled_ns FROM settled
    WHERE moment >= {start} AND moment < {end}{open_too}"""

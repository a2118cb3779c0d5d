"""Which spans a finding affects: those that a rule (SQL) or a list names; in order of time, within named limits."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from halo_receiver.store.reader import Reader
from halo_worker.analysis.draft import DraftFinding, Occurrence
from halo_worker.analysis.questions import Questions
from halo_worker.analysis.tools import Desk
from halo_worker.rlm.tool import ToolError

MAX_SPANS = 200_000  # of one finding; a rule or a list that names more is refused
MAX_SPANS_OF_TRACE = 200  # of one finding in one trace: the first in time; the others are counted
TOO_WIDE = 0.9  # share of traces beyond which a rule tells nothing apart
FEW_TRACES = 20  # in a window of fewer, it may
MAX_UNKNOWN = 5  # spans named in a problem

# `n`: spans of the trace, also those beyond the limit.
_NAMED = f"""
SELECT trace_id, span_id, n FROM (
  SELECT trace_id, span_id, count(*) OVER (PARTITION BY trace_id) AS n,
    min(start_time) OVER (PARTITION BY trace_id) AS began,
    row_number() OVER (PARTITION BY trace_id ORDER BY start_time, span_id) AS nth
  FROM (SELECT DISTINCT trace_id, span_id FROM ({{sql}}) _claimed) _ids
  JOIN (SELECT trace_id, span_id, start_time FROM spans) _times USING (trace_id, span_id)
) WHERE nth <= {MAX_SPANS_OF_TRACE} ORDER BY began, trace_id, nth
"""
_LISTED = "SELECT unnest(?) AS trace_id, unnest(?) AS span_id"

_ORDER = """
SELECT finding, list(nth ORDER BY began, trace_id, start_time, span_id, nth) AS places FROM (
  SELECT a.*, s.start_time, t.start_time AS began FROM _affected a
  LEFT JOIN _s s ON s.trace_id = a.trace_id AND s.span_id = a.span_id LEFT JOIN _t t ON t.trace_id = a.trace_id
) GROUP BY finding
"""
# Tool spans whose model call is named beside them, by the id of the call; ids that are used again mean the call before.
_ASKED = """
WITH named AS (
  SELECT a.finding, a.nth, a.trace_id, s.span_type, s.start_time, s.tool_call_id, s.tool_calls
  FROM _affected a JOIN _s s ON s.trace_id = a.trace_id AND s.span_id = a.span_id WHERE list_contains($1, a.finding)
),
asked AS (
  SELECT finding, nth, trace_id, start_time, call->>'id' AS call_id FROM (
    SELECT *, unnest(tool_calls) AS call FROM named WHERE span_type = 'llm' AND tool_calls IS NOT NULL)
)
SELECT n.finding, n.nth AS tool, arg_max(a.nth, a.start_time) AS model FROM named n
JOIN asked a ON a.finding = n.finding AND a.trace_id = n.trace_id AND a.call_id = n.tool_call_id
WHERE n.span_type IN ('tool', 'retriever') AND n.tool_call_id <> '' AND a.start_time <= n.start_time
GROUP BY n.finding, n.nth
"""


@dataclass(frozen=True, slots=True)
class Affected:
    """The affected spans of a finding, in order of time, and how many more there are than the limits allow."""

    occurrences: list[Occurrence] = field(default_factory=list)
    left_out: int = 0

    @property
    def traces(self) -> set[str]:
        """The affected traces."""
        return traces_of(self.occurrences)


def traces_of(occurrences: Iterable[Occurrence]) -> set[str]:
    """Return the traces that occurrences are in."""
    return {one.trace_id for one in occurrences}


def first_of_traces(occurrences: Sequence[Occurrence]) -> list[Occurrence]:
    """Return the first occurrence of each trace."""
    return list({one.trace_id: one for one in reversed(occurrences)}.values())[::-1]


async def named_by(questions: Questions, sql: str) -> Affected | str:
    """Run a rule's SQL over the whole window; return the problem when it cannot be run."""
    try:
        rows = await questions.select(
            sql, within=_NAMED, needs=("trace_id", "span_id"), max_rows=MAX_SPANS, max_bytes=2**26, count=False,
            extra=False,  # later windows, in which it runs again, have the contract's tables alone
        )  # fmt: skip
    except ToolError as error:
        return f"its detector cannot be run: {error}"
    if rows.more:
        return f"its detector names more than {len(rows.rows)} spans"
    return _read(rows.rows)


async def of_rule(desk: Desk, sql: str, traces: int) -> Affected | str:
    """Run a rule over the window of `traces` traces; return the problem, also that it tells nothing apart."""
    found = await named_by(desk.whole or desk.questions, sql)
    if isinstance(found, Affected) and traces >= FEW_TRACES and len(found.traces) > traces * TOO_WIDE:
        return f"its detector names {len(found.traces)} of {traces} traces: it tells nothing apart"
    return found


async def of_list(desk: Desk, spans: Collection[tuple[str, str]]) -> tuple[Affected, list[tuple[str, str]]]:
    """Look (trace, span) pairs up; return the affected spans, and the pairs that the window does not hold."""
    wanted = list(dict.fromkeys(spans))[:MAX_SPANS]
    if not wanted:
        return Affected(), []
    columns = [[one[part] for one in wanted] for part in (0, 1)]
    rows = await (desk.whole or desk.questions).rows(
        _NAMED.format(sql=_LISTED), columns, max_rows=MAX_SPANS, max_bytes=2**26
    )
    found = _read(rows.rows)
    known = {(one.trace_id, one.span_id) for one in found.occurrences}
    unknown = [one for one in wanted if one not in known] if len(known) + found.left_out < len(wanted) else []
    return Affected(found.occurrences, found.left_out + len(set(spans)) - len(wanted)), unknown


def _read(rows: Sequence[dict[str, str]]) -> Affected:
    found = [Occurrence(row["trace_id"], row["span_id"], row["span_id"]) for row in rows]
    all_of_traces = {row["trace_id"]: int(row["n"]) for row in rows}
    return Affected(found, sum(all_of_traces.values()) - len(found))


def arranged(reader: Reader, findings: Sequence[tuple[DraftFinding, Sequence[Occurrence]]]) -> list[Affected]:
    """Put the occurrences of findings in order of time, each once, within the limits. Needs `overview.prepare`.

    Where a model named both a tool span and the model call that asked for it, they become one: origin and symptom.
    """
    every = [list(dict.fromkeys(occurrences)) for _, occurrences in findings]
    flat = [(number, nth, one) for number, occurrences in enumerate(every) for nth, one in enumerate(occurrences)]
    reader.connection.execute(
        "CREATE OR REPLACE TEMP TABLE _affected AS SELECT unnest($1::INTEGER[]) AS finding, "
        "unnest($2::INTEGER[]) AS nth, unnest($3::VARCHAR[]) AS trace_id, unnest($4::VARCHAR[]) AS span_id",
        [
            [n for n, _, _ in flat],
            [n for _, n, _ in flat],
            [o.trace_id for *_, o in flat],
            [o.span_id for *_, o in flat],
        ],
    )
    named = [number for number, (finding, _) in enumerate(findings) if finding.source == "rlm"]
    asked = {(row["finding"], row["tool"]): row["model"] for row in reader.query(_ASKED, [named])} if named else {}
    places = {row["finding"]: row["places"] for row in reader.query(_ORDER)}
    found = []
    for number, ((finding, _), occurrences) in enumerate(zip(findings, every, strict=True)):
        tools = {tool: model for (of, tool), model in asked.items() if of == number}
        ordered = _joined(occurrences, places.get(number, []), tools)
        kept = _bounded(ordered)
        found.append(Affected(kept, finding.spans_left_out + len(ordered) - len(kept)))
    return found


def _joined(occurrences: Sequence[Occurrence], places: Sequence[int], asked: dict[int, int]) -> list[Occurrence]:
    """Return occurrences in the order of `places`; `asked`: the place of the model call of each tool span."""
    models = set(asked.values())
    return [
        Occurrence(occurrences[at].trace_id, occurrences[asked[at]].span_id, occurrences[at].span_id)
        if at in asked
        else occurrences[at]
        for at in places
        if at not in models
    ]


def _bounded(occurrences: Sequence[Occurrence]) -> list[Occurrence]:
    kept, of_trace = [], dict[str, int]()
    for one in occurrences[:MAX_SPANS]:
        of_trace[one.trace_id] = of_trace.get(one.trace_id, 0) + 1
        if of_trace[one.trace_id] <= MAX_SPANS_OF_TRACE:
            kept.append(one)
    return kept


def unknown_spans(unknown: Sequence[tuple[str, str]]) -> str:
    """Say which spans of a list the window does not hold."""
    shown = ", ".join(f"{trace[:40]}/{span[:40]}" for trace, span in unknown[:MAX_UNKNOWN])
    more = f" and {len(unknown) - MAX_UNKNOWN} more" if len(unknown) > MAX_UNKNOWN else ""
    return f"its affected list names spans that the window does not hold: {shown}{more}"

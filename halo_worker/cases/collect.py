"""Failing traces of an issue, and passing ones, read from the store as cases."""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from halo_receiver.store import queries
from halo_receiver.store.reader import Reader
from halo_worker import freshness, issues
from halo_worker.analysis.detectors import rules
from halo_worker.cases import checking
from halo_worker.cases.choose import Candidate, controls, kinds
from halo_worker.config import Settings
from halo_worker.delivery.redaction import redacted, redactor
from halo_worker.display import cut
from halo_worker.errors import InputError
from halo_worker.report.archive import Archive
from halo_worker.report.headline import titled
from halo_worker.report.issue import Issue
from halo_worker.report.memory import IssueMemory
from halo_worker.verify import measure

CASE_VERSION = 1
MAX_REPORTS = 30  # newest that hold the issue
MAX_FAILING = 500  # newest affected traces that kinds are made of
MAX_PASSING = 1000  # newest passing traces that controls are taken from
MAX_TURNS = 20  # earlier ones of a session
MAX_STEPS = 60  # of what the agent did
TEXT_CHARACTERS = 4_000  # of one text of what it did; what it was given is kept whole

Turns = dict[str, list[dict[str, Any]]]  # session → its traces in order: trace_id, input, output


@dataclass(frozen=True, slots=True)
class Collected:
    """Cases, failing ones first, and what a reader must know beside them."""

    issue: Issue
    cases: list[dict[str, Any]]
    kinds: int
    traces: int
    problems: list[str]


def collect(current: Settings, issue_id: str, *, most: int, ruled: bool) -> Collected:
    """Make at most `most` cases of an issue, and a control to each where one resembles it. Masked as deliveries are.

    `ruled`: a case is of use only with a rule. Raises InputError where there is none, or no trace is left.
    """
    archive = issues.archive(current)
    issue = issues.open_memory(archive).find(issue_id)
    known = issues.open_memory(archive, scope=issue.scope)
    issue = known.find(issue.issue_id)
    rule = _rule(issue, known, measure.Rules.of(current, Path()), needed=ruled)
    problems = freshness.refresh(current, load=True).problems
    affected, others = _affected(archive, issue.issue_id)
    if not affected:
        raise InputError(
            f"no report names traces of {issue.issue_id}", hint="'halo run' finds it again, if it is there"
        )
    with Reader.open(
        current.store.data_dir, memory_limit=f"{current.analysis.memory_limit_bytes}B", threads=current.store.threads
    ) as reader:
        failing = _candidates(reader, list(affected)[:MAX_FAILING], failed_at=affected)
        if not failing:
            raise _nothing_left(reader, issue.issue_id, list(affected))
        found = kinds(failing)
        chosen = [kind.lead for kind in found[:most]]
        resembling = controls(chosen, _passing(reader, chosen, affected.keys() | others))
        sizes = {kind.lead.trace_id: len(kind.members) for kind in found}
        spans = _spans(reader, [one.trace_id for one in (*chosen, *resembling)])
        if ruled and rule and not _judges_alone(current, rule, chosen[0].trace_id):
            raise InputError(
                f"the rule of {issue.issue_id} compares a trace with others, and cannot judge one alone",
                hint="--format jsonl exports the cases; 'halo verify' applies the rule to many traces",
            )
        turns = _turns(reader, [row["session_id"] for rows in spans.values() for row in rows if row["session_id"]])
        cases = [
            _case(issue, rule, one, spans[one.trace_id], turns, affected.get(one.trace_id), sizes.get(one.trace_id))
            for one in (*chosen, *resembling)
        ]
    mask = redactor(current.redaction.patterns, enabled=current.redaction.enabled)
    text = {"text": rule["text"]} if rule and "text" in rule else None  # of an own detector: the operator's own words
    masked = [redacted(case, mask) for case in cases]
    for case in masked if text else ():
        case["rule"] |= text
    return Collected(issue, masked, len(found), len(affected), problems)


def _nothing_left(reader: Reader, issue_id: str, affected: list[str]) -> InputError:
    """Say why affected traces make no case: they are gone, or nobody recorded what they were given."""
    sql = "SELECT count(*) AS n FROM traces WHERE trace_id IN (SELECT unnest($1::VARCHAR[]))"
    if stored := reader.query(sql, [affected])[0]["n"]:
        what = f"the {stored} stored traces of {issue_id} hold no input: nothing says what the agent was given"
        return InputError(what, hint="'halo doctor' says whether inputs are captured")
    what = f"the {len(affected)} traces of {issue_id} are not stored any more"
    return InputError(what, hint="[store] retention_days says how long they stay; 'halo run' finds it in newer ones")


def _rule(issue: Issue, known: IssueMemory, there: measure.Rules, *, needed: bool) -> dict[str, Any] | None:
    """Write the rule that must not fire, so that a test can apply it without the memory."""
    if not there.rule_of(issue, known) and not needed:
        return None
    name = measure.rule_of(issue, known, there)
    finding = issue.finding
    if name == "sql":
        return {"kind": "sql", "sql": finding.detector.sql if finding.detector else ""}
    detector, _, version = name.partition("@")
    written = {"kind": "detector", "name": detector, "version": int(version or 1), "signature": finding.signature}
    own = next((unit for unit in rules.load(there.own.paths)[0] if unit.name == detector), None)
    return written | {"text": rules.text_of(own)} if own else written


def _judges_alone(current: Settings, rule: dict[str, Any], trace_id: str) -> bool:
    """Say whether a rule fires on a failing trace where nothing else is, as in a test."""
    only = "trace_id = '" + trace_id.replace("'", "''") + "'"
    with (
        Reader.open(current.store.data_dir, trace_id=trace_id, only=only) as reader,
        tempfile.TemporaryDirectory(prefix="halo-") as folder,
    ):
        return bool(checking.fired(rule, reader, Path(folder)))


def _affected(archive: Archive, issue_id: str) -> tuple[dict[str, str], set[str]]:
    """Return the traces that the newest reports name, with the span to look at; and traces of all other issues."""
    mine: dict[str, str] = {}
    others: set[str] = set()
    holding = (
        report
        for report in archive.reports(newest=issues.REMEMBERED)[0]
        if any(one.issue_id == issue_id and one.prevalence.traces for one in report.findings)
    )
    for report in itertools.islice(holding, MAX_REPORTS):
        if len(mine) >= MAX_FAILING:
            break
        for one, trace_id, span_id in reversed(list(archive.affected(report.id))):  # in order of time
            if one == issue_id:
                mine.setdefault(trace_id, span_id)
            else:
                others.add(trace_id)
    return mine, others


_TURNS = """
  SELECT session_id, trace_id, arg_min(input_text, start_time) FILTER (trim(input_text) <> '') AS input,
    arg_min(output_text, start_time) FILTER (parent_span_id IS NULL AND trim(output_text) <> '') AS output
  FROM spans WHERE session_id IN (SELECT unnest($1::VARCHAR[])) GROUP BY ALL ORDER BY min(start_time), trace_id
"""


def _turns(reader: Reader, sessions: Sequence[str]) -> Turns:
    """Return the traces of sessions in their order, with what was asked and answered."""
    found: Turns = {}
    for row in reader.query(_TURNS, [sorted(set(sessions))]) if sessions else []:
        found.setdefault(row["session_id"], []).append(row)
    return found


# What a trace was given: the input of its first span that has one.
_GIVEN = """
  SELECT trace_id, arg_min(input_text, start_time) FILTER (trim(input_text) <> '') AS text,
    arg_min(agent_name, start_time) FILTER (agent_name <> '') AS agent,
    list(DISTINCT service_name) AS services
  FROM spans WHERE trace_id IN (SELECT unnest($1::VARCHAR[])) GROUP BY trace_id
"""


def _candidates(reader: Reader, traces: Sequence[str], *, failed_at: dict[str, str]) -> list[Candidate]:
    reader.resolve_agents()
    given = {row["trace_id"]: row for row in reader.query(_GIVEN, [list(traces)])}
    places = [(trace, failed_at[trace]) for trace in traces if trace in failed_at and trace in given]
    said = {
        row["trace_id"]: row["error_message"] or row["status_message"] or row["tool_name"] or ""
        for row in queries.spans_of(reader, "trace_id, span_id, error_message, status_message, tool_name", places)
    }
    return [
        Candidate(trace, row["agent"] or "", row["text"], said.get(trace, ""))
        for trace in traces
        if (row := given.get(trace)) is not None and row["text"]
    ]


def _passing(reader: Reader, chosen: Sequence[Candidate], affected: set[str]) -> list[Candidate]:
    """Return passing traces of the services that the chosen ones ran in: no error, and in no report's issue."""
    services = reader.query(
        "SELECT DISTINCT service_name AS s FROM spans WHERE trace_id IN (SELECT unnest($1::VARCHAR[]))",
        [[one.trace_id for one in chosen]],
    )
    rows = reader.query(
        "SELECT trace_id FROM traces WHERE error_count = 0 AND status_code IS DISTINCT FROM 'ERROR' "
        "AND list_has_any(service_names, $1) AND trace_id NOT IN (SELECT unnest($2::VARCHAR[])) "
        f"ORDER BY start_time DESC, trace_id LIMIT {MAX_PASSING}",
        [[row["s"] for row in services], sorted(affected)],
    )
    return _candidates(reader, [row["trace_id"] for row in rows], failed_at={})


_COLUMNS = (
    "trace_id, span_id, parent_span_id, span_type, name, tool_name, agent_name, service_name, session_id, start_time, "
    "resource_attributes->>'$.\"service.version\"' AS version, input_text, output_text, error_message, status_message, "
    "input_messages, tools_offered"
)


def _spans(reader: Reader, traces: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    rows = queries.json_rows(
        reader,
        f"SELECT {_COLUMNS} FROM spans WHERE trace_id IN (SELECT unnest($1::VARCHAR[])) "
        "ORDER BY trace_id, start_time, span_id",
        [list(traces)],
    )[1]
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["trace_id"], []).append(row)
    return found


def _case(
    issue: Issue, rule: dict[str, Any] | None, one: Candidate, spans: list[dict[str, Any]], turns: Turns,
    span_id: str | None, alike: int | None,
) -> dict[str, Any]:  # fmt: skip
    """Write one case; docs/cases.md describes it."""
    failing = alike is not None
    first = spans[0]
    return {
        "case_version": CASE_VERSION,
        "id": f"{issue.issue_id}-{one.trace_id[-12:]}",
        "kind": "failing" if failing else "control",
        "issue_id": issue.issue_id,
        "title": titled(issue.finding),
        "category": issue.finding.category,
        "source": {
            "trace_id": one.trace_id, "span_id": span_id, "service": first["service_name"], "release": first["version"],
            "agent": one.agent or None, "started": first["start_time"], "traces_like_it": alike,
        },
        "input": _given(one, spans, turns),
        "observed": {
            "output": _answer(spans), "steps": list(_steps(spans)), "steps_left_out": max(0, len(spans) - MAX_STEPS),
        },
        "rule": rule,
        "expected": _expected(issue) if failing else None,
    }  # fmt: skip


def _given(one: Candidate, spans: Sequence[dict[str, Any]], turns: Turns) -> dict[str, Any]:
    """Write what the agent was given: its input, the messages of its first model call, its tools, its session."""
    asked = next((span for span in spans if span["input_messages"]), None)
    tools = sorted({tool for span in spans for tool in span["tools_offered"] or []})
    session = next((span["session_id"] for span in spans if span["session_id"]), None)
    return {
        "text": one.text, "messages": asked["input_messages"] if asked else None, "tools": tools, "session_id": session,
        "earlier_turns": _before(turns.get(session, []), one.trace_id) if session else [],
    }  # fmt: skip


def _before(turns: Sequence[dict[str, Any]], trace_id: str) -> list[dict[str, Any]]:
    """Return the turns of a session before a trace, the last of them."""
    place = next((place for place, turn in enumerate(turns) if turn["trace_id"] == trace_id), 0)
    return [{"input": turn["input"], "output": turn["output"]} for turn in turns[max(0, place - MAX_TURNS) : place]]


def _answer(spans: Sequence[dict[str, Any]]) -> str | None:
    """Return the answer: of the root, else of the last span that has an output."""
    roots = [span["output_text"] for span in spans if span["parent_span_id"] is None and span["output_text"]]
    rest = [span["output_text"] for span in spans if span["output_text"]]
    return str((roots or rest)[-1]) if roots or rest else None


def _steps(spans: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for span in spans[:MAX_STEPS]:
        error = span["error_message"] or span["status_message"] or None
        step = {
            "span_id": span["span_id"], "type": span["span_type"], "name": span["tool_name"] or span["name"],
            "input": _shortened(span["input_text"]), "output": _shortened(span["output_text"]),
            "error": _shortened(error),
        }  # fmt: skip
        yield {key: value for key, value in step.items() if value is not None}


def _shortened(value: Any) -> str | None:
    if value is None or value == "":
        return None
    return cut(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), TEXT_CHARACTERS)


def _expected(issue: Issue) -> dict[str, str] | None:
    """Return what should happen instead: a person's last note on the issue, else how the report says a fix is seen."""
    notes = [one.note for one in issue.decisions if one.action in ("note", "resolve") and one.note]
    if notes:
        return {"text": notes[-1], "by": "person"}
    said = issue.finding.fix.validation
    return {"text": said, "by": "report"} if said else None
